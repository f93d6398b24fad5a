"""The port of secret sources: where the operator keeps values. Only the broker and the wiring may ask."""

from typing import Protocol

from ringfence.ports.broker import Secret


class SecretSource(Protocol):
    """Opens secrets by name."""

    def read(self, name: str) -> Secret:
        """The secret of that name. Errors: `ControlMissing` with where it was looked for and how to mend it."""
        ...

    def names(self) -> tuple[str, ...]:
        """The names that this source can open."""
        ...
