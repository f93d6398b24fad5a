"""Plays a recorded script as if it were a provider: the same wire, the same bytes, no model.

It keeps nothing between requests: which turn comes next is read from the conversation that the agent
sends (how many assistant messages it has, and what was said in it), so the same request always gets the
same answer. docs/replay.md describes the script. Every answer is labelled as a replay.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ringfence.domain.errors import InputError
from ringfence.ports.model_provider import ProviderAnswer, ProviderRequest

_BYTES_A_TOKEN = 3.5
_PIECE = 24  # characters of one delta


@dataclass(frozen=True, slots=True)
class _When:
    """What a conversation must have said."""

    anywhere: tuple[str, ...] = ()  # in messages of the user
    last: tuple[str, ...] = ()  # in the last message, whoever it is from

    def holds(self, messages: list[dict[str, Any]]) -> bool:
        asked = "\n".join(_text(m.get("content")) for m in messages if m.get("role") == "user")
        last = _text(messages[-1].get("content"))
        return all(text in asked for text in self.anywhere) and all(text in last for text in self.last)


@dataclass(frozen=True, slots=True)
class _Turn:
    """One answer of the assistant."""

    say: str
    calls: tuple[tuple[str, str], ...]  # name and arguments (JSON text) of each tool call
    when: _When


@dataclass(frozen=True, slots=True)
class _Conversation:
    """Turns in order; each with its alternatives."""

    name: str
    when: _When
    turns: tuple[tuple[_Turn, ...], ...]


class ReplayProvider:
    """One script."""

    kind = "replay"
    replayed = True

    def __init__(self, script: bytes, *, where: str) -> None:
        self._conversations = _read(script, where)

    @asynccontextmanager
    async def ask(self, request: ProviderRequest) -> AsyncIterator[ProviderAnswer]:
        """Answer a request by the script; see ports/model_provider.py."""
        yield self._answer(json.loads(request.body), request.body)

    async def close(self) -> None:
        """Nothing is open."""

    def _answer(self, request: dict[str, Any], body: bytes) -> "_Answer":
        messages = request["messages"]
        chosen = next((c for c in self._conversations if c.when.holds(messages)), None)
        if chosen is None:
            return _error("replay_no_conversation", "the recording has no conversation for this brief")
        place = sum(m.get("role") == "assistant" for m in messages)
        if place >= len(chosen.turns):
            return _error("replay_exhausted", f"the recording {chosen.name!r} ends after {len(chosen.turns)} turns")
        turn = next((turn for turn in chosen.turns[place] if turn.when.holds(messages)), None)
        if turn is None:
            return _error(
                "replay_left", f"turn {place + 1} of {chosen.name!r} expects something else to have been said"
            )
        return _played(turn, place, request, body)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a provider would have sent."""

    status: int
    content_type: str
    content: tuple[bytes, ...]
    retry_after: float = 0.0

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body in the pieces a provider would send."""
        for piece in self.content:
            yield piece


def _error(code: str, message: str) -> _Answer:
    said = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return _Answer(422, "application/json", (json.dumps(said).encode(),))


def _played(turn: _Turn, place: int, request: dict[str, Any], body: bytes) -> _Answer:
    model = request["model"] if "replay" in request["model"] else f"{request['model']} (replay)"
    answer_id = "replay-" + hashlib.sha256(body).hexdigest()[:16]
    calls = [
        {"id": f"call_replay_{place + 1}_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(turn.calls, 1)
    ]
    finish = "tool_calls" if calls else "stop"
    written = len(turn.say.encode()) + sum(len(name) + len(arguments.encode()) for name, arguments in turn.calls)
    usage = {"prompt_tokens": _tokens(len(body)), "completion_tokens": _tokens(written)}
    usage["total_tokens"] = sum(usage.values())
    envelope = {"id": answer_id, "created": 0, "model": model}
    if not request.get("stream"):
        message = {"role": "assistant", "content": turn.say or None, **({"tool_calls": calls} if calls else {})}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        whole = {**envelope, "object": "chat.completion", "choices": [choice], "usage": usage}
        return _Answer(200, "application/json", (json.dumps(whole).encode(),))
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in _deltas(turn.say, calls)
    ]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if (request.get("stream_options") or {}).get("include_usage"):
        chunks.append({"choices": [], "usage": usage})
    events = [json.dumps({**envelope, "object": "chat.completion.chunk", **chunk}) for chunk in chunks]
    return _Answer(200, "text/event-stream", tuple(f"data: {event}\n\n".encode() for event in (*events, "[DONE]")))


def _deltas(say: str, calls: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for at in range(0, len(say), _PIECE):
        yield {"content": say[at : at + _PIECE]}
    for index, call in enumerate(calls):
        arguments = call["function"]["arguments"]
        function = {"name": call["function"]["name"], "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": function}]}
        for at in range(0, len(arguments), _PIECE):
            yield {"tool_calls": [{"index": index, "function": {"arguments": arguments[at : at + _PIECE]}}]}


def _tokens(size: int) -> int:
    return -int(-size // _BYTES_A_TOKEN)


def _text(content: object) -> str:
    """The text of a message's content, in either of its forms."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def _read(script: bytes, where: str) -> tuple[_Conversation, ...]:
    """The script as values; every mistake names its place."""
    try:
        document = json.loads(script)
    except ValueError as error:
        raise InputError(f"the replay script cannot be read: {error}", where=where) from None
    top = _mapping(document, "the script", where, {"version", "about", "conversations"})
    if top.get("version") != 1:
        raise InputError("the replay script must say `version: 1`", where=where)
    entries = _list(top.get("conversations"), "conversations", where)
    return tuple(_conversation(entry, f"conversations[{n}]", where) for n, entry in enumerate(entries))


def _conversation(entry: object, at: str, where: str) -> _Conversation:
    fields = _mapping(entry, at, where, {"name", "when", "turns"})
    turns = []
    for n, alternatives in enumerate(_list(fields.get("turns"), f"{at}.turns", where)):
        place = f"{at}.turns[{n}]"
        either = alternatives if isinstance(alternatives, list) else [alternatives]
        turns.append(tuple(_turn(turn, place, where) for turn in either))
    return _Conversation(str(fields.get("name", at)), _when(fields.get("when"), at, where), tuple(turns))


def _turn(entry: object, at: str, where: str) -> _Turn:
    fields = _mapping(entry, at, where, {"say", "calls", "when"})
    say = fields.get("say", "")
    if not isinstance(say, str):
        raise InputError(f"{at}.say must be text", where=where)
    calls = tuple(_call(call, at, where) for call in fields.get("calls") or ())
    if not say and not calls:
        raise InputError(f"{at} must say something or call a tool", where=where)
    return _Turn(say, calls, _when(fields.get("when"), at, where))


def _call(entry: object, at: str, where: str) -> tuple[str, str]:
    fields = _mapping(entry, f"{at}.calls", where, {"name", "arguments"})
    name, arguments = fields.get("name"), fields.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, (dict, str)):
        raise InputError(f"{at}: a call needs a name, and arguments as a mapping or as raw text", where=where)
    return name, arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _when(entry: object, at: str, where: str) -> _When:
    if entry is None:
        return _When()
    fields = _mapping(entry, f"{at}.when", where, {"user", "last"})
    texts = {key: (value,) if isinstance(value, str) else tuple(value or ()) for key, value in fields.items()}
    if not all(isinstance(text, str) for value in texts.values() for text in value):
        raise InputError(f"{at}.when must hold texts", where=where)
    return _When(texts.get("user", ()), texts.get("last", ()))


def _mapping(value: object, at: str, where: str, keys: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{at} must be a mapping", where=where)
    unknown = sorted(set(value) - keys)
    if unknown:
        raise InputError(f"{at} has the unknown key {unknown[0]!r}", where=where, mend=f"known are {sorted(keys)}")
    return value


def _list(value: object, at: str, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{at} must be a list with at least one entry", where=where)
    return value
