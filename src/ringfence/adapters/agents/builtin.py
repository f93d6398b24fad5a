"""The built-in agent as the worker sees it: how to start it in a sandbox, and how to read what it printed.

The program itself is `builtin_program.py`, with `small_program.py` before it in the mode for small models; their
bytes go into the sandbox and are never imported here.
This module takes no decision: an outcome is what the agent says about itself. Commands of the agent run
as the same user in the same sandbox, so a line of the stream can be forged by someone who tries; what a
run is worth is decided by the patch and the checks alone.
"""

import json
from pathlib import Path
from typing import Any

from ringfence.ports.agent import AgentReport, AgentTask, Launch

PROGRAM = "/ringfence/agent.py"
SMALL = "/ringfence/small.py"
BRIEF = "/ringfence/brief.md"
OUTCOMES = ("finished", "gave_up", "turns", "time", "denied", "crashed")
_MESSAGE = 2_000


class BuiltinAgent:
    """Ringfence's own agent: a loop with a shell tool, in one standard-library file; or its mode for small models."""

    def __init__(self, *, small: bool = False) -> None:
        self._small = small

    @property
    def name(self) -> str:
        """For the log and the pull request."""
        return "builtin (small)" if self._small else "builtin"

    def launch(self, task: AgentTask) -> Launch:
        """The interpreter in isolated mode, without site packages: nothing of the checkout is imported or read."""
        return Launch(
            argv=(
                "/usr/bin/python3", "-I", "-S", SMALL if self._small else PROGRAM,
                f"--door={task.door}",
                f"--model={task.model}",
                f"--turns={task.turns}",
                f"--seconds={task.seconds}",
                f"--brief={BRIEF}",
            ),
            environment={"HOME": "/home/agent", "LANG": "C.UTF-8"},
            files={
                PROGRAM: _program("builtin_program.py"),
                **({SMALL: _program("small_program.py")} if self._small else {}),
                BRIEF: task.brief.encode("utf-8", "replace"),
            },
        )  # fmt: skip

    def report(self, output: bytes) -> AgentReport:
        """The last well-formed word of the stream; whatever else was printed there is passed over."""
        turns = 0
        last: dict[str, Any] | None = None
        for line in output.split(b"\n"):
            event = _event(line)
            if event.get("event") == "turn" and _count(event.get("n")) is not None:
                turns = max(turns, event["n"])
            if event.get("event") == "end" and event.get("outcome") in OUTCOMES:
                last = event
        if last is None:
            return AgentReport("crashed", turns, "the event stream has no last word")
        said = _count(last.get("turns"))
        return AgentReport(last["outcome"], turns if said is None else said, str(last.get("message", ""))[:_MESSAGE])


def _program(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()


def _event(line: bytes) -> dict[str, Any]:
    """One line as an event; an empty one when it is something else."""
    if not line.startswith(b"{"):
        return {}
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100_000 else None
