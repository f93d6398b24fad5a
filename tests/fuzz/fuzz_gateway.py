"""A connection at the model gateway: whatever is sent, only the approved model is asked, and no key comes back.

Input: a byte that says in which pieces it comes and what the route translates, what the agent sends, and after a line
of its own (`~~`) what the provider answers. The request's target says which of the four protocols is spoken.
"""

import json
from collections.abc import Iterator
from typing import Any

import h11
from hypothesis import strategies as st
from second_opinion import closed, require_approved

from ringfence.domain.wires import SPOKEN, Wire, asked_in
from ringfence.gateway import conversation as c
from ringfence.gateway.answer import Scrubber
from ringfence.gateway.door import Door
from ringfence.gateway.exchange import Exchange
from ringfence.gateway.ledger import Ledger
from ringfence.gateway.protocols.translate.wire import TRANSLATIONS
from ringfence.gateway.request import MAX_HEADERS, Head
from ringfence.ports.gateway import DoorPolicy

SEPARATOR = b"\n~~\n"
KEY = "sk-fuzz-5c1e0a94b7d2"
POLICY = DoorPolicy(
    run="run-1", door="agent/1", model="m", route="main", requests=50, input_tokens=1 << 20, output_tokens=1 << 20,
    first_byte_timeout=5.0, idle_timeout=5.0,
)  # fmt: skip
SIZES = (1 << 16, 1, 7, 50)
#: What the route's provider speaks, and what else agents may speak.
ROUTES: tuple[tuple[tuple[Wire, ...], tuple[Wire, ...]], ...] = (
    (SPOKEN["replay"], ()), (("chat",), ("messages", "responses")), (("messages",), ("chat",)),
)  # fmt: skip


class World:
    """Plays the worker, the agent and the provider, and watches."""

    def __init__(self, body: bytes | None, answer: bytes, size: int) -> None:
        self.body = body
        self.answer = [answer[at : at + size] for at in range(0, len(answer), size)] if len(answer) < 4096 else [answer]
        self.opened = 0
        self.asked = 0
        self.kind = "text/event-stream" if answer.startswith((b"data:", b"event:")) else "application/json"
        self.said = b""
        self.complete = False  # as a stream
        self.wire = ""

    def reply(self, command: c.Command) -> c.Reply:
        """What comes of a command."""
        match command:
            case c.ReadBody():
                return c.BodyCame(self.body) if self.body is not None else c.AgentLeft()
            case c.Record():
                self.opened += command.call.phase == "opened"
                return c.Acknowledged(True)
            case c.Ask():
                self.asked += 1
                assert self.opened == self.asked, "asked before it was on record"
                assert command.request.model == "m"
                assert {name for name, _ in command.request.headers} <= {"anthropic-version", "anthropic-beta"}
                self.wire = command.request.wire
                require_approved(self.wire, command.body)
                return c.Answered(200, self.kind, 0.0)
            case c.Listen():
                return c.Piece(self.answer.pop(0)) if self.answer else c.Ended()
            case c.Respond():
                self.said += command.body
            case c.Send():
                self.said += command.piece
            case c.Finish():
                self.complete = True
        return c.Went()


def judge(content: bytes) -> None:
    """One connection; an assertion that fails is a wrong answer."""
    way, place = divmod((content[:1] or b"\0")[0], len(SIZES))
    size, route, content = SIZES[place], ROUTES[way % len(ROUTES)], content[1:]
    sent, _, answer = content.partition(SEPARATOR)
    read = _read(sent, size)
    world = _went(read, answer, size, route)
    assert KEY.encode() not in world.said or KEY.encode() in sent, "the key came back"
    if world.complete:
        assert closed(world.wire, answer), "a stream that was cut was handed on as complete"
    if world.kind == "text/event-stream" and size != SIZES[0]:
        whole = _went(read, answer, SIZES[0], route)
        assert whole.complete == world.complete, "how it is cut decides whether it is complete"
        assert whole.said == world.said or not world.complete, "how it is cut decides what is handed on"


def _went(
    read: tuple[Head, bytes] | None, answer: bytes, size: int, route: tuple[tuple[Wire, ...], tuple[Wire, ...]]
) -> World:
    """The world after one connection at a door of this route, whose answer came in pieces of this size."""
    spoken, more = route
    translations = {wire: TRANSLATIONS[wire, asked_in(wire, spoken) or ""] for wire in more}
    door = Door(
        POLICY, "replay", False, Scrubber(KEY), Ledger(50, 1 << 20, 1 << 20), lambda _code: None,
        protocols=spoken, translations=translations,
    )  # fmt: skip
    exchange = Exchange(door, lambda: 0.0)
    world = World(read[1] if read else None, answer, size)
    steps = exchange.run(read[0]) if read else exchange.garbled()
    try:
        command = next(steps)
        while True:
            command = steps.send(world.reply(command))
    except StopIteration:
        return world


def _read(sent: bytes, size: int) -> tuple[Head, bytes] | None:
    """The first request as h11 reads it; None when it is none."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADERS)
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)] if len(sent) < 4096 else [sent]
    head, body = None, b""
    try:
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(pieces.pop(0) if pieces else b"")
            elif isinstance(event, h11.Request):
                head = Head(event.method, event.target, event.http_version, tuple(event.headers))
            elif isinstance(event, h11.Data):
                body += event.data
            elif head is not None and isinstance(event, h11.EndOfMessage):
                return head, body
            else:
                return None
    except h11.RemoteProtocolError:
        return None


HEAD = b" HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
PATHS = {
    "chat": (b"/v1/chat/completions", b"/v1/chat/completions"),
    "responses": (b"/v1/responses", b"/v1/responses"),
    "messages": (b"/v1/messages", b"/v1/messages?beta=true"),
    "gemini": (b"/v1beta/models/m:generateContent", b"/v1beta/models/m:streamGenerateContent?alt=sse"),
}
SAID: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "responses": {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]},
    "messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}
_KEPT = f"a {KEY}"
_COUNTED = {"input_tokens": 1, "output_tokens": 1}
STREAMS: dict[str, list[dict[str, Any] | str]] = {
    "chat": [
        {"choices": [{"index": 0, "delta": {"content": _KEPT}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [
            {"index": 0, "id": "t", "function": {"name": "f", "arguments": '{"a": '}}]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, "[DONE]",
    ],
    "responses": [
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": _KEPT},
        {"type": "response.completed", "response": {"status": "completed", "output": [], "usage": _COUNTED}},
    ],
    "messages": [
        {"type": "message_start", "message": {"content": [], "usage": _COUNTED}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": _KEPT}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "f"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ],
    "gemini": [
        {"candidates": [{"content": {"parts": [{"text": _KEPT}]}, "index": 0}]},
        {"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 1}},
    ],
}  # fmt: skip
WHOLES: dict[str, dict[str, Any]] = {
    "chat": {"choices": [{"index": 0, "message": {"role": "assistant", "content": KEY}, "finish_reason": "stop"}]},
    "responses": {"status": "completed", "output": [{"type": "message", "content": [{"text": KEY}]}]},
    "messages": {"type": "message", "content": [{"type": "text", "text": KEY}], "stop_reason": "end_turn"},
    "gemini": {"candidates": [{"content": {"parts": [{"text": KEY}]}, "finishReason": "STOP"}]},
}
_IMAGE = "data:image/png;base64,AA"
MORE: dict[str, tuple[dict[str, Any], ...]] = {
    "chat": (
        {"tools": [{"type": "function", "function": {"name": "f"}}]}, {"max_tokens": 9}, {"model": "n"},
        {"tools": [{"type": "web_search"}]}, {"models": ["n"], "stream_options": {"include_usage": True}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": _IMAGE}}]}]},
    ),
    "responses": (
        {"tools": [{"type": "namespace", "tools": [{"type": "function", "name": "f"}]}]}, {"store": True},
        {"tools": [{"type": "shell", "environment": {"type": "local"}}]}, {"previous_response_id": "r"},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": _IMAGE}]}]},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}, {"type": "reasoning"}]},
        {"input": [{"type": "additional_tools", "tools": [{"type": "custom", "name": "f"}]}], "max_output_tokens": 9},
    ),
    "messages": (
        {"tools": [{"name": "f", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]}, {"system": "s"},
        {"tools": [{"type": "web_search_20250305"}]}, {"mcp_servers": [{"url": "n"}]},
        {"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "data": "AA"}},
            {"type": "tool_result", "content": [{"type": "text", "text": "x"}]},
            {"type": "tool_addition", "tool": {"type": "tool", "definition": {"name": "f"}}},
        ]}]},
    ),
    "gemini": (
        {"tools": [{"functionDeclarations": [{"name": "f"}]}]}, {"tools": [{"googleSearch": {}}]},
        {"cachedContent": "c"}, {"generationConfig": {"maxOutputTokens": 9}},
        {"contents": [{"parts": [{"inlineData": {"data": "AA"}},
                                 {"functionResponse": {"name": "f", "parts": [{"inlineData": {}}]}}]}]},
        {"systemInstruction": {"parts": [{"text": "s"}]}},
    ),
}  # fmt: skip


def request(wire: str, body: bytes, *, stream: bool = False) -> bytes:
    """A whole request."""
    return b"POST " + PATHS[wire][stream] + HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def asked(wire: str, fields: dict[str, Any], *, stream: bool) -> bytes:
    """A whole request that says hi, and more."""
    more = {"stream": True} if stream and wire != "gemini" else {}
    return request(wire, json.dumps({**SAID[wire], **more, **fields}).encode(), stream=stream)


def streamed(events: list[dict[str, Any] | str], end: bytes = b"\n") -> bytes:
    """Events as a provider writes them."""
    lines = []
    for one in events:
        named = isinstance(one, dict) and "type" in one
        lines += [f"event: {one['type']}".encode()] if isinstance(one, dict) and named else []
        lines += [b"data: " + (json.dumps(one) if isinstance(one, dict) else one).encode(), b""]
    return b"".join(line + end for line in lines)


def seeds() -> Iterator[bytes]:
    """Where a fuzzer begins."""
    for wire in SAID:
        for size, end in ((b"\0", b"\n"), (b"\1", b"\r\n")):
            yield size + asked(wire, {}, stream=True) + SEPARATOR + streamed(STREAMS[wire], end)
        for place, (spoken, more) in enumerate(ROUTES):
            told = asked_in(wire, spoken) if wire in more else None
            if told is not None:
                first = bytes([place * len(SIZES) + 1])
                yield first + asked(wire, {}, stream=True) + SEPARATOR + streamed(STREAMS[told])
                yield first + asked(wire, {}, stream=False) + SEPARATOR + json.dumps(WHOLES[told]).encode()
        for fields in ({}, *MORE[wire]):
            yield b"\0" + asked(wire, fields, stream=False) + SEPARATOR + json.dumps(WHOLES[wire]).encode()
    yield b"\0POST /v1/responses" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + SEPARATOR
    yield b"\0GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
    twice = b'{"model":"n","model":"m","messages":[{"role":"user","content":"\\ud800"}]}'
    yield b"\0" + request("chat", twice) + SEPARATOR


def _values() -> st.SearchStrategy[Any]:
    """JSON of the right names and wrong values."""
    word = st.sampled_from(
        ["m", "n", "user", "tool", "text", "image_url", "function", "web_search", _IMAGE, KEY, "x", "input_image",
         "https://a.example.internal/", "message", "function_call_output", "namespace", "shell", "local", "url", "file",
         "base64", "document", "image", "tool_result", "tool_addition", "content", "STOP", "input_file"]
    )  # fmt: skip
    key = st.sampled_from(
        ["model", "role", "content", "type", "image_url", "url", "tools", "function", "n", "name", "index", "message",
         "choices", "delta", "usage", "input", "output", "environment", "execution", "file_id", "file_url", "source",
         "tool", "definition", "parts", "functionResponse", "function_response", "fileData", "inlineData", "response"]
    )  # fmt: skip
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | word | st.text(max_size=5)
    return st.recursive(leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(key, inner, max_size=4))


def _bent(value: Any, made: Any, way: list[int]) -> Any:
    """The value with something else at one place, which the way leads to."""
    if not isinstance(value, dict | list) or not value or not way:
        return made
    places = [*value] if isinstance(value, dict) else [*range(len(value))]
    at = places[way[0] % len(places)]
    copy = value.copy()
    copy[at] = _bent(value[at], made, way[1:])
    return copy


@st.composite
def inputs(draw: st.DrawFn) -> bytes:
    """Inputs for hypothesis: requests and answers of each protocol that are right but for a place or two."""
    wire, values = draw(st.sampled_from(sorted(SAID))), _values()
    way = st.lists(st.integers(0, 7), min_size=1, max_size=7)
    stream = draw(st.booleans())
    fields: Any = {**SAID[wire], **draw(st.sampled_from(({}, *MORE[wire])))}
    if stream and wire != "gemini":
        fields["stream"] = True
    first = draw(st.integers(0, len(ROUTES) * len(SIZES) - 1))
    spoken, more = ROUTES[first // len(SIZES)]
    told = (asked_in(wire, spoken) if wire in more else None) or wire
    events: Any = STREAMS[told] if stream else [WHOLES[told]]
    for _ in range(draw(st.integers(0, 2))):
        fields = _bent(fields, draw(values), draw(way))
    if draw(st.booleans()):
        events = _bent(events, draw(values), draw(way))
    events = [one if isinstance(one, dict) else json.dumps(one) if one != "[DONE]" else one for one in events]
    sent = request(wire, json.dumps(fields).encode(), stream=stream)
    answer = streamed(events, draw(st.sampled_from([b"\n", b"\r\n", b"\r"])))
    if not stream:
        answer = answer.removeprefix(b"data: ")
    answer = answer[: draw(st.integers(0, len(answer)))] if draw(st.booleans()) else answer
    return bytes([first]) + sent + SEPARATOR + answer
