"""Reads answers of Chat Completions."""

from collections.abc import Iterator
from typing import Any

from ringfence.gateway.protocols.shape import at, shown
from ringfence.gateway.protocols.translate.fields import listed, name_of, text
from ringfence.gateway.protocols.translate.pieces import Arguments, Begun, Called, Piece, Quiet, Text, Why

_WHY: dict[str, Why] = {
    "stop": "done", "length": "limit", "tool_calls": "calls", "function_call": "calls", "content_filter": "refused",
}  # fmt: skip
#: Where endpoints put what a model thinks.
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_text", "reasoning_details")


class FromChat:
    """One answer; see pieces.py."""

    def __init__(self) -> None:
        self._begun = False
        self._said: Why | None = None
        self._call: tuple[int, str] | None = None  # the place and the name of the call that began last
        self._refused = False

    def whole(self, answer: dict[str, Any]) -> Iterator[Piece]:
        """Its one choice."""
        yield from self._read(answer, "message")

    def event(self, event: dict[str, Any]) -> Iterator[Piece]:
        """A chunk."""
        yield from self._read(event, "delta")

    @property
    def why(self) -> Why:
        """Some endpoints say `stop` also when tools are to be called."""
        if self._refused or self._said == "refused":
            return "refused"
        if self._said == "limit":
            return "limit"
        return "done" if self._call is None else "calls"

    def _read(self, answer: dict[str, Any], where: str) -> Iterator[Piece]:
        if not self._begun:
            self._begun = True
            yield Begun(_word(answer.get("id")), _word(answer.get("model")))
        for choice in listed(answer.get("choices"), "choices"):
            if at(choice, "index") not in (None, 0):
                raise ValueError("the answer has more than one choice")
            said = at(choice, where)
            yield from self._message(said if isinstance(said, dict) else {})
            reason = at(choice, "finish_reason")
            if reason:
                if not isinstance(reason, str) or reason not in _WHY:
                    raise ValueError(f"the answer ended for a reason that nobody knows: {shown(reason)}")
                self._said = _WHY[reason]

    def _message(self, message: dict[str, Any]) -> Iterator[Piece]:
        if message.get("function_call") or message.get("audio"):
            raise ValueError("the answer has a function_call or audio")
        if any(message.get(name) for name in _THOUGHTS):
            yield Quiet()
        for said in (message.get("content"), message.get("refusal")):
            if said is not None and not isinstance(said, str):
                raise ValueError("the answer has content that is no text")
            if said:
                yield Text(said)
        self._refused = self._refused or bool(message.get("refusal"))
        for place, call in enumerate(listed(message.get("tool_calls"), "tool_calls")):
            yield from self._tool(call, place)

    def _tool(self, call: object, place: int) -> Iterator[Piece]:
        """A call or a part of one; a new one has a place of its own, or only a name of its own."""
        if not isinstance(call, dict) or call.get("type") not in (None, "function"):
            raise ValueError("the answer calls something that is no function")
        function = call.get("function")
        if not isinstance(function, dict):
            raise ValueError("the answer calls something that is no function")
        index, before = call.get("index", place), self._call
        if not isinstance(index, int):
            raise ValueError("a call has no place")
        if before is None or index > before[0] or call.get("id") not in (None, "", before[1]):
            self._call = (index, name_of(call, "id", "a call"))
            yield Called(self._call[1], name_of(function, "name", "a call"))
        elif index != before[0]:
            raise ValueError("the answer's calls are mixed")
        if function.get("arguments"):
            yield Arguments(text(function, "arguments", "a call"))


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""
