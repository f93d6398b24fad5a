"""What a conversation asks for and what it is told: the whole vocabulary between the logic and the sockets.

The logic is a generator that yields commands and receives replies. A test plays the other side with
written answers; connection.py plays it with sockets.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

from ringfence.domain.leaks import Scanner
from ringfence.egress.attempt import Attempt
from ringfence.egress.door import Meter


@dataclass(frozen=True, slots=True)
class Record:
    """Have the worker write this down. → Acknowledged"""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Look:
    """Look a name up. → Found, Failed or Left"""

    host: str


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to the first of these addresses that answers; nothing is looked up. → Connected, Failed or Left"""

    addresses: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class Hear:
    """Wait for bytes of the sandbox. → Piece, TimedOut or Left"""

    seconds: float


@dataclass(frozen=True, slots=True)
class Say:
    """Send bytes to the sandbox. → Went or Left"""

    content: bytes


@dataclass(frozen=True, slots=True)
class HearServer:
    """Wait for bytes of the server; an empty piece is its end. → Piece, TimedOut or Left"""

    seconds: float


@dataclass(frozen=True, slots=True)
class SayServer:
    """Send bytes to the server. → Went, Failed or Left"""

    content: bytes


@dataclass(frozen=True, slots=True)
class LookThrough:
    """Look through bytes that want to leave; a door's connections take turns in this. → Seen"""

    scanner: Scanner
    content: bytes
    final: bool


@dataclass(frozen=True, slots=True)
class Relay:
    """Pass on what either side says until one of them ends, the meter stops or time is over. → Relayed"""

    first: bytes  # for the server, before anything else
    meter: Meter
    idle: float
    longest: float


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Whether it was written down."""

    ok: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Every address of a name, as text."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Connected:
    """The address that answered."""

    address: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Relayed:
    """What went to the server, what came from it, and why it ended: empty, or a limit."""

    sent: int
    received: int
    why: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The name of a secret in what was looked through, or None."""

    found: str | None


@dataclass(frozen=True, slots=True)
class Untrusted:
    """A server whose certificate does not hold."""

    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It could not be done."""

    why: str


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Nothing came in time."""


@dataclass(frozen=True, slots=True)
class Left:
    """The sandbox's side has gone, or the door is being closed."""


@dataclass(frozen=True, slots=True)
class Went:
    """Done."""


Command = Record | Look | Dial | Hear | Say | HearServer | SayServer | LookThrough | Relay
Reply = Acknowledged | Found | Connected | Piece | Seen | Relayed | Untrusted | Failed | TimedOut | Left | Went
T = TypeVar("T")
Steps = Generator[Command, Reply, T]
