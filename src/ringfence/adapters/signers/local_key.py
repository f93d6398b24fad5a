"""The embedded signer: an Ed25519 key in a directory of the worker, made when it is first needed.

Whoever can read the file can sign; it is 0600, and one that others can read is refused. The public half lies
beside it, to be given to the people who verify.
"""

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ringfence.domain.attestation import envelope, key_id, pae
from ringfence.domain.errors import ControlMissing

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


#: The private key and its public half, in the directory of keys.
PRIVATE, PUBLIC = "evidence.pem", "evidence.pub"


class LocalKey:
    """Signs with the key in `directory`."""

    def __init__(self, directory: Path) -> None:
        path = directory / PRIVATE
        try:
            raw = _read(path)
            if raw is None:
                _make(path)
                raw = _read(path)
            key = load_pem_private_key(raw or b"", password=None)
        except (OSError, ValueError, TypeError) as failure:
            raise ControlMissing(
                f"the signing key cannot be used: {failure}", where=str(path), mend="see who else writes there"
            ) from failure
        if not isinstance(key, Ed25519PrivateKey):
            raise ControlMissing("the signing key is no Ed25519 key", where=str(path), mend="name an Ed25519 key")
        self._key = key
        self._public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self._key_id = key_id(self._public)
        with suppress(OSError):  # a convenience for people; the signer does not need it
            public = directory / PUBLIC
            if not public.is_symlink() and (not public.exists() or public.read_bytes() != self._public):
                _write(public, self._public, 0o644)

    @property
    def key_id(self) -> str:
        """`sha256:` over the DER SubjectPublicKeyInfo."""
        return self._key_id

    @property
    def public_key(self) -> bytes:
        """The public key, PEM SubjectPublicKeyInfo."""
        return self._public

    def sign(self, payload: bytes, payload_type: str) -> bytes:
        """A DSSE envelope as JSON bytes. Ed25519 is deterministic: the same payload gives the same bytes."""
        return envelope(payload, payload_type, self._key_id, self._key.sign(pae(payload, payload_type)))


def _read(path: Path) -> bytes | None:
    try:
        opened = os.open(path, _OLD_FILE)
    except FileNotFoundError:
        return None
    with os.fdopen(opened, "rb") as file:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("not a regular file")
        if found.st_mode & 0o077 or found.st_uid != os.geteuid():
            raise ControlMissing(
                "others can read or change the signing key", where=str(path),
                mend=f"make a new key: remove the file, and give people the new public key beside it ({PUBLIC})",
            )  # fmt: skip
        return file.read(65_536)


def _make(path: Path) -> None:
    """A fresh key, there whole or not at all; of several processes that make one, the first wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    temporary = _temporary(path)
    try:
        _create(temporary, pem, 0o600)
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = _temporary(path)
    _create(temporary, content, mode)
    temporary.rename(path)


def _temporary(path: Path) -> Path:
    """A name beside the path that is this thread's own; what a killed process left under it goes."""
    name = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")
    name.unlink(missing_ok=True)
    return name


def _create(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, _NEW_FILE, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
