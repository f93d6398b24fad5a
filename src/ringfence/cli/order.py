"""A halt put in force. It imports little: a worker obeys the order while the switch that kills is still loading."""

import os
import time
from dataclasses import replace
from pathlib import Path

from ringfence.adapters.clock import SystemClock
from ringfence.domain.errors import InputError
from ringfence.domain.halt import Halt
from ringfence.pipeline.orders import Orders


def put_in_force(state: Path, wanted: Halt) -> Halt:
    """Write the order, dated to when this command was started; what stands there then. Errors: `InputError`."""
    dated = replace(wanted, since=SystemClock().now() - _since_process_start())
    try:
        Orders(state).halt(dated)
    except OSError as failure:
        raise InputError(
            f"the halt cannot be written: {failure}",
            where=str(state),
            mend="be the worker's user; else send the worker SIGUSR1, or end it: its sandboxes die with it",
        ) from None
    return dated


def _since_process_start() -> float:
    """Seconds that this process has been there, to measure from the command and not from its imports."""
    started = int(Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
