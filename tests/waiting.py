"""Waiting for what comes in its own time. What takes too long is a failure, never a test without an end."""

import time
from collections.abc import Callable
from pathlib import Path


def until(so: Callable[[], object], seconds: float = 120.0, *, what: Callable[[], object] = lambda: "") -> None:
    """Look again and again until it is so; `what` says what there was instead. Errors: AssertionError."""
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that have not been waited for."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
