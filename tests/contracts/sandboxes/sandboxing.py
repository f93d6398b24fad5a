"""What the tests of sandboxes have in common: limits, a run, and what is still alive."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringfence.adapters.sandboxes.bubblewrap.limits import cgroup
from ringfence.domain.boundary import SandboxLimits
from ringfence.ports.sandbox import Mount, Outcome, Sandboxes, SandboxSpec

ROOT = os.geteuid() == 0
CGROUP = cgroup.find() is not None
needs_root = pytest.mark.skipif(not ROOT, reason="only a root worker leases users")
needs_cgroup = pytest.mark.skipif(not CGROUP, reason="no control group can be made here")
LIMITS = {
    "memory": "128MiB", "processes": 32, "cpus": 1.0, "cpu_time": "20s", "file": "32MiB", "disk": "48MiB",
    "temporary": "16MiB", "output": "64KiB", "cgroup": "preferred",
}  # fmt: skip
USR = Mount(Path("/usr"), "/usr")
#: Makes what is to run, of a script and of what differs from the usual.
Spec = Callable[..., SandboxSpec]


def limits(**changes: Any) -> SandboxLimits:
    return SandboxLimits.model_validate({**LIMITS, **changes})


def python(program: str) -> tuple[str, ...]:
    return ("/usr/bin/env", "python3", "-I", "-S", "-c", program)


def run(sandboxes: Sandboxes, spec: SandboxSpec, **changes: Any) -> Outcome:
    with sandboxes.hold(spec) as held:
        outcome = held.run(**changes)
    assert outcome.processes_left == 0
    return outcome


def alive(word: str) -> list[int]:
    """Processes of this host, zombies apart, that have a word in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def eventually(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
