"""The place of the one worker on a state directory: a locked file that names its process.

The lock frees itself when the worker dies, whatever killed it. Apart from the engine, so that a kill switch can
ask who is at work without opening, or even importing, a database.
"""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from ringfence.domain.errors import ControlMissing


def take(state: Path) -> TextIO:
    """Take the place for this process, until the handle is closed. Errors: `ControlMissing` when it is taken."""
    path = state / "worker.lock"
    handle = path.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise ControlMissing(
            "another worker is at work on this state directory",
            where=str(path),
            mend="let it do the run, or stop it first",
        ) from None
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle


def is_taken(state: Path) -> bool:
    """Whether a worker process is there."""
    path = state / "worker.lock"
    if not path.exists():
        return False
    with path.open("r") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def holder(state: Path) -> int | None:
    """The process id of the worker that is there; None when there is none, or when it does not say."""
    if not is_taken(state):
        return None
    try:
        return int((state / "worker.lock").read_text())
    except (OSError, ValueError):
        return None
