"""Agents that others wrote, installed from the registry, each through whole runs: sandbox, gateway, checks, host.

Only the model is scripted. `script/agents` installs them and runs these tests; without it they are skipped.
"""

import json
import os
import re
from pathlib import Path

import pytest

from agents.hostile import CANARY, HOSTILE
from agents.trial import NAMES, Trial, carry, prepared, require
from ringfence.adapters.agents.external.table import TABLE
from ringfence.domain import events as e
from ringfence.domain.wires import asked_in
from worksite import BRANCH

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_carries_a_ticket_to_a_pull_request(tmp_path: Path, name: str) -> None:
    require(name)
    with prepared(tmp_path / "site", name) as site:
        trial = carry(site)
        assert (trial.code, trial.view.outcome) == (0, "pull_request"), trial.why
        assert f"refs/heads/{BRANCH}" in site.refs()
        assert site.git("show", f"{BRANCH}:value.txt") == "2"
    (ended,) = trial.all(e.AgentEnded)
    assert (ended.agent, ended.outcome) == (name, "finished"), trial.why
    assert ended.turns >= 1 and len(trial.all(e.ModelCalled)) >= 1
    assert trial.refused == []
    noted(name, "plain", trial)


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_checkout_steers_nothing(tmp_path: Path, name: str) -> None:
    """A09, A10, A13: configuration, model addresses and instructions of the repository do nothing with any agent."""
    require(name)
    with prepared(tmp_path / "site", name, HOSTILE) as site:
        trial = carry(site)
        assert (trial.code, trial.view.outcome) == (0, "pull_request"), trial.why
        changed = site.git("diff", "--name-only", "main", BRANCH).splitlines()
    assert changed == ["value.txt"], "nothing of the repository ran, and nothing that was hidden is lost"
    assert trial.refused == [], "no request went to another address of the door"
    told = sorted(set(re.findall(rb"%s[\w./]*" % CANARY.encode(), trial.requests)))
    # aider sends every file that the brief names, as a file; that is its way, and no instruction.
    assert name == "aider" or told == [], "no instruction and no variable of the repository reached the model"
    assert "RAN-" not in trial.output
    noted(name, "hostile", trial)


@pytest.mark.parametrize("name", ["claude", "codex", "pi"])
def test_an_agent_works_with_a_model_that_lacks_its_protocol(tmp_path: Path, name: str) -> None:
    """By translation, where the boundary says so; the provider is asked in the other protocol alone."""
    require(name)
    mine = TABLE[name].protocol
    other = asked_in(mine, ("chat", "messages"))
    ways = {"models.routes.0.protocols": [other], "models.routes.0.translate": [mine]}
    with prepared(tmp_path / "site", name, changes=ways) as site:
        trial = carry(site)
        assert (trial.code, trial.view.outcome) == (0, "pull_request"), trial.why
        assert site.git("show", f"{BRANCH}:value.txt") == "2"
    calls = trial.all(e.ModelCalled)
    assert {(call.protocol, call.translated) for call in calls} == {(mine, other)}
    assert trial.refused == []


def noted(name: str, kind: str, trial: Trial) -> None:
    """For the readiness table, when `script/agents` asks for it."""
    place = os.environ.get("RINGFENCE_AGENTS_RESULTS")
    if not place:
        return
    row = {
        "name": name, "kind": kind, "first_request": round(trial.first_request, 1),
        "memory": trial.agent.peak_memory, "seconds": trial.agent.seconds,
        "requests": len(trial.all(e.ModelCalled)), "reached_for": trial.reached_for,
    }  # fmt: skip
    with Path(place).open("a") as handle:
        handle.write(json.dumps(row) + "\n")
