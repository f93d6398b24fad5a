"""The clock of the machine. The only place of the worker that reads time and takes randomness."""

import secrets
import time


class SystemClock:
    """Time and random ids from the operating system."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()  # noqa: TID251 - this is what stands behind ports/clock.py

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def token(self, size: int) -> str:
        """`size` random bytes as hex digits."""
        return secrets.token_hex(size)
