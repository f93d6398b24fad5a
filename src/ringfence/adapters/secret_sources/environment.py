"""Secrets from the worker's own environment, as settings.py has handed them over; nothing here reads it.

The weakest of the sources: whoever may look at the worker's process sees its environment. No process that the
worker starts is given it.
"""

from collections.abc import Mapping

from ringfence.domain.errors import ControlMissing
from ringfence.ports.broker import Secret
from ringfence.ports.secret_source import Opened


class EnvironmentSecrets:
    """Implements ports/secret_source.py over `{name: (variable, value or None)}`."""

    def __init__(self, variables: Mapping[str, tuple[str, Secret | None]]) -> None:
        self._variables = dict(variables)

    def names(self) -> tuple[str, ...]:
        """The names that this source can open."""
        return tuple(self._variables)

    def open(self, name: str) -> Opened:
        """The value that the variable had when the settings were read."""
        variable, value = self._variables.get(name, ("", None))
        if value is None or not value.reveal():
            raise ControlMissing(
                f"secret {name!r} is not in the environment",
                where=f"settings, [secrets.{name}], env = {variable!r}",
                mend="set the variable for the worker, or keep the value in a file",
            )
        return Opened(value)

    def renew(self, _name: str, opened: Opened) -> Opened:
        """A variable has no lease."""
        return opened

    def close(self, _name: str, _lease: str) -> bool:
        """A variable has no lease."""
        return False
