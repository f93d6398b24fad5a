"""The port of secret sources: where the operator keeps values. Only the broker and the wiring may ask."""

from dataclasses import dataclass
from typing import Protocol

from ringfence.ports.broker import Secret


@dataclass(frozen=True, slots=True)
class Opened:
    """A value from a source. `lease` names what the source can end; empty when the value outlives its use."""

    secret: Secret
    lease: str = ""
    seconds: float | None = None  # how long the lease lasts from now on


class SecretSource(Protocol):
    """Opens secrets by name. Errors: `ControlMissing` with where it was looked for and how to mend it."""

    def names(self) -> tuple[str, ...]:
        """The names that this source can open."""
        ...

    def open(self, name: str) -> Opened:
        """The secret of that name; a leased one is made now, for whoever asks."""
        ...

    def renew(self, name: str, opened: Opened) -> Opened:
        """The same value with a longer lease; one without a lease is given back as it is."""
        ...

    def close(self, name: str, lease: str) -> bool:
        """End a lease now; True when the source says that it is gone. False when there was nothing to end."""
        ...
