"""Marks: how processes of a run are known from outside, by anybody who knows the worker's state directory.

A mark stands in the environment of bubblewrap's own two processes and of host-side git, never in that of a
command. It is opaque, because inside a sandbox the first process's environment can be read.
"""

import hashlib

#: The variable that holds it.
MARK = "RINGFENCE_SANDBOX"
_WORKER = 8


def worker_mark(state: str) -> str:
    """What the marks of all runs of a worker begin with. `state` is the absolute path of its state directory."""
    return hashlib.sha256(state.encode()).hexdigest()[:_WORKER]


def run_mark(state: str, run: str) -> str:
    """The mark of one run."""
    worker = worker_mark(state)
    return worker + hashlib.sha256(f"{worker}/{run}".encode()).hexdigest()[:24]
