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
    """Permission to use a secret for one purpose in one repository, for the time of a `with` block."""

    id: str
    purpose: str  # "checkout" or "publish"
    repository: str
    username: str
    secret: Secret


class Broker(Protocol):
    """Mints grants by the boundary."""

    def grant(self, run: str, purpose: str, repository: str) -> AbstractContextManager[Grant]:
        """A grant, recorded when minted and when revoked. Errors: `ControlMissing` when no secret is allowed for it."""
        ...

    def known_values(self) -> tuple[str, ...]:
        """Every secret value that this worker can open, for redaction at capture."""
        ...
