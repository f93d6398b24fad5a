"""The built-in agent as the worker sees it: how to start it in a sandbox, and how to read what it printed.

The program itself is `builtin_program.py`, with `small_program.py` before it in the mode for small models; their
bytes go into the sandbox and are never imported here.
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
SMALL = "/ringfence/small.py"
BRIEF = "/ringfence/brief.md"


class BuiltinAgent:
    """Ringfence's own agent: a loop with a shell tool, in one standard-library file; or its mode for small models."""

    name = "builtin"
    hidden: tuple[str, ...] = ()  # it reads no configuration of a repository

    def __init__(self, *, small: bool = False) -> None:
        self._small = small

    @property
    def version(self) -> str:
        """That of Ringfence, and the mode."""
        return f"{__version__}, small mode" if self._small else __version__

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

    def watch(self) -> Callable[[bytes], int]:
        """Counts turns as the stream comes."""
        return event_stream.watch(event_stream.own_events)

    def report(self, output: bytes) -> AgentReport:
        """The last well-formed word of the stream; whatever else was printed there is passed over."""
        return event_stream.read(output, event_stream.own_events).report()


def _program(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()
