"""A turn as each protocol writes it, in one piece or as the events that a provider would send."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ringfence.domain.wires import Wire

_PIECE = 24  # characters of one delta


@dataclass(frozen=True, slots=True)
class Played:
    """A turn that is about to be sent."""

    id: str
    model: str
    say: str
    calls: tuple[tuple[str, str, str], ...]  # id, name and arguments (JSON text)
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider would have sent."""

    status: int
    content_type: str
    content: tuple[bytes, ...]
    retry_after: float = 0.0

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body in the pieces a provider would send."""
        for piece in self.content:
            yield piece


def rendered(wire: Wire, played: Played, *, stream: bool, usage_wanted: bool) -> Answer:
    """The turn as an answer of a protocol. `usage_wanted` counts for chat alone; the others always say it."""
    if not stream:
        return Answer(200, "application/json", (json.dumps(_WHOLE[wire](played)).encode(),))
    if wire == "chat":
        return Answer(200, "text/event-stream", tuple(_chat_stream(played, usage_wanted)))
    return Answer(200, "text/event-stream", tuple(_STREAMS[wire](played)))


def _cut(text: str) -> Iterator[str]:
    return (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))


def _data(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _object(arguments: str) -> dict[str, Any]:
    """Arguments for a protocol that writes them as an object; what is none, is given under a name of its own."""
    try:
        value = json.loads(arguments)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"replay_raw_arguments": arguments}


def _chat_usage(played: Played) -> dict[str, int]:
    total = played.input_tokens + played.output_tokens
    return {"prompt_tokens": played.input_tokens, "completion_tokens": played.output_tokens, "total_tokens": total}


def _chat_calls(played: Played) -> list[dict[str, Any]]:
    return [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in played.calls
    ]


def _chat_whole(played: Played) -> dict[str, Any]:
    calls = {"tool_calls": _chat_calls(played)} if played.calls else {}
    message = {"role": "assistant", "content": played.say or None, **calls}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if played.calls else "stop"}
    envelope = {"id": played.id, "object": "chat.completion", "created": 0, "model": played.model}
    return {**envelope, "choices": [choice], "usage": _chat_usage(played)}


def _chat_stream(played: Played, usage_wanted: bool) -> Iterator[bytes]:
    envelope = {"id": played.id, "created": 0, "model": played.model, "object": "chat.completion.chunk"}
    for delta in _chat_deltas(played):
        yield _data({**envelope, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    finish = "tool_calls" if played.calls else "stop"
    yield _data({**envelope, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if usage_wanted:
        yield _data({**envelope, "choices": [], "usage": _chat_usage(played)})
    yield b"data: [DONE]\n\n"


def _chat_deltas(played: Played) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    yield from ({"content": text} for text in _cut(played.say))
    for index, call in enumerate(_chat_calls(played)):
        arguments = call["function"]["arguments"]
        yield {"tool_calls": [{**call, "index": index, "function": {**call["function"], "arguments": ""}}]}
        for text in _cut(arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": text}}]}


def _response(played: Played, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {
        "input_tokens": played.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": played.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": played.input_tokens + played.output_tokens,
    }
    return {
        "id": played.id, "object": "response", "created_at": 0, "status": status, "model": played.model,
        "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "output": output,
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": 1.0, "top_p": 1.0,
        "usage": usage if status == "completed" else None,
    }  # fmt: skip


def _items(played: Played) -> list[dict[str, Any]]:
    part = {"type": "output_text", "text": played.say, "annotations": []}
    message = {"id": f"msg_{played.id}", "type": "message", "status": "completed", "role": "assistant"}
    said = [{**message, "content": [part]}] if played.say else []
    return said + [
        {
            "id": f"fc_{call_id}", "type": "function_call", "status": "completed", "call_id": call_id,
            "name": name, "arguments": arguments,
        }
        for call_id, name, arguments in played.calls
    ]  # fmt: skip


def _responses_whole(played: Played) -> dict[str, Any]:
    return _response(played, "completed", _items(played))


def _responses_stream(played: Played) -> Iterator[bytes]:
    events = _responses_events(played)
    return (_event(kind, {"sequence_number": number, **fields}) for number, (kind, fields) in enumerate(events))


def _responses_events(played: Played) -> Iterator[tuple[str, dict[str, Any]]]:
    begun = _response(played, "in_progress", [])
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for index, item in enumerate(_items(played)):
        at = {"output_index": index}
        empty: dict[str, object] = {"content": []} if item["type"] == "message" else {"arguments": ""}
        yield "response.output_item.added", {**at, "item": {**item, **empty, "status": "in_progress"}}
        yield from _text_events(item, at) if item["type"] == "message" else _argument_events(item, at)
        yield "response.output_item.done", {**at, "item": item}
    yield "response.completed", {"response": _response(played, "completed", _items(played))}


def _text_events(item: dict[str, Any], at: dict[str, int]) -> Iterator[tuple[str, dict[str, Any]]]:
    here = {"item_id": item["id"], **at, "content_index": 0}
    part = item["content"][0]
    yield "response.content_part.added", {**here, "part": {**part, "text": ""}}
    for text in _cut(part["text"]):
        yield "response.output_text.delta", {**here, "delta": text, "logprobs": []}
    yield "response.output_text.done", {**here, "text": part["text"], "logprobs": []}
    yield "response.content_part.done", {**here, "part": part}


def _argument_events(item: dict[str, Any], at: dict[str, int]) -> Iterator[tuple[str, dict[str, Any]]]:
    here = {"item_id": item["id"], **at}
    for text in _cut(item["arguments"]):
        yield "response.function_call_arguments.delta", {**here, "delta": text}
    yield "response.function_call_arguments.done", {**here, "name": item["name"], "arguments": item["arguments"]}


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    return f"event: {kind}\n".encode() + _data({"type": kind, **fields})


def _message(played: Played, content: list[dict[str, Any]], stop: str | None, output: int) -> dict[str, Any]:
    usage = {
        "input_tokens": played.input_tokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "output_tokens": output,
    }  # fmt: skip
    said = {"id": played.id, "type": "message", "role": "assistant", "model": played.model, "content": content}
    return {**said, "stop_reason": stop, "stop_sequence": None, "usage": usage}


def _stop(played: Played) -> str:
    return "tool_use" if played.calls else "end_turn"


def _messages_whole(played: Played) -> dict[str, Any]:
    said = [{"type": "text", "text": played.say}] if played.say else []
    used = [
        {"type": "tool_use", "id": call_id, "name": name, "input": _object(arguments)}
        for call_id, name, arguments in played.calls
    ]
    return _message(played, said + used, _stop(played), played.output_tokens)


def _messages_stream(played: Played) -> Iterator[bytes]:
    yield _event("message_start", {"message": _message(played, [], None, 1)})
    yield _event("ping", {})
    blocks: list[tuple[dict[str, Any], Iterable[dict[str, Any]]]] = []
    if played.say:
        blocks.append(({"type": "text", "text": ""}, ({"type": "text_delta", "text": t} for t in _cut(played.say))))
    for call_id, name, arguments in played.calls:
        used = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
        blocks.append((used, [{"type": "input_json_delta", "partial_json": text} for text in _cut(arguments)]))
    for index, (block, deltas) in enumerate(blocks):
        yield _event("content_block_start", {"index": index, "content_block": block})
        for delta in deltas:
            yield _event("content_block_delta", {"index": index, "delta": delta})
        yield _event("content_block_stop", {"index": index})
    stopped = {"stop_reason": _stop(played), "stop_sequence": None}
    yield _event("message_delta", {"delta": stopped, "usage": {"output_tokens": played.output_tokens}})
    yield _event("message_stop", {})


def _chunk(played: Played, parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
    finish = {"finishReason": "STOP"} if last else {}
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0, **finish}
    usage = {"promptTokenCount": played.input_tokens}
    if last:
        usage["candidatesTokenCount"] = played.output_tokens
    usage["totalTokenCount"] = sum(usage.values())
    return {
        "candidates": [candidate], "usageMetadata": usage, "modelVersion": played.model, "responseId": played.id,
    }  # fmt: skip


def _gemini_calls(played: Played) -> list[dict[str, Any]]:
    return [
        {"functionCall": {"id": call_id, "name": name, "args": _object(arguments)}}
        for call_id, name, arguments in played.calls
    ]


def _gemini_whole(played: Played) -> dict[str, Any]:
    said = [{"text": played.say}] if played.say else []
    return _chunk(played, said + _gemini_calls(played), last=True)


def _gemini_stream(played: Played) -> Iterator[bytes]:
    for text in _cut(played.say):
        yield _google(_chunk(played, [{"text": text}], last=False))
    yield _google(_chunk(played, _gemini_calls(played) or [{"text": ""}], last=True))


def _google(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n"


_WHOLE: dict[Wire, Callable[[Played], dict[str, Any]]] = {
    "chat": _chat_whole, "responses": _responses_whole, "messages": _messages_whole, "gemini": _gemini_whole,
}  # fmt: skip
_STREAMS: dict[Wire, Callable[[Played], Iterator[bytes]]] = {
    "responses": _responses_stream, "messages": _messages_stream, "gemini": _gemini_stream,
}  # fmt: skip
