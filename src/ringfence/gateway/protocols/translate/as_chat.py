"""Writes answers of Chat Completions."""

import json
from collections.abc import Iterable
from typing import Any

from ringfence.gateway.protocols.shape import Counted
from ringfence.gateway.protocols.translate.pieces import Arguments, Begun, Call, Called, Piece, Text, Why, gathered

_FINISH: dict[Why, str] = {"done": "stop", "limit": "length", "calls": "tool_calls", "refused": "content_filter"}


class AsChat:
    """One answer; see pieces.py. `usage_wanted`: whether the agent asked for the usage of a stream."""

    def __init__(self, *, usage_wanted: bool) -> None:
        self._usage_wanted = usage_wanted
        self._begun = Begun("", "")
        self._calls = 0

    def whole(self, pieces: Iterable[Piece], why: Why, usage: Counted | None) -> dict[str, Any]:
        """A completion with one choice."""
        said, calls = "", []
        for piece in gathered(pieces):
            match piece:
                case Begun():
                    self._begun = piece
                case Text():
                    said += piece.text
                case Call():
                    calls.append(_call(piece.id, piece.name, piece.arguments or "{}"))
        message = {"role": "assistant", "content": said or None, **({"tool_calls": calls} if calls else {})}
        choice = {"index": 0, "message": message, "finish_reason": _FINISH[why]}
        return {**self._envelope("chat.completion"), "choices": [choice], "usage": _usage(usage)}

    def event(self, piece: Piece) -> bytes:
        """A chunk a piece."""
        match piece:
            case Begun():
                self._begun = piece
                return self._chunk({"role": "assistant", "content": ""})
            case Text():
                return self._chunk({"content": piece.text})
            case Called():
                self._calls += 1
                return self._chunk({"tool_calls": [{"index": self._calls - 1, **_call(piece.id, piece.name, "")}]})
            case Arguments():
                part = {"index": self._calls - 1, "function": {"arguments": piece.text}}
                return self._chunk({"tool_calls": [part]})
            case _:
                return b":\n\n"

    def end(self, why: Why, usage: Counted | None) -> bytes:
        """A finish, the usage if it was asked for, [DONE]."""
        told = self._chunk({}, _FINISH[why])
        if self._usage_wanted and usage is not None:
            told += _data({**self._envelope("chat.completion.chunk"), "choices": [], "usage": _usage(usage)})
        return told + b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _data({**self._envelope("chat.completion.chunk"), "choices": [choice]})

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self._begun.id or "translated", "object": kind, "created": 0, "model": self._begun.model}


def _call(name: str, function: str, arguments: str) -> dict[str, Any]:
    return {"id": name, "type": "function", "function": {"name": function, "arguments": arguments}}


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _usage(usage: Counted | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }  # fmt: skip
