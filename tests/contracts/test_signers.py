"""What every signer must do; the local key by real files and processes."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ringfence.adapters.signers.local_key import PRIVATE, PUBLIC, LocalKey
from ringfence.domain.attestation import STATEMENT_PAYLOAD, key_id, open_envelope
from ringfence.domain.errors import ControlMissing
from ringfence.ports.signer import Signer


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_what_it_signs_opens_with_its_public_key(keys: Path) -> None:
    signer: Signer = LocalKey(keys)
    assert open_envelope(signer.sign(b"payload", STATEMENT_PAYLOAD), STATEMENT_PAYLOAD, signer.public_key) == b"payload"


def test_key_id_is_that_of_the_public_key(keys: Path) -> None:
    signer: Signer = LocalKey(keys)
    assert signer.key_id == key_id(signer.public_key)
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", str(keys / PUBLIC), "-outform", "DER"], capture_output=True, check=True
    ).stdout
    digest = subprocess.run(["sha256sum"], input=der, capture_output=True, check=True).stdout.split()[0].decode()
    assert signer.key_id == f"sha256:{digest}"


def test_key_is_kept_and_signs_the_same_again(keys: Path) -> None:
    first, second = LocalKey(keys), LocalKey(keys)
    assert first.key_id == second.key_id
    assert first.sign(b"x", "t") == second.sign(b"x", "t")


def test_private_key_is_for_the_owner_alone_and_the_public_one_lies_beside_it(keys: Path) -> None:
    signer = LocalKey(keys)
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert stat.S_IMODE((keys / PRIVATE).stat().st_mode) == 0o600
    assert (keys / PUBLIC).read_bytes() == signer.public_key
    assert sorted(path.name for path in keys.iterdir()) == [PRIVATE, PUBLIC]


def test_key_that_others_can_read_is_refused(keys: Path) -> None:
    LocalKey(keys)
    (keys / PRIVATE).chmod(0o640)
    with pytest.raises(ControlMissing, match="others can read") as caught:
        LocalKey(keys)
    assert "mend:" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_damaged_key_is_an_error_and_never_replaced(keys: Path, content: bytes) -> None:
    LocalKey(keys)
    (keys / PRIVATE).write_bytes(content)
    with pytest.raises(ControlMissing):
        LocalKey(keys)
    assert (keys / PRIVATE).read_bytes() == content


def test_link_or_fifo_in_place_of_the_key_is_refused(keys: Path, tmp_path: Path) -> None:
    LocalKey(tmp_path / "other")
    keys.mkdir(mode=0o700)
    (keys / PRIVATE).symlink_to(tmp_path / "other" / PRIVATE)
    with pytest.raises(ControlMissing):
        LocalKey(keys)
    (keys / PRIVATE).unlink()
    os.mkfifo(keys / PRIVATE, 0o600)
    with pytest.raises(ControlMissing):
        LocalKey(keys)


def test_public_key_that_was_replaced_is_put_right(keys: Path) -> None:
    signer = LocalKey(keys)
    (keys / PUBLIC).write_bytes(b"another")
    LocalKey(keys)
    assert (keys / PUBLIC).read_bytes() == signer.public_key


def test_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ControlMissing) as caught:
        LocalKey(tmp_path / "file")
    assert str(tmp_path / "file") in str(caught.value)


MAKER = """
import pathlib, sys
from ringfence.adapters.signers.local_key import LocalKey
print(LocalKey(pathlib.Path(sys.argv[1])).key_id)
"""


def test_processes_that_need_a_key_at_once_make_one_key(keys: Path) -> None:
    makers = [
        subprocess.Popen([sys.executable, "-c", MAKER, str(keys)], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    said = {process.communicate(timeout=60)[0] for process in makers}
    assert [process.returncode for process in makers] == [0, 0, 0, 0]
    assert len(said) == 1
    assert sorted(path.name for path in keys.iterdir()) == [PRIVATE, PUBLIC]
