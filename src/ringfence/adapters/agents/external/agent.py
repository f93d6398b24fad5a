"""An installed agent as the worker sees it: its entry of the table, and where its tree is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ringfence.adapters import event_stream
from ringfence.adapters.agents.external.entry import BRIEF, HOME, NODE, TREE, Entry
from ringfence.ports.agent import AgentReport, AgentTask, Launch
from ringfence.ports.sandbox import Mount

#: Isolated: nothing of the checkout, of a home or of an environment is imported, and `PYTHONPATH` is left alone for
#: the commands that the agent runs.
_BOOT = (
    f"import importlib, runpy, sys; sys.path.insert(0, {TREE!r}); module, _, main = sys.argv.pop(1).partition(':'); "
    "sys.exit(getattr(importlib.import_module(module), main)()) if main else "
    "runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installed agent is on the worker: its tree, and the runtime's where it needs one of its own."""

    tree: Path
    runtime: Path | None = None


class ExternalAgent:
    """One agent of the table."""

    def __init__(self, entry: Entry, place: Place) -> None:
        self._entry = entry
        self._place = place

    @property
    def name(self) -> str:
        """Its name in the table."""
        return self._entry.name

    @property
    def version(self) -> str:
        """The pinned version."""
        return self._entry.version

    @property
    def hidden(self) -> tuple[str, ...]:
        """What it would obey of a repository."""
        return self._entry.hidden

    def launch(self, task: AgentTask) -> Launch:
        """The program from its read-only tree, with a private home that holds its configuration."""
        entry, start = self._entry, self._entry.start(task)
        mounts = [Mount(self._place.tree, TREE)]
        if self._place.runtime is not None:
            # An interpreter knows the paths that it was built for, so it stays where it is on the worker.
            target = NODE if entry.runtime == "node" else str(self._place.runtime)
            mounts.append(Mount(self._place.runtime, target))
        words = (*start.around, *self._program(), *start.arguments)
        brief = task.brief.encode("utf-8", "replace")
        return Launch(
            argv=words,
            environment={"HOME": HOME, "LANG": "C.UTF-8", **start.environment},
            files={BRIEF: brief, **start.files},
            mounts=tuple(mounts),
        )

    def _program(self) -> tuple[str, ...]:
        entry = self._entry
        if entry.runtime == "node":
            return (f"{NODE}/bin/node", f"{TREE}/{entry.program}")
        if entry.runtime == "python":
            interpreter = f"{self._place.runtime or '/usr'}/bin/python3"
            if entry.program.startswith("/"):
                return (interpreter, "-I", entry.program)
            return (interpreter, "-I", "-c", _BOOT, entry.program)
        return (f"{TREE}/{entry.program}",)

    def watch(self) -> Callable[[bytes], int]:
        """Counts turns as the stream comes."""
        return event_stream.watch(self._entry.parse)

    def report(self, output: bytes) -> AgentReport:
        """What the stream said."""
        return event_stream.read(output, self._entry.parse).report()
