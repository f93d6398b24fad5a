"""A model server that fails in every way that one can, in the protocol of whoever asks."""

import contextlib
import itertools
import json
from dataclasses import dataclass

from ringfence.adapters.model_providers.replay.acts import Said, said
from ringfence.adapters.model_providers.replay.heard import understood
from ringfence.adapters.model_providers.replay.render import Played, rendered
from ringfence.adapters.model_providers.replay.script import Turn, When
from ringfence.domain.wires import Wire
from scripted_model import Exchange, Step, refuses

#: The agents that are put through all of them.
NAMES = ("codex", "claude", "opencode", "pi", "mini")
_WIRES: dict[str, Wire] = {"/v1/chat/completions": "chat", "/v1/responses": "responses", "/v1/messages": "messages"}
_WORDS = "I look around, then I think about what there is to do, and then I do it."
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Fault:
    """What the server does with every request, and the reasons that a run may stop with."""

    step: Step
    reasons: frozenset[str]


def _answer(exchange: Exchange, run: str = "") -> tuple[str, tuple[bytes, ...]]:
    """A good answer that says something or has one command run, as its content type and its pieces."""
    wire, body = _WIRES[exchange.path.partition("?")[0]], exchange.asked
    stream = body.get("stream") is True
    request = understood(wire, body["model"], stream, json.dumps(body).encode())
    turn = Turn(_WORDS, When((), ()), run=(run,)) if run else Turn(_WORDS, When((), ()))
    how = said(turn, request) or Said(_WORDS)
    number = next(_numbers)
    calls = tuple((f"call_{number}_{place}", *call) for place, call in enumerate(how.calls))
    played = Played(f"answer-{number}", body["model"], how.say, calls, 100, 20)
    answer = rendered(wire, played, stream=stream, usage_wanted=request.usage_wanted)
    return answer.content_type, answer.content


def _begin(exchange: Exchange, kind: str, *, chunked: bool = False) -> None:
    exchange.send_response(200)
    exchange.send_header("Content-Type", kind)
    exchange.send_header("Transfer-Encoding", "chunked") if chunked else exchange.send_header("Connection", "close")
    exchange.end_headers()
    exchange.close_connection = True


def _first_half(exchange: Exchange, *, chunked: bool = False) -> None:
    kind, pieces = _answer(exchange)
    whole = b"".join(pieces[: len(pieces) // 2]) if len(pieces) > 1 else pieces[0][: len(pieces[0]) // 2]
    _begin(exchange, kind, chunked=chunked)
    exchange.raw(b"%x\r\n%s\r\n" % (len(whole), whole) if chunked else whole)


def _wait(exchange: Exchange) -> None:
    """Until the gateway has had enough."""
    exchange.close_connection = True
    with contextlib.suppress(ConnectionError):
        exchange.connection.recv(1)


def _stalls(exchange: Exchange) -> None:
    _first_half(exchange)
    _wait(exchange)


def _cuts(exchange: Exchange) -> None:
    """The transport ends before it said that it would."""
    _first_half(exchange, chunked=True)


def _says_nothing(exchange: Exchange) -> None:
    """Not a byte after the head."""
    _begin(exchange, "text/event-stream" if exchange.asked.get("stream") is True else "application/json")


def _page(exchange: Exchange) -> None:
    _begin(exchange, "text/html; charset=utf-8")
    exchange.raw(b"<!doctype html><title>Sign in</title><p>Please sign in.")


def _never_ends(exchange: Exchange) -> None:
    kind, pieces = _answer(exchange, run="true")
    _begin(exchange, kind)
    exchange.raw(b"".join(pieces))


def _fault(step: Step, *reasons: str) -> Fault:
    return Fault(step, frozenset(reasons))


FAULTS = {
    "400": _fault(refuses(400), "provider_rejected"),
    "401": _fault(refuses(401), "provider_refused"),
    "402": _fault(refuses(402), "provider_refused"),
    "403": _fault(refuses(403), "provider_refused"),
    "429": _fault(refuses(429, retry_after="1"), "upstream_busy"),
    "503": _fault(refuses(503), "upstream_failed"),
    "no answer": _fault(_wait, "upstream_timeout"),
    "stall": _fault(_stalls, "upstream_stalled"),
    "cut": _fault(_cuts, "upstream_cut"),
    # What is not streamed is cut in the middle of its JSON.
    "truncated": _fault(_first_half, "upstream_truncated", "upstream_not_json"),
    "HTML page": _fault(_page, "upstream_not_sse", "upstream_not_json"),
    "empty": _fault(_says_nothing, "upstream_empty"),
    "never ends": _fault(_never_ends, "turns_spent"),
}
