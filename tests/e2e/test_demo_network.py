"""The demo's own repository and the network: its dependency comes in set-up alone, its database serves checks alone.

With this machine's own registry where pip has one; without any the demo takes its copy, and says so.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from database import Postgres, postgres
from ringfence.cli.demo import recorded
from ringfence.cli.demo_site import Sample, site
from ringfence.domain import events as e
from ringfence.domain.boundary import Boundary
from ringfence.domain.errors import ControlMissing
from ringfence.settings import load
from ringfence.wiring import reading

pytestmark = pytest.mark.registry

RUN = "INV-7-r1"
REPOSITORY = "demo/inventory"
DATABASE = "stock-db.example.internal"
ASK = ("psql", "-XtAwc", "select wanted from stock where sku = 'GLV-M'")
#: A test of the repository, by which its check named `test` asks the database how many cases are wanted.
TEST = f"""import subprocess

from inventory.reorder import cases_for


def test_the_database_wants_what_is_ordered() -> None:
    asked = {list(ASK)!r}
    said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    assert cases_for(24, 20) == int(said.stdout)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The demo's directory. Each demo makes it anew, all but the tools, whose installation takes longest."""
    place = tmp_path_factory.mktemp("network") / "demo"
    yield place
    shutil.rmtree(place, ignore_errors=True)


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


def test_set_up_has_the_registry_and_the_test_check_the_database_and_the_agent_neither(place: Path) -> None:
    with postgres() as server:
        before = server.connections()
        try:
            with site(place, furnished(place, server)):
                done = ringfence("run", "INV-7", "--settings", str(place / "ringfence.toml"))
        except ControlMissing as error:
            pytest.skip(f"no package index has the sample's tools: {str(error)[-300:]}")
        came = server.connections() - before
    assert done.returncode == 0, done.stdout + done.stderr
    boundary, decided = seen(place)
    registry = {f"{rule.host}:{rule.port}" for rule in boundary.network.setup}
    service = f"{DATABASE}:{server.port}"
    assert {rule.purpose for rule in boundary.network.setup} == {"registry"}
    assert not boundary.network.agent
    # Each phase reached all that it has rules for, and nothing else.
    allowed = [one for one in decided if one.decision == "allow"]
    assert {(one.phase, one.destination) for one in allowed} == {
        *(("setup", where) for where in registry),
        ("validation", service),
    }
    assert sum(one.received for one in allowed if one.phase == "setup") > 20_000, "the dependency itself came through"
    _the_check_alone_talked_to(allowed, came)
    # Everybody else was refused, by the rules of their phase, and is on record.
    denied = {(one.role, one.rule, one.destination) for one in decided if one.decision == "deny"}
    index = next(iter(boundary.network.setup))
    assert denied >= {
        ("setup", "network.setup", service),
        ("agent", "network.agent", service),
        ("agent", "network.agent", f"{index.host}:{index.port}"),
    }
    assert {(role, rule) for role, rule, _ in denied} == {("setup", "network.setup"), ("agent", "network.agent")}
    assert {where for _, _, where in denied} <= {service, *registry}
    rows = json.loads(ringfence("show", RUN, "--network", "--json", "--settings", str(place / "ringfence.toml")).stdout)
    assert {(row["phase"], row["decision"]) for row in rows if row["destination"] == service} == {
        ("setup", "deny"), ("agent", "deny"), ("validation", "allow"),
    }  # fmt: skip


def _the_check_alone_talked_to(allowed: list[e.EgressDecided], came: int) -> None:
    """The server's own log counts as many as ours, which were all let out for checks."""
    asked = [one for one in allowed if one.phase == "validation"]
    assert {one.role for one in asked} == {"checks:base", "checks:patch", "checks:patch with base tests"}
    assert came == len(asked)


@contextmanager
def furnished(place: Path, server: Postgres) -> Iterator[Sample]:
    """The recorded sample, whose boundary gives its checks a database; everybody tries for that, and more."""
    with recorded(place) as sample:
        if sample.registry.startswith("none"):
            pytest.skip(f"sandboxes can use no registry here: {sample.registry}")
        (place / "inventory" / "tests" / "test_database.py").write_text(TEST)
        _write_boundary(place / "boundary.yaml", server)
        _write_attempts(place / "replay.json", YAML().load(place / "boundary.yaml"))
        yield replace(sample, settings=f'{sample.settings}\n[egress.hosts]\n"{DATABASE}" = ["127.0.0.1"]\n')


def _write_boundary(path: Path, server: Postgres) -> None:
    """One rule more, and what psql reads of its environment; set-up tries for the database too, and must fail."""
    document = YAML().load(path)
    rule = {"host": DATABASE, "port": server.port, "purpose": "service", "cidrs": ["127.0.0.1/32"]}
    document["network"]["validation"] = [rule]
    mine = document["commands"]["repositories"][REPOSITORY]
    mine["path"].append(str(server.programs))
    mine["environment"] |= {
        "PGHOST": DATABASE, "PGPORT": str(server.port), "PGUSER": "checks", "PGDATABASE": "postgres"
    }  # fmt: skip
    mine["setup"].append(["sh", "-c", f"! {shlex.join(ASK)}"])
    YAML().dump(document, path)


def _write_attempts(path: Path, document: dict[str, Any]) -> None:
    """The agent does first what set-up does, and what the check does, each word for word."""
    mine = document["commands"]["repositories"][REPOSITORY]
    tries = "; ".join(shlex.join(map(str, argv)) for argv in (mine["setup"][0], ASK))
    recording = json.loads(path.read_text())
    turn = {"say": "I try both places.", "calls": [{"name": "shell", "arguments": {"command": tries}}]}
    recording["conversations"][0]["turns"].insert(0, turn)
    path.write_text(json.dumps(recording))


def ringfence(*argv: str) -> "subprocess.CompletedProcess[str]":
    """A command to its end."""
    command = [sys.executable, "-m", "ringfence.cli.main", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
