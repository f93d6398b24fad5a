"""The port of time and chance, so that a test can run a year in a millisecond."""

from typing import Protocol


class Clock(Protocol):
    """Tells time and makes ids."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def token(self, size: int) -> str:
        """`size` random bytes as hex digits."""
        ...
