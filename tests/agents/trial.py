"""One real agent through one whole run, and what can be said of it afterwards."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ringfence.adapters.agents.external.install import Shelf
from ringfence.adapters.agents.external.table import TABLE
from ringfence.domain import events as e
from ringfence.domain.events import from_json
from ringfence.domain.run import RunView
from ringfence.wiring import reading
from worksite import Worksite, worksite

_ROOT = Path(__file__).parents[2]
NAMES = tuple(TABLE)
SANDBOX = {
    "memory": "3GiB", "processes": 512, "cpus": 2, "cpu_time": "300s", "file": "256MiB", "disk": "256MiB",
    "temporary": "512MiB", "output": "32MiB", "cgroup": "preferred",
}  # fmt: skip
#: Looks around, changes the one file, and says that it is done; played in the way of whatever agent asks.
_LOOK = {"say": "I look around.", "run": "env; ls -a; cat value.txt"}
_DONE = {"done": "The value is 2 now."}
TURNS = (_LOOK, {"run": "echo 2 > value.txt"}, _DONE)
#: For an agent that offers its model no tools.
TEXT_TURNS = ({"text_edit": {"path": "value.txt", "search": "1", "replace": "2"}}, _DONE)


def shelf() -> Shelf:
    """Where `script/agents` installs."""
    python = os.environ.get("RINGFENCE_AGENTS_PYTHON")
    return Shelf(directory(), Path(python) if python else None)


def directory() -> Path:
    return Path(os.environ.get("RINGFENCE_AGENTS", _ROOT / ".state" / "agents"))


def require(name: str) -> None:
    """Skip what is not installed, and say how it can be."""
    entry = TABLE[name]
    if fault := shelf().fault(entry):
        pytest.skip(f"{name}: {fault}")
    if shelf().find(entry.installed_as) is None:
        pytest.skip(f"{name} is not installed: `script/agents {name}` installs it and runs this test")


@dataclass(frozen=True)
class Trial:
    """A run that has ended."""

    site: Worksite
    code: int
    view: RunView
    records: tuple[tuple[float, e.Event], ...]
    requests: bytes  # all that was sent to the model
    output: str  # all that the agent printed

    def all(self, kind: type[Any]) -> list[Any]:
        return [event for _time, event in self.records if isinstance(event, kind)]

    @property
    def why(self) -> str:
        """For a test that fails."""
        return f"{self.view.outcome} {self.view.reason} {self.view.detail}\n{self.output[-3000:]}"

    @property
    def agent(self) -> e.CommandRan:
        found: e.CommandRan = next(event for event in self.all(e.CommandRan) if event.role == "agent")
        return found

    @property
    def first_request(self) -> float:
        """Seconds from the start of the agent's sandbox to the first request at the gateway."""
        start = next(
            time for time, event in self.records if isinstance(event, e.SandboxStarted) and event.role == "agent"
        )
        asked = next(time for time, event in self.records if isinstance(event, e.ModelAsked))
        return asked - start

    @property
    def refused(self) -> list[str]:
        """What the gateway was asked for and refused."""
        return [f"{call.rule} {call.reason}" for call in self.all(e.ModelCalled) if call.decision != "allow"]

    @property
    def reached_for(self) -> list[str]:
        """Hosts that something in the agent's sandbox asked the egress proxy for; all were refused."""
        return sorted({attempt.destination for attempt in self.all(e.EgressDecided)})


@contextmanager
def prepared(
    root: Path, name: str, files: Mapping[str, str] | None = None, changes: Mapping[str, Any] | None = None
) -> Iterator[Worksite]:
    """A site whose agent is this one."""
    with worksite(root, files) as site:
        python = os.environ.get("RINGFENCE_AGENTS_PYTHON")
        lines = [
            "[agent]",
            f'name = "{name}"',
            f'directory = "{directory()}"',
            *([f'python = "{python}"'] if python else []),
        ]
        site.settings_path.write_text(site.settings_path.read_text() + "\n".join(lines) + "\n")
        # A rule that nothing uses: with it there is a door to the egress proxy, where attempts are seen and refused.
        unused = {"host": "unused.example.internal", "port": 443, "purpose": "registry"}
        wanted = {
            "commands.agents": [{"name": name}], "limits.sandbox": SANDBOX, "limits.run.requests": 60,
            "network.agent": [unused], "repositories.0.instructions": [],
        }  # fmt: skip
        site.boundary({**wanted, **(changes or {})})
        turns = TEXT_TURNS if name == "aider" else TURNS
        script = {"version": 1, "conversations": [{"name": "the one change", "turns": turns}]}
        (site.root / "replay.json").write_text(json.dumps(script))
        yield site


def carry(site: Worksite) -> Trial:
    """Run the ticket to its end."""
    code, view = site.run()
    with reading(site.settings) as look:
        records = tuple((record.time, from_json(record.event)) for record in look.log.records(view.id))
        calls = [event for _, event in records if isinstance(event, e.ModelCalled)]
        sent = b"\n".join(look.artifacts.get(call.request) for call in calls)
        ran = [event for _, event in records if isinstance(event, e.CommandRan) and event.role == "agent"]
        output = look.artifacts.get(ran[-1].output).decode("utf-8", "replace") if ran else ""
    return Trial(site, code, view, records, sent, output)
