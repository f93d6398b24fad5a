"""The port of agents: each is a program that runs inside the sandbox and reaches a model only through its door."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ringfence.ports.sandbox import Mount


@dataclass(frozen=True, slots=True)
class AgentTask:
    """What an agent is asked to do."""

    brief: str
    model: str
    door: str  # root URL of the gateway inside the sandbox, without /v1
    turns: int
    seconds: float
    permissions: tuple[str, ...] = ()  # kinds of tool calls that are granted when the agent asks first


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start an agent inside a sandbox."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentStep:
    """One thing that an agent said it did. `kind`: "turn", "tool", "message" or "fault"."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What the agent's event stream said. `outcome`: "finished", "gave_up", "turns", "time", "denied", "crashed"."""

    outcome: str
    turns: int
    message: str
    tools: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    steps: tuple[AgentStep, ...] = ()


class Agent(Protocol):
    """One kind of agent."""

    @property
    def name(self) -> str:
        """For the boundary, the log and the pull request."""
        ...

    @property
    def version(self) -> str:
        """Which version of it is started."""
        ...

    @property
    def hidden(self) -> tuple[str, ...]:
        """Paths of a repository, as gitignore patterns, that this agent would obey, and so is not shown."""
        ...

    def launch(self, task: AgentTask) -> Launch:
        """The command line, environment and files of a start. Errors: `ControlMissing` when it is not installed."""
        ...

    def watch(self) -> Callable[[bytes], int]:
        """Takes the event stream piece by piece and says how many turns there were; never raises."""
        ...

    def report(self, output: bytes) -> AgentReport:
        """Read the event stream; a stream without a last word is a crash. Never raises."""
        ...
