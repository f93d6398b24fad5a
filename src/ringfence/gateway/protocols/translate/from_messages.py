"""Reads answers of Anthropic Messages."""

import json
from collections.abc import Iterator
from typing import Any

from ringfence.gateway.protocols.shape import at, shown
from ringfence.gateway.protocols.translate.fields import listed, name_of, text
from ringfence.gateway.protocols.translate.pieces import Arguments, Begun, Called, Piece, Quiet, Text, Why

_WHY: dict[str, Why] = {
    "end_turn": "done", "stop_sequence": "done", "max_tokens": "limit", "model_context_window_exceeded": "limit",
    "tool_use": "calls", "refusal": "refused",
}  # fmt: skip
_THOUGHTS = frozenset(("thinking", "redacted_thinking"))


class FromMessages:
    """One answer; see pieces.py."""

    def __init__(self) -> None:
        self._said: Why = "done"
        self._index: object = None  # of the block that is being read
        self._kind = ""
        self._bare = False  # a call that has no arguments yet

    @property
    def why(self) -> Why:
        """As the model's side said."""
        return self._said

    def whole(self, answer: dict[str, Any]) -> Iterator[Piece]:
        """The message and its blocks."""
        yield _begun(answer)
        for block in listed(answer.get("content"), "content"):
            yield from self._block(block)
            yield from self._closed()
        self._stopped(answer.get("stop_reason"))

    def event(self, event: dict[str, Any]) -> Iterator[Piece]:
        """An event names its kind; what is unknown says nothing that an agent of another protocol could hear."""
        match event.get("type"):
            case "message_start":
                yield _begun(event.get("message"))
            case "content_block_start":
                self._index = event.get("index")
                yield from self._block(event.get("content_block"))
            case "content_block_delta":
                if event.get("index") != self._index:
                    raise ValueError("the answer's blocks are mixed")
                yield from self._delta(event.get("delta"))
            case "content_block_stop":
                yield from self._closed()
            case "message_delta":
                self._stopped(at(event, "delta", "stop_reason"))
            case "ping":
                yield Quiet()

    def _block(self, block: object) -> Iterator[Piece]:
        kind = at(block, "type")
        if not isinstance(block, dict) or not isinstance(kind, str):
            raise ValueError("the answer has a block that is none")
        self._kind, self._bare = kind, kind == "tool_use" and not block.get("input")
        if kind == "text":
            said = text(block, "text", "a block of text")
            yield Text(said) if said else Quiet()
        elif kind == "tool_use":
            yield Called(name_of(block, "id", "a call"), name_of(block, "name", "a call"))
            if block.get("input"):
                yield Arguments(json.dumps(block["input"], ensure_ascii=False))
        elif kind in _THOUGHTS:
            yield Quiet()
        else:
            raise ValueError(f"the answer has {shown(kind)}")

    def _delta(self, delta: object) -> Iterator[Piece]:
        kind = at(delta, "type")
        if isinstance(delta, dict) and (self._kind, kind) == ("text", "text_delta"):
            yield Text(text(delta, "text", "a delta"))
        elif isinstance(delta, dict) and (self._kind, kind) == ("tool_use", "input_json_delta"):
            part = text(delta, "partial_json", "a delta")
            self._bare = self._bare and not part
            yield Arguments(part)
        elif kind in ("thinking_delta", "signature_delta", "citations_delta"):
            yield Quiet()
        else:
            raise ValueError(f"the answer has {shown(kind)} in {shown(self._kind)}")

    def _closed(self) -> Iterator[Piece]:
        if self._bare:
            yield Arguments("{}")  # where arguments are a text, an empty one is no object
        self._bare = False

    def _stopped(self, reason: object) -> None:
        if reason is None:
            return
        if not isinstance(reason, str) or reason not in _WHY:
            raise ValueError(f"the answer ended for a reason that cannot be told: {shown(reason)}")
        self._said = _WHY[reason]


def _begun(message: object) -> Begun:
    name, model = at(message, "id"), at(message, "model")
    return Begun(name if isinstance(name, str) else "", model if isinstance(model, str) else "")
