"""The port of the model gateway as the pipeline sees it: a door is opened for a run, watched, and closed."""

import socket
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DoorPolicy:
    """What may pass one door. Values, not references: the gateway never reads the boundary itself."""

    run: str
    door: str  # a name for the log, "agent/1"
    model: str  # the model an agent asks for
    route: str
    requests: int  # what is left of the run's budget
    input_tokens: int
    output_tokens: int
    first_byte_timeout: float
    idle_timeout: float


class OpenDoor(Protocol):
    """A door in use."""

    def denied(self) -> str | None:
        """The reason of a final no that the gateway has given, or None: the worker then ends the agent."""
        ...


class Gateway(Protocol):
    """A process of its own that holds the model credentials and nothing else."""

    def open(self, listener: socket.socket, policy: DoorPolicy) -> AbstractContextManager[OpenDoor]:
        """Serve a planted listener under a policy until the block ends. Errors: `ControlMissing` when it is dead."""
        ...

    def alive(self) -> bool:
        """Whether it still answers; when not, its runs stop."""
        ...
