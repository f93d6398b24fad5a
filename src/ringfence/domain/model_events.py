"""What is recorded of calls to a model: that one was about to go out, and how it ended or why it was denied."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class ModelAsked:
    """The gateway was about to send a request to a provider; written before it was sent."""

    kind: ClassVar[str] = "model.asked"
    call: str
    door: str
    route: str
    model: str
    rule: str
    reason: str = ""  # why this route, where it is not the first
    input_tokens: int = 0  # what it was promised: all that it may cost, should nothing more be heard of it
    output_tokens: int = 0
    cost: int = 0
    server: str = ""  # host:port of the route's endpoint, by the boundary; empty for a recording


@dataclass(frozen=True, slots=True)
class ModelCalled:
    """One exchange at the gateway, allowed or denied."""

    kind: ClassVar[str] = "model.called"
    door: str
    route: str
    provider: str
    model: str
    decision: str  # "allow" or "deny"
    rule: str
    reason: str
    status: int
    input_tokens: int
    output_tokens: int
    tokens_estimated: bool
    first_byte_ms: float
    seconds: float
    request: str  # digests of the redacted bodies
    response: str
    replayed: bool
    protocol: str = "chat"  # the agent's
    translated: str = ""  # what the provider was asked in, where that is another one
    cached_tokens: int = 0  # of the input
    reasoning_tokens: int = 0  # of the output
    call: str = ""  # as it was asked
    cost: int = 0  # billionths of the currency, by the boundary's table of prices: an estimate
    currency: str = ""  # empty: the boundary has no price for it, and what it cost is not known
    as_of: str = ""  # the date of the table
    server: str = ""  # as it was asked; empty when it was denied
    response_model: str = ""  # as the provider named it, which may be anything: cut and printable
