"""What a model is asked to show that it is there, in each wire protocol, and how its answer is read."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ringfence.domain.wires import Wire

TOOL = "report_ready"
_ASK = f"Call the tool `{TOOL}` once, with the word `ready`. Say nothing else."
_ABOUT = "Reports that you are ready."
_ARGUMENTS = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
_FUNCTION = {"name": TOOL, "description": _ABOUT, "parameters": _ARGUMENTS}
_MESSAGE = {"role": "user", "content": _ASK}


@dataclass(frozen=True, slots=True)
class Question:
    """A request to a door: a stream is asked for, because agents ask for one."""

    target: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: whether the tool was called, or the code and the message of a no."""

    called: bool = False
    code: str = ""
    message: str = ""


def question(wire: Wire, model: str) -> Question:
    """What to ask a model."""
    streamed = {"model": model, "stream": True}
    match wire:
        case "chat":
            tools: list[Any] = [{"type": "function", "function": _FUNCTION}]
            return Question("/v1/chat/completions", {**streamed, "messages": [_MESSAGE], "tools": tools})
        case "responses":
            return Question(
                "/v1/responses",
                {**streamed, "input": [_MESSAGE], "tools": [{"type": "function", **_FUNCTION}], "store": False},
            )
        case "messages":
            tools = [{"name": TOOL, "description": _ABOUT, "input_schema": _ARGUMENTS}]
            return Question("/v1/messages", {**streamed, "max_tokens": 512, "messages": [_MESSAGE], "tools": tools})
        case "gemini":
            contents = [{"role": "user", "parts": [{"text": _ASK}]}]
            return Question(
                f"/v1beta/models/{model}:streamGenerateContent?alt=sse",
                {"contents": contents, "tools": [{"functionDeclarations": [_FUNCTION]}]},
            )


def reply(wire: Wire, status: int, body: bytes) -> Reply:
    """Read an answer: a stream of events, or a no in the form of the protocol."""
    parts = [part for event in _events(body) for part in _parts(event)]
    error: dict[str, Any] = next((part["error"] for part in parts if isinstance(part.get("error"), dict)), {})
    if status != 200 or error:
        code = error.get("code") or error.get("type") or error.get("status") or (status and f"status {status}") or "cut"
        return Reply(code=str(code), message=str(error.get("message", "")))
    return Reply(called=any(_CALLED[wire](part) == TOOL for part in parts))


#: The name of the tool that a part of an answer calls; a tool that the answer only lists is none.
_CALLED: dict[Wire, Callable[[dict[str, Any]], object]] = {
    "chat": lambda part: part["function"].get("name") if isinstance(part.get("function"), dict) else None,
    "responses": lambda part: part.get("name") if part.get("type") == "function_call" else None,
    "messages": lambda part: part.get("name") if part.get("type") == "tool_use" else None,
    "gemini": lambda part: part["functionCall"].get("name") if isinstance(part.get("functionCall"), dict) else None,
}


def _events(body: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream, or the one of a plain answer."""
    lines = [line.removeprefix(b"data:") for line in body.splitlines() if line.startswith(b"data:")]
    for text in lines or [body]:
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside."""
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from _parts(one)
