"""Who may speak to the host: one principal a token, kept as SHA-256 only, in one file that is read at every request.

So a principal that is taken out of the file is out at once, with all tokens that it has minted (tokens.py).
There are no passwords and no accounts.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from ringfence.domain.errors import ControlMissing, InputError
from ringfence.ports.clock import Clock

Kind = Literal["worker", "human", "minter"]
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,38}")
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Permission:
    """What a principal may do in one repository. `write_prefix`: what it may push, None for none: with a slash at
    its end all branches below, without one that very branch.

    A minter may do none of it itself: there it is the most that a token of its making may do.
    """

    read: bool = True
    write_prefix: str | None = None
    review: bool = False


@dataclass(frozen=True, slots=True)
class Principal:
    """One bearer of one token."""

    name: str
    kind: Kind
    permissions: dict[str, Permission]
    expires: float | None
    digest: str

    def may(self, repository: str) -> Permission | None:
        """Its permission in a repository; None when it may not even know of it, as no minter may."""
        found = None if self.kind == "minter" else self.permissions.get(repository)
        return found if found is not None and found.read else None

    @property
    def is_human(self) -> bool:
        """Only humans review and merge."""
        return self.kind == "human"


class Principals:
    """The principals file of a host."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def authenticate(self, token: str) -> Principal | None:
        """The living principal of a token. Every entry is compared, each in constant time."""
        digest = digest_of(token)
        found = None
        for principal in self._load():
            if hmac.compare_digest(principal.digest, digest):
                found = principal
        return found if found is not None and self._lives(found) else None

    def find(self, name: str) -> Principal | None:
        """The living principal of that name."""
        return next((each for each in self._load() if each.name == name and self._lives(each)), None)

    def add(self, principal: Principal) -> None:
        """Add one. Errors: `InputError` when the name is taken or odd, or a worker would review."""
        if not NAME.fullmatch(principal.name):
            raise InputError(f"{principal.name!a} is no name for a principal", mend="use a-z, 0-9 and . _ -")
        if not principal.is_human and any(each.review for each in principal.permissions.values()):
            raise InputError(
                f"{principal.name} is a {principal.kind}: {principal.kind}s never review",
                mend="use a principal of kind human",
            )
        with _locked(self._path):
            present = self._load()
            if any(each.name == principal.name for each in present):
                raise InputError(f"there is a principal {principal.name} already", where=str(self._path))
            self._store([*present, principal])

    def remove(self, name: str) -> bool:
        """Take one out: its token and its sessions end now."""
        with _locked(self._path):
            present = self._load()
            self._store([each for each in present if each.name != name])
        return any(each.name == name for each in present)

    def _lives(self, principal: Principal) -> bool:
        return principal.expires is None or self._clock.now() < principal.expires

    def _load(self) -> list[Principal]:
        return read_json(self._path, lambda rows: [_principal(row) for row in rows])

    def _store(self, principals: list[Principal]) -> None:
        write_durably(self._path, json.dumps([asdict(each) for each in principals], indent=1))


def kind_of(word: str) -> Kind:
    """Read a kind. Errors: `InputError`."""
    for kind in get_args(Kind):
        if word == kind:
            return kind  # type: ignore[no-any-return]
    raise InputError(f"{word!a} is no kind of principal", mend="use worker, human or minter")


def digest_of(token: str) -> str:
    """What is kept of a token: it is 256 random bits, so a plain SHA-256 cannot be turned back."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def read_json(path: Path, shape: Callable[[Any], _Found]) -> _Found:
    """Read a file of the host's own. Errors: `ControlMissing` when it is not there or does not hold together."""
    try:
        return shape(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        raise ControlMissing(
            f"the code host cannot read {path.name} ({type(error).__name__})",
            where=str(path),
            mend="restore it from a copy, or begin anew with `ringfence host init`",
        ) from None


def write_durably(path: Path, text: str) -> None:
    """Replace a file, 0600, so that a crash leaves the old or the new one."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(text + "\n")
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.with_name(f".{path.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _principal(row: dict[str, Any]) -> Principal:
    permissions = {name: Permission(**value) for name, value in row["permissions"].items()}
    return Principal(row["name"], kind_of(row["kind"]), permissions, row["expires"], row["digest"])
