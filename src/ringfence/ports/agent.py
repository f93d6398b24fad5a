"""The port of agents: each is a program that runs inside the sandbox and reaches a model only through its door."""

from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start an agent inside a sandbox."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What the agent's event stream said. `outcome`: "finished", "gave_up", "turns", "time", "denied", "crashed"."""

    outcome: str
    turns: int
    message: str


class Agent(Protocol):
    """One kind of agent."""

    @property
    def name(self) -> str:
        """For the log and the pull request."""
        ...

    def launch(self, task: AgentTask) -> Launch:
        """The command line, environment and files of a start."""
        ...

    def report(self, output: bytes) -> AgentReport:
        """Read the event stream; a stream without a last word is a crash."""
        ...
