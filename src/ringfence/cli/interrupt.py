"""Signals to whatever carries runs. Ctrl-C and SIGTERM: the process ends at once, and its runs stay resumable.

Unwinding would look like a failure to the run at work, and would be recorded as one. A worker may be killed at any
moment, so it is simply ended: sandboxes and gateway die with it, and the next worker goes on.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType


def end_at_once(say: Callable[[], str]) -> None:
    """From now on, end this process on SIGINT and SIGTERM, after printing what `say` gives on standard error."""

    def end(number: int, _frame: FrameType | None) -> None:
        print(f"\n{say()}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def halt_on_signal(state: Path) -> None:
    """From now on, SIGUSR1 to this process halts all runs, as `ringfence halt --all` does."""
    from ringfence.adapters.clock import SystemClock
    from ringfence.domain.halt import Halt
    from ringfence.pipeline.orders import Orders

    def halt(_number: int, _frame: FrameType | None) -> None:
        Orders(state).halt(Halt("all", "", "the worker was sent SIGUSR1", "a signal", SystemClock().now()))
        print("all runs are halted by SIGUSR1; `ringfence resume --all` lifts it", file=sys.stderr, flush=True)

    signal.signal(signal.SIGUSR1, halt)
