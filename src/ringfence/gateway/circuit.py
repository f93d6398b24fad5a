"""A circuit breaker for each route: a provider that keeps failing is left alone for a while.

Pure; shared by all doors of the process, because a provider that fails for one run fails for all. After the pause
one request may try, and what becomes of it opens or closes the circuit again.
"""

from collections import deque

from ringfence.domain.failures import Failure

#: The codes of a fault (answer.py, attempt.py), and which failure of the provider each is.
FAILURES: dict[str, Failure] = {
    "upstream_unreachable": "unreachable",
    "upstream_busy": "busy",
    "upstream_failed": "failed",
    "upstream_timeout": "timeout",
}
NAMED: dict[Failure, str] = {failure: code for code, failure in FAILURES.items()}

MOST_FAILURES = 5
WINDOW_SECONDS = 60.0
PAUSE_SECONDS = 15.0


class Circuit:
    """Whether a route may be asked. Times are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self.last: Failure = "failed"  # what opened it
        self._failures: deque[float] = deque(maxlen=MOST_FAILURES)
        self._opened: float | None = None
        self._trying: float | None = None

    def wait(self, now: float) -> float:
        """Seconds until the route may be asked again; 0 when it may be now. Asking takes the one try there is."""
        if self._opened is None:
            return 0.0
        left = self._opened + PAUSE_SECONDS - now
        if left > 0:
            return left
        # A try that was never reported, because its door was closed, does not block the route for ever.
        if self._trying is not None and now - self._trying < PAUSE_SECONDS:
            return self._trying + PAUSE_SECONDS - now
        self._trying = now
        return 0.0

    def answered(self) -> None:
        """The provider did what it should: closed, with a clean sheet."""
        self._failures.clear()
        self._opened = self._trying = None

    def failed(self, failure: Failure, now: float) -> bool:
        """The provider failed; True when that opens the circuit."""
        self.last = failure
        self._failures.append(now)
        lately = len(self._failures) == MOST_FAILURES and now - self._failures[0] <= WINDOW_SECONDS
        opens = self._trying is not None or (self._opened is None and lately)
        self._trying = None
        if opens:
            self._opened = now
        return opens
