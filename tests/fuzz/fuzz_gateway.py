"""A connection at the model gateway: whatever is sent, only the approved model is asked, and no key comes back.

Input: a byte that says in which pieces it comes, what the agent sends, and after a line of its own (`~~`) what the
provider answers.
"""

import json
from collections.abc import Iterator
from typing import Any

import h11
from hypothesis import strategies as st

from ringfence.gateway import conversation as c
from ringfence.gateway.answer import Scrubber
from ringfence.gateway.door import Door
from ringfence.gateway.exchange import Exchange
from ringfence.gateway.ledger import Ledger
from ringfence.gateway.request import MAX_HEADERS, Head
from ringfence.ports.gateway import DoorPolicy

SEPARATOR = b"\n~~\n"
KEY = "sk-fuzz-5c1e0a94b7d2"
POLICY = DoorPolicy(
    run="run-1", door="agent/1", model="m", route="main", requests=50, input_tokens=1 << 20, output_tokens=1 << 20,
    first_byte_timeout=5.0, idle_timeout=5.0,
)  # fmt: skip
SIZES = (1 << 16, 1, 7, 50)


class World:
    """Plays the worker, the agent and the provider, and watches."""

    def __init__(self, body: bytes | None, answer: bytes, size: int) -> None:
        self.body = body
        self.answer = [answer[at : at + size] for at in range(0, len(answer), size)] if len(answer) < 4096 else [answer]
        self.opened = 0
        self.asked = 0
        self.kind = "text/event-stream" if answer.startswith(b"data:") else "application/json"
        self.said = b""

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
                require_approved(command.body)
                return c.Answered(200, self.kind, 0.0)
            case c.Listen():
                return c.Piece(self.answer.pop(0)) if self.answer else c.Ended()
            case c.Respond():
                self.said += command.body
            case c.Send():
                self.said += command.piece
        return c.Went()


def require_approved(body: bytes) -> None:
    """Whoever reads this body in whatever way finds the approved model, and nothing that a provider would run."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), "a key that stands there twice"
        return dict(pairs)

    fields = json.loads(body.decode("utf-8"), object_pairs_hook=once)
    assert fields["model"] == "m", fields["model"]
    assert not {"models", "route", "provider", "plugins", "store", "web_search_options", "metadata"} & set(fields)
    assert all(tool["type"] == "function" and set(tool) <= {"type", "function"} for tool in fields.get("tools") or ())
    for message in fields["messages"]:
        parts = message["content"] if isinstance(message.get("content"), list) else []
        for part in parts:
            assert part["type"] in ("text", "refusal", "image_url"), part
            assert part["type"] != "image_url" or part["image_url"]["url"].startswith("data:image/"), part


def judge(content: bytes) -> None:
    """One connection; an assertion that fails is a wrong answer."""
    size, content = SIZES[(content[:1] or b"\0")[0] % len(SIZES)], content[1:]
    sent, _, answer = content.partition(SEPARATOR)
    read = _read(sent, size)
    door = Door(POLICY, "openai", False, Scrubber(KEY), Ledger(50, 1 << 20, 1 << 20), lambda _code: None)
    exchange = Exchange(door, lambda: 0.0)
    world = World(read[1] if read else None, answer, size)
    steps = exchange.run(read[0]) if read else exchange.garbled()
    try:
        command = next(steps)
        while True:
            command = steps.send(world.reply(command))
    except StopIteration:
        assert KEY.encode() not in world.said or KEY.encode() in sent, "the key came back"


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


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
STREAM = (
    b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"content":"a ' + KEY.encode() + b'"},"finish_reason":null}]}\n\ndata: [DONE]\n\n'
)
WHOLE = (
    b'{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"sk-fuzz-5c1e0a94b7d2"},"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)


def request(body: bytes) -> bytes:
    """A whole request."""
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def seeds() -> Iterator[bytes]:
    """Where a fuzzer begins."""
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    for fields in (
        {}, {"stream": True}, {"tools": [{"type": "function", "function": {"name": "f"}}]}, {"max_tokens": 9},
        {"tools": [{"type": "web_search"}]}, {"model": "n"},
        {"models": ["n"], "stream_options": {"include_usage": True}},
        {"messages": [{"role": "user", "content": [image, {"type": "text", "text": "hi"}]}]},
    ):  # fmt: skip
        answer = STREAM if "stream" in fields else WHOLE
        yield b"\0" + request(json.dumps({**asked, **fields}).encode()) + SEPARATOR + answer
    yield b"\0" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + SEPARATOR
    yield b"\0GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
    yield b"\0" + request(b'{"model":"n","model":"m","messages":[{"role":"user","content":"\\ud800"}]}') + SEPARATOR


def inputs() -> st.SearchStrategy[bytes]:
    """Inputs for hypothesis: requests in JSON of the right names and wrong values, and answers of the same kind."""
    word = st.sampled_from(
        ["m", "n", "user", "tool", "text", "image_url", "function", "web_search", "data:image/png;base64,AA", KEY, "x"]
    )
    key = st.sampled_from(
        ["model", "messages", "role", "content", "type", "image_url", "url", "tools", "function", "stream", "n",
         "models", "max_tokens", "stream_options", "include_usage", "name", "choices", "delta", "usage",
         "index", "message"]
    )  # fmt: skip
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | word | st.text(max_size=5)
    value = st.recursive(leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(key, inner, max_size=4))
    part = st.fixed_dictionaries({"type": word}, optional={"text": value, "image_url": value})
    message = st.fixed_dictionaries({"role": word}, optional={"content": value | st.lists(part, max_size=2)})
    fields = st.fixed_dictionaries(
        {"model": st.just("m") | word, "messages": st.lists(message, min_size=1, max_size=2)},
        optional={"tools": value | st.lists(part), "stream": st.booleans(), "max_tokens": value, "models": value},
    )
    body = fields.map(lambda made: json.dumps(made).encode()) | st.binary(max_size=30)
    answer = st.sampled_from([STREAM, WHOLE, b""]) | value.map(
        lambda made: b"data: " + json.dumps(made).encode() + b"\n\ndata: [DONE]\n\n"
    )  # fmt: skip
    whole = st.tuples(st.binary(min_size=1, max_size=1), body.map(request) | st.binary(max_size=60), answer)
    return whole.map(lambda made: made[0] + made[1] + SEPARATOR + made[2])
