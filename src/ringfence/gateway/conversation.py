"""What the exchange and its driver say to each other: commands go out, each gets one reply.

The exchange (exchange.py) is a generator that yields commands and does no I/O; connection.py performs
them. A command's docstring names the replies it can get; `AgentLeft` can answer every command but
`Record`, because what happened is recorded also when nobody is there to hear of it.
"""

from dataclasses import dataclass

from ringfence.gateway.call import Call
from ringfence.gateway.refusal import Headers
from ringfence.ports.model_provider import ProviderRequest


@dataclass(frozen=True, slots=True)
class ReadBody:
    """Read the agent's whole body: `BodyCame`, or `BodyTooLarge`."""

    limit: int


@dataclass(frozen=True, slots=True)
class Record:
    """Have the worker record a call: `Acknowledged`."""

    call: Call


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the provider of a route: `Answered`, `Failed` or `TimedOut`. An earlier answer is closed first."""

    request: ProviderRequest
    seconds: float
    route: str

    @property
    def body(self) -> bytes:
        """What is sent."""
        return self.request.body


@dataclass(frozen=True, slots=True)
class Listen:
    """Wait for the next piece of the provider's answer: `Piece`, `Ended`, `Failed` or `TimedOut`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before another try: `Went`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Respond:
    """Give the agent a whole answer: `Went`."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin a stream to the agent, status 200: `Went`."""

    headers: Headers


@dataclass(frozen=True, slots=True)
class Send:
    """Send a piece of the stream at once: `Went`."""

    piece: bytes


@dataclass(frozen=True, slots=True)
class Finish:
    """End the stream as complete: `Went`."""


@dataclass(frozen=True, slots=True)
class Abort:
    """Break the connection so that no client takes the stream for complete: `Went`."""


Command = ReadBody | Record | Ask | Listen | Pause | Respond | Begin | Send | Finish | Abort


@dataclass(frozen=True, slots=True)
class BodyCame:
    """The whole body of the request."""

    body: bytes


@dataclass(frozen=True, slots=True)
class BodyTooLarge:
    """There was more than the limit; the rest was not read."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Whether the worker has the record; if it forbids what was asked, why, and else what is to be sent instead."""

    ok: bool
    why: str = ""
    final: bool = False
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Answered:
    """The provider's status line and what matters of its headers."""

    status: int
    content_type: str
    retry_after: float


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the provider's body."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The provider's body is over."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider cannot be reached, or its answer was cut by the transport."""


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Nothing came in the given time."""


@dataclass(frozen=True, slots=True)
class Went:
    """The command was performed."""


@dataclass(frozen=True, slots=True)
class AgentLeft:
    """The agent closed its connection, or the worker closed the door."""


Reply = (
    BodyCame | BodyTooLarge | Acknowledged | Answered | Piece | Ended | Failed | TimedOut | Went | AgentLeft
)  # fmt: skip
