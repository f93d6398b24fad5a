"""Writes answers of OpenAI Responses."""

from collections.abc import Iterable, Mapping
from typing import Any

from ringfence.gateway.protocols.shape import Counted, event
from ringfence.gateway.protocols.translate.pieces import Arguments, Begun, Call, Called, Piece, Text, Why, gathered

_INCOMPLETE: dict[Why, str] = {"limit": "max_output_tokens", "refused": "content_filter"}


class AsResponses:
    """One answer; see pieces.py. `grouped`: namespace and name of the tools that were asked for by another name."""

    def __init__(self, grouped: Mapping[str, tuple[str, str]]) -> None:
        self._grouped = grouped
        self._begun = Begun("", "")
        self._number = 0
        self._output: list[dict[str, Any]] = []
        self._open: Text | Call | None = None  # the item that is being written

    def whole(self, pieces: Iterable[Piece], why: Why, usage: Counted | None) -> dict[str, Any]:
        """A response."""
        for piece in gathered(pieces):
            if isinstance(piece, Begun):
                self._begun = piece
            else:
                self._output.append(self._item(piece, "completed"))
        return self._response(why, usage)

    def event(self, piece: Piece) -> bytes:
        """Items one after the other, each with its beginning, its deltas and its end."""
        match piece:
            case Begun():
                self._begun = piece
                begun = self._response(None, None)
                return self._event("response.created", response=begun) + self._event(
                    "response.in_progress", response=begun
                )
            case Text():
                if isinstance(self._open, Text):
                    self._open, opened = Text(self._open.text + piece.text), b""
                else:
                    opened, self._open = self._begin(Text("")), piece
                return opened + self._event("response.output_text.delta", **self._part(), delta=piece.text, logprobs=[])
            case Called():
                return self._begin(Call(piece.id, piece.name, ""))
            case Arguments() if isinstance(self._open, Call):
                self._open = Call(self._open.id, self._open.name, self._open.arguments + piece.text)
                return self._event("response.function_call_arguments.delta", **self._place(), delta=piece.text)
            case _:
                return b":\n\n"

    def end(self, why: Why, usage: Counted | None) -> bytes:
        """The last item's end, and the whole response."""
        closed = self._close("incomplete" if why in _INCOMPLETE else "completed")
        kind = "response.incomplete" if why in _INCOMPLETE else "response.completed"
        return closed + self._event(kind, response=self._response(why, usage))

    def _begin(self, item: Text | Call) -> bytes:
        closed, self._open = self._close("completed"), item
        begun = {**self._item(item, "in_progress"), **({"content": []} if isinstance(item, Text) else {})}
        told = closed + self._event("response.output_item.added", output_index=len(self._output), item=begun)
        if isinstance(item, Text):
            told += self._event("response.content_part.added", **self._part(), part=_said(""))
        return told

    def _close(self, status: str) -> bytes:
        item = self._open
        if item is None:
            return b""
        if isinstance(item, Text):
            told = self._event("response.output_text.done", **self._part(), text=item.text, logprobs=[])
            told += self._event("response.content_part.done", **self._part(), part=_said(item.text))
        else:
            told = self._event(
                "response.function_call_arguments.done", **self._place(), name=item.name, arguments=item.arguments
            )
        whole = self._item(item, status)
        told += self._event("response.output_item.done", output_index=len(self._output), item=whole)
        self._output.append(whole)
        self._open = None
        return told

    def _item(self, item: Text | Call, status: str) -> dict[str, Any]:
        if isinstance(item, Text):
            fields: dict[str, Any] = {"type": "message", "role": "assistant", "content": [_said(item.text)]}
        else:
            space, name = self._grouped.get(item.name, ("", item.name))
            fields = {"type": "function_call", "call_id": item.id, "name": name, "arguments": item.arguments}
            fields |= {"namespace": space} if space else {}
        return {"id": self._place(item)["item_id"], "status": status, **fields}

    def _place(self, item: Text | Call | None = None) -> dict[str, Any]:
        kind = "msg" if isinstance(item or self._open, Text) else "fc"
        return {"item_id": f"{kind}_{self._begun.id}_{len(self._output)}", "output_index": len(self._output)}

    def _part(self) -> dict[str, Any]:
        return {**self._place(), "content_index": 0}

    def _response(self, why: Why | None, usage: Counted | None) -> dict[str, Any]:
        incomplete = _INCOMPLETE.get(why) if why else None
        status = "in_progress" if why is None else "incomplete" if incomplete else "completed"
        return {
            "id": self._begun.id or "resp_translated", "object": "response", "created_at": 0, "status": status,
            "model": self._begun.model, "error": None, "instructions": None, "metadata": {}, "output": self._output,
            "incomplete_details": {"reason": incomplete} if incomplete else None, "parallel_tool_calls": True,
            "tool_choice": "auto", "tools": [], "usage": _usage(usage),
        }  # fmt: skip

    def _event(self, kind: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return event(kind, {"sequence_number": number, **fields})


def _said(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _usage(usage: Counted | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens, "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens, "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }  # fmt: skip
