"""A run with the built-in agent's mode for small models: mended, or an honest failure."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.domain import events as e
from scripted_model import ScriptedModel, says, scripted
from worksite import REPOSITORY, Worksite, worksite

BUG = "def double(n):\n    return n + 1\n"
FILES = {
    "value.txt": "1\n",
    "twice.py": BUG,
    "check.sh": "python3 -B -c 'from twice import double; assert double(5) == 10'\n",
}
GOOD = "Here it is:\n```python\ndef double(n):\n    return n * 2\n```"
WRONG = "```python\ndef double(n):\n    return 10 - n\n```"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Worksite]:
    with worksite(tmp_path / "site", FILES) as site:
        site.settings_path.write_text(site.settings_path.read_text() + '[agent]\nmode = "small"\n')
        site.ticket(body="The function `double` in twice.py is wrong: `double(5)` must be `10`.")
        yield site


def furnish(site: Worksite, server: ScriptedModel) -> None:
    route = {
        "name": "inside", "provider": "openai", "endpoint": f"{server.door}/v1", "models": ["tiny"],
        "repositories": [REPOSITORY], "data_classes": ["internal"], "prompts_logged": "nowhere",
        "outputs_logged": "nowhere", "retention": "disabled", "internal": True,
    }  # fmt: skip
    site.boundary({"models.routes": [route], "models.default": "inside/tiny", "limits.run.attempts": 1})


def test_a_ticket_becomes_a_pull_request_with_a_model_that_calls_no_tool(small: Worksite) -> None:
    with scripted(says("I do not know."), says(WRONG), says(GOOD)) as server:
        furnish(small, server)
        code, view = small.run()
    assert (code, view.outcome) == (0, "pull_request"), view.detail
    assert small.git("show", f"{view.branch}:twice.py") == "def double(n):\n    return n * 2"
    (ended,) = [event for event in small.events(view.id) if isinstance(event, e.AgentEnded)]
    assert (ended.agent, ended.outcome, ended.turns) == ("builtin", "finished", 3)
    assert ended.version.endswith(", small mode")
    assert view.spent.requests == 3


def test_eight_wrong_answers_end_without_a_change_and_say_so(small: Worksite) -> None:
    with scripted(says(WRONG)) as server:
        furnish(small, server)
        done = small.ringfence("run", "T-1", timeout=300)
        (view,) = small.views()
    assert (done.returncode, view.outcome, view.reason) == (7, "stopped", "no_changes")
    assert "none of 8 tries passed the checks" in done.stdout + str(small.events(view.id))
    assert set(small.refs()) == {"refs/heads/main"}
    assert len(server.requests) == 8
