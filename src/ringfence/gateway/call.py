"""One exchange as the gateway asks for it to be recorded: a value that crosses to the worker's process.

It holds the bodies, not their digests: redacting, storing and appending are the worker's, because the
log has one writer.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from ringfence.ports.broker import Secret

#: `opened`: allowed and about to be sent to the provider. `ended`: what became of it. `denied`: never sent.
Phase = Literal["opened", "ended", "denied"]


@dataclass(frozen=True, slots=True)
class Call:
    """One upstream attempt (`opened`, then `ended` under the same `id`) or one refusal (`denied`).

    Everything that `events.ModelCalled` needs beside the digests of the two bodies. Only `ended` and
    `denied` are outcomes; `opened` is the question whether this call may happen at all.
    """

    id: str
    phase: Phase
    run: str
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
    replayed: bool
    request: bytes  # what is about to be sent, or what was refused; empty when ended, for the worker has it
    response: bytes  # what came back, or what the agent was told
    protocol: str = "chat"  # the agent's
    translated: str = ""  # what the provider was asked in, where that is another one
    cached_tokens: int = 0  # of the input
    reasoning_tokens: int = 0  # of the output
    cost: int = 0  # billionths of the currency: what was promised when opened, what it was when ended
    currency: str = ""  # empty: the boundary has no price for it
    as_of: str = ""  # the date of the table
    response_model: str = ""  # as the provider named it: printable, and nobody's promise


def to_frame(call: Call) -> tuple[dict[str, Any], bytes, bytes]:
    """The call as a JSON object and its two bodies."""
    return {name: getattr(call, name) for name in _TYPES}, call.request, call.response


def from_frame(header: dict[str, Any], request: bytes, response: bytes) -> Call:
    """The call that `to_frame` took apart. Raises ValueError unless each field is there with its type."""
    if set(header) != set(_TYPES) or not all(isinstance(header[name], of) for name, of in _TYPES.items()):
        raise ValueError("a call with the wrong fields")
    if header["phase"] not in _PHASES:
        raise ValueError("a call in no known phase")
    return Call(**header, request=request, response=response)


_PHASES = get_args(Phase)
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(
        (
            "id",
            "phase",
            "run",
            "door",
            "route",
            "provider",
            "model",
            "decision",
            "rule",
            "reason",
            "protocol",
            "translated",
            "currency",
            "as_of",
            "response_model",
        ),
        str,
    ),
    **dict.fromkeys(("status", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost"), int),
    **dict.fromkeys(("tokens_estimated", "replayed"), bool),
    **dict.fromkeys(("first_byte_ms", "seconds"), (int, float)),
}


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """One approved way to a model, with what only the gateway's process may hold."""

    name: str
    provider: str  # as the boundary spells it: a key of domain/wires.py SPOKEN
    endpoint: str  # base URL as docs/gateway.md has it for each kind. replay: path of the recorded script
    models: tuple[str, ...]
    credential: Secret | None = None
    protocols: tuple[str, ...] = ()  # that its doors take; none: all that the provider speaks
    translate: tuple[str, ...] = ()  # that its doors take by translation to one of those
    authorities: str = ""  # PEM certificates to trust beside the system's, for an endpoint with a private CA
    region: str = ""  # bedrock: for which requests are signed
    api_version: str = ""  # azure: in each address, but for its form with /v1
