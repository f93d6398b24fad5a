"""The adapters, a state directory, and a run with a tree."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandboxing import USR, Spec, limits

from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.ports.sandbox import Sandboxes, SandboxSpec, Workspace


@pytest.fixture
def state(tmp_path: Path) -> Path:
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    return place


@pytest.fixture(params=[BubblewrapSandboxes])
def sandboxes(request: pytest.FixtureRequest, state: Path) -> Iterator[Sandboxes]:
    made = request.param(state)
    yield made
    for run in ("run-1", "run-2"):
        assert made.reclaim(run) == 0


@pytest.fixture
def tree(sandboxes: Sandboxes, state: Path) -> Path:
    place = state / "tree"
    place.mkdir()
    sandboxes.own("run-1", place)
    return place


@pytest.fixture
def word() -> str:
    """A number by which this test's processes are known; other tests run at the same time."""
    return f"{os.getpid()}{time.monotonic_ns()}"


@pytest.fixture
def spec(tree: Path) -> Spec:
    def make(script: str, **changes: Any) -> SandboxSpec:
        fields: dict[str, Any] = {
            "run": "run-1", "role": "agent", "argv": ("/bin/sh", "-c", script), "limits": limits(), "timeout": 20.0,
            "workspace": Workspace(tree), "mounts": (USR,),
        }  # fmt: skip
        return SandboxSpec(**{**fields, **changes})

    return make
