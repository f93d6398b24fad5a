"""The port of the egress proxy as the pipeline sees it: a door is opened for a command, watched, and closed."""

import socket
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ringfence.domain.hosts import HostRule


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What may pass one door. Values, not references: the proxy never reads the boundary itself."""

    run: str
    door: str  # a name for the log, unique while it is open
    role: str  # of the sandbox: "setup", "checks:patch"
    phase: str  # "setup", "agent" or "validation"
    command: str  # the declared command, in short
    rules: tuple[HostRule, ...]
    requests: int  # what is left of the run's budget, as are the next two
    sent: int
    received: int
    longest: float  # seconds that one connection may last
    idle_timeout: float
    #: A door to one service, where the rules allow it: what comes is passed on as it is, and no proxy is spoken.
    service: HostRule | None = None
    #: The certificate (PEM) of the authority that this sandbox trusts, where a rule inspects.
    authority: str = ""
    on_leak: str = "stop"  # or "deny": what happens when a request holds a secret that the proxy knows


class OpenDoor(Protocol):
    """A door in use."""

    def denied(self) -> str | None:
        """The reason why the run cannot go on (a dead proxy, a record that failed), or None."""
        ...


class Egress(Protocol):
    """A process of its own that lets a sandbox reach what the boundary names, and nothing else."""

    def open(self, listener: socket.socket, policy: EgressPolicy) -> AbstractContextManager[OpenDoor]:
        """Serve a planted listener under a policy until the block ends. Errors: `ControlMissing` when it is dead."""
        ...

    def authority(self, seconds: float) -> str:
        """Make an authority for one sandbox, for this long; its certificate as PEM. Errors: `ControlMissing`.

        It ends with the door that is opened with it; the key stays in the proxy's process.
        """
        ...

    def alive(self) -> bool:
        """Whether it still answers; when not, its runs stop."""
        ...
