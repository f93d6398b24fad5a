"""The port of the broker: credentials for one purpose, opened late and given up early."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


class Secret:
    """A value without a useful text form; only `reveal` opens it, and only brokers and providers may call that."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is never serialized")


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission to use a secret for one purpose in one repository, for the time of a `with` block.

    It ends with the block, when it is revoked, or at `expires` (by the clock of whoever made it), whichever
    comes first; `secret.reveal()` then raises. `host`: the one address that may be shown it.
    """

    id: str
    purpose: str  # "checkout" or "publish"
    repository: str
    username: str
    secret: Secret
    permissions: str = ""  # "read" or "write:<branch or prefix/>"; empty when they are not known
    host: str = ""
    expires: float | None = None
    run: str = ""


class Broker(Protocol):
    """Mints grants by the boundary."""

    def grant(self, run: str, purpose: str, repository: str, *, branch: str = "") -> AbstractContextManager[Grant]:
        """A grant, recorded when minted and when revoked. Errors: `ControlMissing` when no secret is allowed for it.

        `branch`: the one branch that a grant to publish is for; where it is minted it can write no other.
        """
        ...

    def reclaim(self, run: str, *, last: bool = False) -> int:
        """Revoke what the log says a run still has; how many grants are closed now.

        Safe from another process, and when it was done already. A grant that cannot be revoked now stays
        open for the next try, or, with `last`, is recorded as not confirmed. Never raises for the host.
        """
        ...
