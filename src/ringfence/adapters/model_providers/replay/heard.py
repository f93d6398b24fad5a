"""What a request says in whichever protocol: the user's words, how far the conversation is, which tools there are."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

from ringfence.domain.wires import Wire

#: Who a piece of a conversation is from. `result` is what a tool gave back; instructions are nobody's.
Voice = Literal["user", "assistant", "result"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of a conversation."""

    voice: Voice
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """A request in no particular protocol."""

    model: str
    stream: bool
    pieces: tuple[Piece, ...]
    tools: dict[str, dict[str, Any]]  # by name, the JSON Schema of the arguments
    size: int  # bytes of its body
    usage_wanted: bool
    mark: bool  # whether it names the words that mini-swe-agent's own protocol ends with

    @property
    def asked(self) -> str:
        """All that the user said."""
        return "\n".join(piece.text for piece in self.pieces if piece.voice == "user")

    @property
    def last(self) -> str:
        """All that was said since the assistant last spoke: the results of its tools, or the user's words."""
        after = takewhile(lambda piece: piece.voice != "assistant", reversed(self.pieces))
        return "\n".join(reversed([piece.text for piece in after]))


#: What stands for an answer without text: it parts one turn's results from the next one's.
_CALLS = " "
MARK = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


def understood(wire: Wire, model: str, stream: bool, body: bytes) -> Request:
    """Read a body that the gateway has judged."""
    fields = json.loads(body)
    pieces, tools = _READERS[wire]
    return Request(
        model=model,
        stream=stream,
        pieces=tuple(piece for piece in pieces(fields) if piece.text or piece.voice == "result"),
        tools=dict(tools(fields.get("tools") or [])),
        size=len(body),
        usage_wanted=bool((fields.get("stream_options") or {}).get("include_usage")),
        mark=MARK.encode() in body,
    )


def _text(content: object) -> str:
    """The text of some content: plain, in parts, or in parts within parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(text for part in content if (text := _text(part)))
    if isinstance(content, dict):
        return _text(content.get("text") or content.get("content") or content.get("output") or "")
    return ""


def _chat(fields: dict[str, Any]) -> Iterator[Piece]:
    voices: dict[str, Voice] = {"user": "user", "assistant": "assistant", "tool": "result", "function": "result"}
    for message in fields["messages"]:
        voice = voices.get(message["role"])
        if voice is not None:
            yield Piece(voice, _text(message.get("content")) or _CALLS)


def _responses(fields: dict[str, Any]) -> Iterator[Piece]:
    items = fields["input"]
    if isinstance(items, str):
        yield Piece("user", items)
        return
    for item in items:
        kind, role = item.get("type", "message"), item.get("role")
        if kind == "message" and role in ("user", "assistant"):
            yield Piece(role, _text(item.get("content")))
        elif kind.endswith("_output"):
            yield Piece("result", _text(item.get("output")))
        elif kind.endswith("_call"):
            yield Piece("assistant", _CALLS)


def _messages(fields: dict[str, Any]) -> Iterator[Piece]:
    for message in fields["messages"]:
        role, content = message["role"], message.get("content")
        for block in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            if block.get("type") == "tool_result":
                yield Piece("result", _text(block.get("content")))
            elif block.get("type") == "tool_use":
                yield Piece("assistant", _CALLS)
            elif role in ("user", "assistant"):
                yield Piece(role, _text(block))


def _gemini(fields: dict[str, Any]) -> Iterator[Piece]:
    for content in fields["contents"]:
        for part in content["parts"]:
            result = part.get("functionResponse") or part.get("function_response")
            if result:
                yield Piece("result", json.dumps(result.get("response"), ensure_ascii=False))
            elif part.get("functionCall") or part.get("function_call"):
                yield Piece("assistant", _CALLS)
            elif not part.get("thought"):
                yield Piece("assistant" if content.get("role") == "model" else "user", part.get("text") or "")


Tools = Iterator[tuple[str, dict[str, Any]]]


def _chat_tools(tools: list[dict[str, Any]]) -> Tools:
    for tool in tools:
        function = tool.get("function") or {}
        if function.get("name"):
            yield function["name"], function.get("parameters") or {}


def _plain_tools(tools: list[dict[str, Any]]) -> Tools:
    for tool in tools:
        if tool.get("name") and "tools" not in tool:
            yield tool["name"], tool.get("parameters") or tool.get("input_schema") or {}


def _gemini_tools(tools: list[dict[str, Any]]) -> Tools:
    for tool in tools:
        for function in tool.get("functionDeclarations") or tool.get("function_declarations") or []:
            yield function["name"], function.get("parametersJsonSchema") or function.get("parameters") or {}


_READERS: dict[Wire, tuple[Callable[[dict[str, Any]], Iterator[Piece]], Callable[[list[dict[str, Any]]], Tools]]] = {
    "chat": (_chat, _chat_tools),
    "responses": (_responses, _plain_tools),
    "messages": (_messages, _plain_tools),
    "gemini": (_gemini, _gemini_tools),
}
