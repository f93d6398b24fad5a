"""Requests a second: a bucket of tokens that fills with time. Pure."""

from collections.abc import Callable

#: Longest that a request waits for its turn before the agent is told to come again.
PATIENCE = 5.0


class Pace:
    """How fast requests of a run may follow each other; up to a second's worth of them may come at once."""

    def __init__(self, rate: float | None, now: Callable[[], float]) -> None:
        self._rate = rate
        self._most = max(1.0, rate or 1.0)
        self._tokens = self._most
        self._now = now
        self._seen: float | None = None

    def turn(self) -> float | None:
        """Seconds to wait for one's turn, which is taken; None when that would be too long, and nothing is taken."""
        if self._rate is None:
            return 0.0
        now = self._now()
        elapsed = 0.0 if self._seen is None else now - self._seen
        self._tokens = min(self._most, self._tokens + elapsed * self._rate)
        self._seen = now
        wait = max(0.0, (1.0 - self._tokens) / self._rate)
        if wait > PATIENCE:
            return None
        self._tokens -= 1.0
        return wait
