"""The built-in agent as the worker sees it: how to start it in a sandbox, and how to read what it printed.

The program itself is `builtin_program.py`; its bytes go into the sandbox and are never imported here.
This module takes no decision: an outcome is what the agent says about itself. Commands of the agent run
as the same user in the same sandbox, so a line of the stream can be forged by someone who tries; what a
run is worth is decided by the patch and the checks alone.
"""

from collections.abc import Callable
from pathlib import Path

from ringfence import __version__
from ringfence.adapters import event_stream
from ringfence.ports.agent import AgentReport, AgentTask, Launch

PROGRAM = "/ringfence/agent.py"
BRIEF = "/ringfence/brief.md"


class BuiltinAgent:
    """Ringfence's own agent: a loop with a shell tool, in one standard-library file."""

    name = "builtin"
    version = __version__
    hidden: tuple[str, ...] = ()  # it reads no configuration of a repository

    def launch(self, task: AgentTask) -> Launch:
        """The interpreter in isolated mode, without site packages: nothing of the checkout is imported or read."""
        return Launch(
            argv=(
                "/usr/bin/python3", "-I", "-S", PROGRAM,
                f"--door={task.door}",
                f"--model={task.model}",
                f"--turns={task.turns}",
                f"--seconds={task.seconds}",
                f"--brief={BRIEF}",
            ),
            environment={"HOME": "/home/agent", "LANG": "C.UTF-8"},
            files={
                PROGRAM: Path(__file__).with_name("builtin_program.py").read_bytes(),
                BRIEF: task.brief.encode("utf-8", "replace"),
            },
        )  # fmt: skip

    def watch(self) -> Callable[[bytes], int]:
        """Counts turns as the stream comes."""
        return event_stream.watch(event_stream.own_events)

    def report(self, output: bytes) -> AgentReport:
        """The last well-formed word of the stream; whatever else was printed there is passed over."""
        return event_stream.read(output, event_stream.own_events).report()
