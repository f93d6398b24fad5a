"""The demo as a person types it: its dependency comes through the proxy in set-up, and an agent is refused the same.

With this machine's own registry where pip has one; without any, from the copy, said so.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.domain import events as e
from ringfence.domain.boundary import Boundary
from ringfence.settings import load
from ringfence.wiring import reading

pytestmark = pytest.mark.registry

RUN = "INV-7-r1"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """The demo's directory."""
    yield tmp_path / "demo"
    shutil.rmtree(tmp_path / "demo", ignore_errors=True)


def demo(place: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "ringfence.cli.main", "demo", "--directory", str(place)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, **variables},
    )
    if "the sample's tools could not be installed" in done.stderr:
        pytest.skip(f"no package index has the sample's tools: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def seen(place: Path) -> tuple[Boundary, list[e.EgressDecided]]:
    """The boundary that the demo wrote, and what tried to leave by the network."""
    with reading(load(place / "ringfence.toml")) as look:
        return look.boundary, [event for event in look.events(RUN) if isinstance(event, e.EgressDecided)]


def test_set_up_alone_reaches_the_registry_and_without_one_the_demo_uses_its_copy(place: Path) -> None:
    _reaches_the_registry(place, demo(place).stdout)
    # The tools of the first demo are kept, so that nothing but the index differs.
    said = demo(place, PIP_INDEX_URL="http://user:name@packages.example.internal/simple").stdout
    assert "registry     none: pip's index needs a credential" in said
    boundary, decided = seen(place)
    assert (boundary.network.setup, decided) == ((), [])


def _reaches_the_registry(place: Path, said: str) -> None:
    line = next(line for line in said.splitlines() if line.startswith("registry"))
    if line.startswith("registry     none"):
        pytest.skip(f"sandboxes can use no registry here: {line}")
    boundary, decided = seen(place)
    setup = {f"{rule.host}:{rule.port}" for rule in boundary.network.setup}
    assert not boundary.network.agent and not boundary.network.validation
    assert setup and all(place in line for place in setup)
    allowed = {(one.phase, one.destination) for one in decided if one.decision == "allow"}
    assert allowed == {("setup", where) for where in setup}
    assert sum(one.received for one in decided) > 20_000, "the dependency itself came through"
    denied = [one for one in decided if one.decision == "deny"]
    assert {(one.phase, one.rule) for one in denied} == {("agent", "network.agent")}
    assert {one.destination for one in denied} <= setup, "it is the same attempt"
