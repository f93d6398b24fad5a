"""Writes answers of Anthropic Messages."""

from collections.abc import Iterable
from typing import Any

from ringfence.gateway.protocols.shape import Counted, event
from ringfence.gateway.protocols.translate.fields import arguments
from ringfence.gateway.protocols.translate.pieces import Arguments, Begun, Call, Called, Piece, Text, Why, gathered

_STOPS: dict[Why, str] = {"done": "end_turn", "limit": "max_tokens", "calls": "tool_use", "refused": "refusal"}


class AsMessages:
    """One answer; see pieces.py."""

    def __init__(self) -> None:
        self._index = -1
        self._open = ""  # the kind of the block that is being written
        self._calls: list[str] = []  # the arguments of each call

    def whole(self, pieces: Iterable[Piece], why: Why, usage: Counted | None) -> dict[str, Any]:
        """A message."""
        begun = Begun("", "")
        content: list[dict[str, Any]] = []
        for piece in gathered(pieces):
            match piece:
                case Begun():
                    begun = piece
                case Text():
                    content.append({"type": "text", "text": piece.text})
                case Call():
                    used = {"id": piece.id, "name": piece.name, "input": arguments(piece.arguments)}
                    content.append({"type": "tool_use", **used})
        return _message(begun, content, why, usage)

    def event(self, piece: Piece) -> bytes:
        """Blocks one after the other."""
        match piece:
            case Begun():
                return event("message_start", {"message": _message(piece, [], None, None)})
            case Text():
                opened = self._block("text", {"text": ""}) if self._open != "text" else b""
                return opened + self._delta({"type": "text_delta", "text": piece.text})
            case Called():
                self._calls.append("")
                return self._block("tool_use", {"id": piece.id, "name": piece.name, "input": {}})
            case Arguments():
                self._calls[-1] += piece.text
                return self._delta({"type": "input_json_delta", "partial_json": piece.text})
            case _:
                return event("ping", {})

    def end(self, why: Why, usage: Counted | None) -> bytes:
        """The last block's end, the reason of the stop, and that it is over."""
        if why != "limit":  # at its limit a call may stand there half
            for written in self._calls:
                arguments(written)
        delta = {"stop_reason": _STOPS[why], "stop_sequence": None}
        return (
            self._close() + event("message_delta", {"delta": delta, "usage": _usage(usage)}) + event("message_stop", {})
        )

    def _block(self, kind: str, fields: dict[str, Any]) -> bytes:
        closed = self._close()
        self._index, self._open = self._index + 1, kind
        block = {"type": kind, **fields}
        return closed + event("content_block_start", {"index": self._index, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return event("content_block_delta", {"index": self._index, "delta": delta})

    def _close(self) -> bytes:
        was, self._open = self._open, ""
        return event("content_block_stop", {"index": self._index}) if was else b""


def _message(begun: Begun, content: list[dict[str, Any]], why: Why | None, usage: Counted | None) -> dict[str, Any]:
    return {
        "id": begun.id or "msg_translated", "type": "message", "role": "assistant", "model": begun.model,
        "content": content, "stop_reason": _STOPS[why] if why else None, "stop_sequence": None, "usage": _usage(usage),
    }  # fmt: skip


def _usage(usage: Counted | None) -> dict[str, Any]:
    """Zeros where the provider did not count: the field must be there."""
    counted = usage or Counted(0, 0)
    return {
        "input_tokens": counted.input_tokens - counted.cached_tokens, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": counted.cached_tokens, "output_tokens": counted.output_tokens,
    }  # fmt: skip
