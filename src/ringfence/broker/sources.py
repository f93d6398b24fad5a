"""All secret sources as one: each name is kept in exactly one place."""

from collections.abc import Iterable

from ringfence.domain.errors import ControlMissing
from ringfence.ports.secret_source import Opened, SecretSource


class SecretSources:
    """Implements ports/secret_source.py over several sources."""

    def __init__(self, sources: Iterable[SecretSource]) -> None:
        self._by_name = {name: source for source in sources for name in source.names()}

    def names(self) -> tuple[str, ...]:
        """The names of all sources."""
        return tuple(self._by_name)

    def open(self, name: str) -> Opened:
        """The secret of that name."""
        return self._source(name).open(name)

    def renew(self, name: str, opened: Opened) -> Opened:
        """The same value with a longer lease."""
        return self._source(name).renew(name, opened)

    def close(self, name: str, lease: str) -> bool:
        """End a lease now."""
        return self._source(name).close(name, lease)

    def _source(self, name: str) -> SecretSource:
        source = self._by_name.get(name)
        if source is None:
            raise ControlMissing(
                f"secret {name!r} has no source", where="settings, section [secrets]", mend=f"add [secrets.{name}]"
            )
        return source
