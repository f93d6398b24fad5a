"""A model that fails: whatever an agent makes of it, the run ends by itself and says what was wrong.

Whole runs with a model server that does nothing else than one fault; skipped for agents that are not installed.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agents.faults import FAULTS, NAMES
from agents.trial import Trial, carry, prepared, require
from ringfence.adapters.agents.external.table import TABLE
from ringfence.domain import events as e
from scripted_model import ScriptedModel, scripted
from worksite import REPOSITORY

pytestmark = pytest.mark.timeout(600)
#: Seconds that a run has at most. A run that needs them all ends for a reason that no fault expects.
TIME = 180
_MODEL = "scripted-test"


def furnished(agent: str, server: ScriptedModel) -> dict[str, Any]:
    """A boundary whose only route leads to the server, which is given little time and few tries."""
    provider = "anthropic" if TABLE[agent].protocol == "messages" else "openai"
    route = {
        "name": "faulty", "provider": provider, "endpoint": f"{server.door}/v1", "models": [_MODEL],
        "repositories": [REPOSITORY], "data_classes": ["internal"], "prompts_logged": "nowhere",
        "outputs_logged": "nowhere", "retention": "disabled", "internal": True,
    }  # fmt: skip
    return {
        "models.routes": [route], "models.default": f"faulty/{_MODEL}", "models.first_byte_timeout": "2s",
        "models.idle_timeout": "2s", "limits.run.time": f"{TIME}s", "limits.run.attempts": 1, "limits.run.turns": 6,
        "limits.run.requests": 40, "limits.run.output_tokens": 1_000_000,
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_model_ends_the_run_with_its_name(tmp_path: Path, name: str, fault: str) -> None:
    require(name)
    wanted = FAULTS[fault]
    with scripted(wanted.step) as server, prepared(tmp_path / "site", name, None, furnished(name, server)) as site:
        trial = carry(site)
        assert (trial.code, trial.view.outcome) == (7, "stopped"), trial.why
        assert trial.view.reason in wanted.reasons, trial.why
        assert set(site.refs()) == {"refs/heads/main"}, "nothing was published"
        bundle = site.state / "bundles" / f"{trial.view.id}.bundle.tar"
        assert site.ringfence("verify", str(bundle)).returncode == 0
        assert list((site.state / "runs").iterdir()) == []
    started, destroyed = trial.all(e.SandboxStarted), trial.all(e.SandboxDestroyed)
    assert [one.role for one in started] == [one.role for one in destroyed]
    assert [one.processes_left for one in destroyed] == [0] * len(destroyed)
    assert len(server.requests) == len(trial.all(e.ModelAsked)), "every request upstream is on record"
    noted(name, fault, trial, len(server.requests))


def noted(name: str, fault: str, trial: Trial, requests: int) -> None:
    """For the table of faults, when `script/agents` asks for it."""
    place = os.environ.get("RINGFENCE_AGENTS_RESULTS")
    if not place:
        return
    row = {
        "name": name, "kind": "fault", "fault": fault, "reason": trial.view.reason, "requests": requests,
        "seconds": round(trial.agent.seconds),
    }  # fmt: skip
    with Path(place).open("a") as handle:
        handle.write(json.dumps(row) + "\n")
