"""One contract for every place where a secret is kept; what is particular to each follows."""

import json
import os
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ringfence.adapters.clock import SystemClock
from ringfence.adapters.json_http import JsonClient
from ringfence.adapters.secret_sources.command import CommandSecrets, SecretCommand
from ringfence.adapters.secret_sources.environment import EnvironmentSecrets
from ringfence.adapters.secret_sources.file import FileSecrets
from ringfence.adapters.secret_sources.vault import VaultItem, VaultLogin, VaultSecrets
from ringfence.broker.leases import held
from ringfence.broker.sources import SecretSources
from ringfence.domain.errors import ControlMissing, HostFailed, RingfenceError
from ringfence.ports.broker import Secret
from ringfence.ports.secret_source import SecretSource

VALUE = "canary-3f1c9a77e0d24b5a"
ROLE, SECRET_ID = "role-5d1e", "secret-id-9b7f44c1"
SERVER = Path(__file__).with_name("vault_server.py")


@dataclass
class VaultServer:
    """The server process of a test."""

    url: str

    def call(self, path: str, **body: Any) -> dict[str, Any]:
        with httpx2.Client(trust_env=False, verify=False) as client:
            found: dict[str, Any] = client.post(self.url + path, json=body).json()
            return found

    @property
    def record(self) -> dict[str, Any]:
        return self.call("/record")

    def requests(self, path: str) -> list[dict[str, Any]]:
        return [row for row in self.record["requests"] if row["path"] == path]


@contextmanager
def vault_server(**changes: Any) -> Iterator[VaultServer]:
    config = {
        "tokens": ["root-token"],
        "approle": [ROLE, SECRET_ID],
        "token_ttl": 600,
        "lease_ttl": 600,
        "kv": {"secret/data/ci/host": {"token": VALUE, "number": 7}, "secret/data/ci/gone": None},
        "dynamic": ["database/creds/ci"],
        **changes,
    }
    with subprocess.Popen(
        [sys.executable, str(SERVER), json.dumps(config)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield VaultServer(server.stdout.readline().strip())
        finally:
            server.kill()


@pytest.fixture
def vault() -> Iterator[VaultServer]:
    with vault_server() as server:
        yield server


ITEMS = {
    "held": VaultItem("ci/host", "token", "secret"),
    "number": VaultItem("ci/host", "number", "secret"),
    "fieldless": VaultItem("ci/host", "none", "secret"),
    "gone": VaultItem("ci/gone", "token", "secret"),
    "missing": VaultItem("ci/none", "token", "secret"),
    "leased": VaultItem("database/creds/ci", "password"),
}


def secrets_of(server: VaultServer, *, secret_id: str = SECRET_ID, **login: Any) -> VaultSecrets:
    client = JsonClient(server.url, whose="the vault", mend="start it", timeout=5)
    given = {"role_id": ROLE, **login}
    return VaultSecrets(client, VaultLogin(lambda: Secret(secret_id), **given), ITEMS, SystemClock())


def file_source(root: Path) -> SecretSource:
    path = root / "held"
    path.touch(mode=0o600)
    path.write_text(VALUE + "\n")
    return FileSecrets({"held": path, "missing": root / "none"})


def environment_source(_root: Path) -> SecretSource:
    return EnvironmentSecrets({"held": ("HELD", Secret(VALUE)), "missing": ("NONE", None)})


def script(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o700)
    return str(path)


def command_source(root: Path) -> SecretSource:
    told = script(root / "told", f"echo {shlex.quote(VALUE)}")
    failing = script(root / "failing", f"echo {VALUE}-not; echo {VALUE} >&2; exit 3")
    return CommandSecrets({"held": SecretCommand((told,)), "missing": SecretCommand((failing,))})


@pytest.fixture(params=["file", "environment", "command", "vault", "all of them"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> SecretSource:
    makers: dict[str, Callable[[Path], SecretSource]] = {
        "file": file_source,
        "environment": environment_source,
        "command": command_source,
        "vault": lambda _root: secrets_of(request.getfixturevalue("vault")),
        "all of them": lambda root: SecretSources([FileSecrets({}), command_source(root)]),
    }
    return makers[request.param](tmp_path)


def test_a_secret_is_opened_by_its_name(source: SecretSource) -> None:
    assert {"held", "missing"} <= set(source.names())
    opened = source.open("held")
    assert opened.secret.reveal() == VALUE
    assert VALUE not in repr(opened)


def test_what_is_not_there_is_named_without_any_value(source: SecretSource) -> None:
    for name in ("missing", "unheard-of"):
        with pytest.raises(ControlMissing) as refused:
            source.open(name)
        assert VALUE not in str(refused.value)
        assert refused.value.mend
        assert name in str(refused.value)


def test_a_value_without_a_lease_has_nothing_to_renew_or_end(source: SecretSource) -> None:
    opened = source.open("held")
    assert opened.lease == ""
    assert opened.seconds is None
    assert source.renew("held", opened) is opened
    assert source.close("held", opened.lease) is False


# --- files


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * (64 * 1024 + 1)])
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "held"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(ControlMissing):
        FileSecrets({"held": path}).open("held")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "held"
    path.write_text(VALUE)
    path.chmod(mode)
    with pytest.raises(ControlMissing, match="read by others"):
        FileSecrets({"held": path}).open("held")


def test_a_link_or_a_pipe_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").touch(mode=0o600)
    (tmp_path / "real").write_text(VALUE)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "pipe"):
        with pytest.raises(ControlMissing):
            FileSecrets({"held": tmp_path / name}).open("held")


# --- commands


def alive_in(group: int) -> list[str]:
    """Processes of a group that still run; what is dead and only not yet buried does not count."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(") ")
        except OSError:
            continue
        state, _parent, its_group = rest.split()[:3]
        if int(its_group) == group and state not in ("Z", "X"):
            found.append(f"{name}) {state}")
    return found


def opened_by(path: Path, *lines: str, timeout: float = 10.0, environment: dict[str, str] | None = None) -> str:
    command = SecretCommand((script(path, *lines), "a word", "$(id)"), timeout, environment or {})
    return CommandSecrets({"held": command}).open("held").secret.reveal()


def test_a_command_gets_its_words_and_no_shell(tmp_path: Path) -> None:
    assert opened_by(tmp_path / "told", 'printf "%s|%s" "$1" "$2"') == "a word|$(id)"


def test_a_command_gets_no_more_environment_than_the_settings_name(tmp_path: Path) -> None:
    seen = opened_by(tmp_path / "told", "tr '\\0' ' ' < /proc/self/environ", environment={"HOME": "/nonexistent"})
    names = {word.split("=", 1)[0] for word in seen.split()}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {"PATH", "LC_ALL", "HOME"}


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (("sleep 60",), "did not end"),
        (("sleep 60 & echo x",), "did not end"),  # something it left holds the pipe
        (("trap '' TERM; while :; do sleep 1; done",), "did not end"),
        (("exec yes secret",), "too much"),
        (("head -c 70000 /dev/zero | tr '\\0' x",), "too much"),
        (("exit 0",), "printed nothing"),
        (("printf '\\377'",), "no text"),
        (("echo x; exit 1",), "ended with 1"),
        (("kill -9 $$",), "ended with -9"),
    ],
)
def test_a_command_that_misbehaves_gives_no_secret_and_leaves_nothing(
    tmp_path: Path, lines: tuple[str, ...], why: str
) -> None:
    begun = time.monotonic()
    with pytest.raises(ControlMissing, match=why):
        opened_by(tmp_path / "told", f"echo $$ > {tmp_path}/group", *lines, timeout=1.0)
    assert time.monotonic() - begun < 8
    deadline = time.monotonic() + 5
    while left := alive_in(int((tmp_path / "group").read_text())):
        assert time.monotonic() < deadline, left


def test_a_program_that_others_could_have_written_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "told"
    script(path, "touch ran; echo x")
    path.chmod(0o722)
    for program, why in (
        (str(path), "others can write"),
        ("told", "absolute"),
        (str(tmp_path / "none"), "cannot be run"),
    ):
        with pytest.raises(ControlMissing, match=why):
            CommandSecrets({"held": SecretCommand((program,))}).open("held")
    assert not (tmp_path / "ran").exists()


# --- vaults


def test_a_vault_is_read_with_a_token_and_a_namespace(vault: VaultServer) -> None:
    source = secrets_of(vault, secret_id="root-token", role_id=None, namespace="team/a")
    assert source.open("held").secret.reveal() == VALUE
    (asked,) = vault.record["requests"]
    assert (asked["method"], asked["path"]) == ("GET", "/v1/secret/data/ci/host")
    assert (asked["X-Vault-Namespace"], asked["X-Vault-Request"]) == ("team/a", "true")


def test_an_approle_logs_in_once_and_ends_its_login(vault: VaultServer) -> None:
    source = secrets_of(vault)
    for _ in range(3):
        source.open("held")
    assert len(vault.requests("/v1/auth/approle/login")) == 1
    assert vault.record["logins"] == 1
    source.shut()
    assert vault.record["logins"] == 0
    source.shut()


def test_a_login_is_renewed_at_half_time_and_made_anew_at_its_end() -> None:
    with vault_server(token_ttl=2, token_max_ttl=3) as vault:
        source = secrets_of(vault)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            assert source.open("held").secret.reveal() == VALUE
            time.sleep(0.2)
        assert vault.requests("/v1/auth/token/renew-self")
        assert len(vault.requests("/v1/auth/approle/login")) >= 2


def test_a_login_that_the_vault_has_ended_is_made_anew(vault: VaultServer) -> None:
    source = secrets_of(vault)
    source.open("held")
    vault.call("/forget-logins")
    assert source.open("held").secret.reveal() == VALUE


def test_a_lease_is_made_for_each_use_renewed_and_ended(vault: VaultServer) -> None:
    source = secrets_of(vault)
    one, two = source.open("leased"), source.open("leased")
    assert one.secret.reveal() != two.secret.reveal()
    assert one.lease and one.lease != two.lease and one.seconds == 600
    longer = source.renew("leased", one)
    assert (longer.lease, longer.seconds) == (one.lease, 600)
    (asked,) = vault.requests("/v1/sys/leases/renew")
    assert (asked["method"], asked["body"]) == ("PUT", {"lease_id": one.lease, "increment": 600})
    assert source.close("leased", one.lease) is True
    assert vault.record["leases"] == [two.lease]
    assert source.close("leased", one.lease) is True, "doing it twice ends it as well"


def test_the_end_of_a_lease_is_not_confirmed_when_nobody_may_look(vault: VaultServer) -> None:
    source = secrets_of(vault)
    vault.call("/set", forbidden=["lookup"])
    assert source.close("leased", source.open("leased").lease) is False
    assert vault.record["leases"] == []
    vault.call("/set", forbidden=["revoke"])
    with pytest.raises(ControlMissing, match="status 403"):
        source.close("leased", source.open("leased").lease)


def test_a_held_lease_is_renewed_until_the_block_ends(vault: VaultServer) -> None:
    vault.call("/set", lease_ttl=1)
    source = secrets_of(vault)
    with held(source, ["leased", "held"]) as opened:
        assert opened["held"].reveal() == VALUE
        assert opened["leased"].reveal() in vault.record["made"]
        time.sleep(2.5)
        assert len(vault.record["leases"]) == 1, "it outlived its first second"
        assert len(vault.requests("/v1/sys/leases/renew")) >= 2
    assert vault.record["leases"] == []


@pytest.mark.parametrize(
    ("name", "why"),
    [("number", "no text"), ("fieldless", "no text"), ("gone", "status 404"), ("missing", "status 404")],
)
def test_what_a_vault_does_not_have_is_said(vault: VaultServer, name: str, why: str) -> None:
    with pytest.raises(ControlMissing, match=why):
        secrets_of(vault).open(name)


def test_a_vault_that_cannot_answer_gives_no_secret(vault: VaultServer) -> None:
    with pytest.raises(ControlMissing, match="log the worker in"):
        secrets_of(vault, secret_id="wrong").open("held")
    with pytest.raises(ControlMissing, match="status 403"):
        secrets_of(vault, secret_id="wrong", role_id=None).open("held")
    vault.call("/set", garbage=True)
    for login in ({}, {"role_id": None}):
        with pytest.raises(ControlMissing):
            secrets_of(vault, **login).open("held")
    vault.call("/set", garbage=False, sealed=True)
    with pytest.raises(ControlMissing, match="503") as refused:
        secrets_of(vault).open("held")
    assert SECRET_ID not in str(refused.value)
    gone = VaultServer("http://127.0.0.1:9")
    with pytest.raises(HostFailed) as unreachable:
        secrets_of(gone).open("held")
    assert isinstance(unreachable.value, RingfenceError) and SECRET_ID not in str(unreachable.value)


def test_secrets_have_no_text_form() -> None:
    secret = Secret(VALUE)
    assert VALUE not in f"{secret} {secret!r} {[secret]} {stat}"
    with pytest.raises(TypeError):
        json.dumps(secret)
