"""The settings' secrets: each in exactly one place, and what is wrong is named."""

import os
from pathlib import Path

import pytest

from ringfence.domain.errors import InputError
from ringfence.keys import at_hand, sources_of
from ringfence.settings import Settings, load

HEAD = """
[worker]
state = "state"
boundary = "boundary.yaml"
[tracker]
kind = "folder"
path = "tickets"
[code_host]
kind = "local"
url = "http://127.0.0.1:8080"
"""
VAULT = """
[vault]
url = "https://vault.example.internal:8200"
"""


def loaded(root: Path, text: str) -> Settings:
    (root / "ringfence.toml").write_text(HEAD + text)
    return load(root / "ringfence.toml")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[secrets.a]", "exactly one"),
        ('[secrets.a]\nfile = "a"\nenv = "A"', "exactly one"),
        ('[secrets.a]\ncommand = ["/bin/a"]\nenv = "A"', "exactly one"),
        ("[secrets.a]\ncommand = []", "at least 1"),
        ('[secrets.a]\ncommand = "/bin/a x"', "tuple"),
        ('[secrets.a]\nfile = "a"\ntimeout = 3.0', "belong to command"),
        ('[secrets.a]\nenv = "A B"', "env"),
        ('[secrets.a]\nvalue = "x"', "value"),
        ('[secrets.a]\nvault = { path = "ci/a", field = "b", mount = "secret" }', "no section [vault]"),
        ('[secrets.a]\nvault = { path = "../sys/x", field = "b" }' + VAULT + 'token = "a"', "path"),
        ('[secrets.a]\nvault = { path = "ci/a?x", field = "b" }' + VAULT + 'token = "a"', "path"),
        ('[secrets.a]\nfile = "a"' + VAULT, "write token"),
        ('[secrets.a]\nfile = "a"' + VAULT + 'token = "a"\nrole_id = "r"\nsecret_id = "a"', "write token"),
        ('[secrets.a]\nfile = "a"' + VAULT + 'role_id = "r"', "write token"),
        (VAULT + 'token = "b"', "no secret outside of the vault"),
        ('[secrets.a]\nvault = { path = "a", field = "b" }' + VAULT + 'token = "a"', "no secret outside of the vault"),
        (VAULT.replace("https", "http") + 'token = "a"\n[secrets.a]\nfile = "a"', "url"),
        (VAULT.replace("https://", "https://x:y@") + 'token = "a"\n[secrets.a]\nfile = "a"', "url"),
    ],
)
def test_a_secret_is_kept_in_exactly_one_place(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError) as refused:
        loaded(tmp_path, text)
    assert why in str(refused.value)


def test_every_place_is_read_by_its_own_source(tmp_path: Path) -> None:
    (tmp_path / "told").write_text("#!/bin/sh\necho $WORD-printed\n")
    (tmp_path / "told").chmod(0o700)
    (tmp_path / "kept").touch(mode=0o600)
    (tmp_path / "kept").write_text("from-a-file\n")
    os.environ.update(RINGFENCE_TEST_SECRET="from-the-environment", WORD="inherited")
    try:
        settings = loaded(
            tmp_path,
            '[secrets.a]\nfile = "kept"\n[secrets.b]\nenv = "RINGFENCE_TEST_SECRET"\n'
            f'[secrets.c]\ncommand = ["{tmp_path}/told"]\ninherit = ["WORD"]\n',
        )
        assert "RINGFENCE_TEST_SECRET" not in os.environ, "it is taken out, so that nothing inherits it"
        assert os.environ["WORD"] == "inherited"
    finally:
        os.environ.pop("RINGFENCE_TEST_SECRET", None)
        del os.environ["WORD"]
    sources, vault = sources_of(settings)
    assert vault is None
    assert {name: sources.open(name).secret.reveal() for name in sources.names()} == {
        "a": "from-a-file",
        "b": "from-the-environment",
        "c": "inherited-printed",
    }
    assert {secret.reveal() for secret in at_hand(settings, sources)} == {"from-a-file", "from-the-environment"}
    assert "from-the-environment" not in repr(settings)
