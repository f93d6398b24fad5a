"""What an entry of the table is: everything that Ringfence knows of one agent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ringfence.adapters.event_stream import Parser
from ringfence.domain.wires import Wire
from ringfence.ports.agent import AgentTask

#: Where a sandbox sees an agent's tree, the Node that it may need, the brief, and a home of its own.
TREE = "/ringfence/agent"
NODE = "/ringfence/node"
BRIEF = "/ringfence/brief.md"
HOME = "/home/agent"
#: What agents that want a key are given. The gateway drops it: a run is known by its door, not by a token.
KEY = "this-is-no-key"
#: The kernel takes no longer word of a command line than 128 KiB.
_LONGEST = 120_000


@dataclass(frozen=True, slots=True)
class Start:
    """One start of an agent, beyond the program itself."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    around: tuple[str, ...] = ()  # words before the program: a shell line that starts it and prints its last word


@dataclass(frozen=True, slots=True)
class Entry:
    """One agent. `program` is a path in its tree; for Python a module, or one of its functions: `package.cli:main`."""

    name: str
    title: str
    version: str
    package: str
    protocol: Wire
    source: Literal["npm", "pip"]
    runtime: Literal["native", "node", "python"]
    program: str
    start: Callable[[AgentTask], Start]
    parse: Parser
    hidden: tuple[str, ...] = ()
    python: tuple[int, int] = (3, 11)  # the oldest that it runs on
    tree: str = ""  # whose installed tree it is in, where that is another entry's

    @property
    def installed_as(self) -> str:
        """The name of its tree."""
        return self.tree or self.name


def prompt(task: AgentTask) -> str:
    """The brief as one word of a command line; one that is too long is left to be read from its file."""
    if len(task.brief.encode("utf-8", "replace")) <= _LONGEST:
        return task.brief.replace("\0", "")
    return f"Your task is in the file {BRIEF}. Read all of it first, then do what it says."
