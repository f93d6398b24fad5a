"""Anthropic Messages: POST /v1/messages."""

import json
import re
from collections.abc import Iterable
from typing import Any

from ringfence.domain.wires import Wire
from ringfence.gateway.protocols import shape
from ringfence.gateway.protocols.shape import Counted, Heard, Place, Reading
from ringfence.gateway.refusal import Fault, Headers, Refusal

_TOP = shape.Allowed(
    frozenset((
        "model", "messages", "system", "max_tokens", "stop_sequences", "stream", "temperature", "top_k", "top_p",
        "tools", "tool_choice", "thinking", "context_management", "output_config", "output_format", "cache_control",
    )),
    {
        "mcp_servers": "a list of servers that the provider would call",
        "container": "a machine of the provider's",
    },
)  # fmt: skip
#: Tools that the agent runs: its own, and those whose form the provider knows.
_TOOL = re.compile(r"custom|(?:bash|text_editor|memory)_[0-9]{8}")
_BLOCKS = frozenset((
    "text", "tool_use", "thinking", "redacted_thinking", "tool_reference", "tool_removal", "compaction",
))  # fmt: skip
_ROLES = frozenset(("user", "assistant", "system"))
_HANDED_ON = (b"anthropic-version", b"anthropic-beta")
_HEADER = re.compile(rb"[A-Za-z0-9._, -]{1,2000}")
_ERRORS = {
    400: "invalid_request_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 504: "timeout_error",
}  # fmt: skip


class Messages:
    """The protocol; see shape.py."""

    name: Wire = "messages"
    asked_in: Wire = "messages"

    def place(self, path: str, query: str) -> Place | None:
        """One address; tokens are not counted here, because nobody but the provider can."""
        return Place(self) if path == "/v1/messages" and query in ("", "beta=true") else None

    def model(self, fields: dict[str, Any], _place: Place) -> object:
        """It stands in the body."""
        return fields.get("model")

    def read(self, fields: dict[str, Any], _place: Place) -> Reading | Refusal:
        """Content that stands in the request; tools that the agent runs."""
        stream = shape.streamed(fields)
        if isinstance(stream, Refusal):
            return stream
        messages = shape.conversation(fields.get("messages"), _ROLES)
        if isinstance(messages, Refusal):
            return messages
        problem = shape.positive(fields, "max_tokens") or _tools(fields.get("tools")) or _content(fields.get("system"))
        problem = problem or next((no for one in messages if (no := _content(one.get("content"))) is not None), None)
        if problem is not None:
            return problem
        kept = _TOP.kept(fields)
        if isinstance(kept, Refusal):
            return kept
        return Reading(kept, stream, (("max_tokens",),) if "max_tokens" in kept else ())

    def handed_on(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """The version, and the beta features: they change forms, what they let a tool do is refused by its type."""
        return tuple(
            (name.decode(), value.decode())
            for name, value in headers
            if name in _HANDED_ON and _HEADER.fullmatch(value)
        )

    def judge(self, answer: dict[str, Any]) -> Fault | None:
        """Content, and why it stopped."""
        if answer.get("type") == "error":
            return shape.failed()
        ended = isinstance(answer.get("content"), list) and bool(answer.get("stop_reason"))
        return None if ended else shape.truncated()

    def usage(self, answer: dict[str, Any]) -> Counted | None:
        """As it stands in `usage`."""
        usage = answer.get("usage")
        return _counted(usage if isinstance(usage, dict) else {})

    def told(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Itself."""
        return answer

    def listener(self, _reading: Reading) -> "_Listener":
        """Blocks, a message_delta with the reason of the stop, message_stop."""
        return _Listener()

    def error(self, status: int, code: str, message: str, rule: str) -> bytes:
        """Anthropic's form, with a code and a rule beside."""
        return json.dumps(_error(status, code, message, rule)).encode()

    def error_event(self, status: int, code: str, message: str, rule: str) -> bytes:
        """The same as an event."""
        return shape.event("error", _error(status, code, message, rule))


def _error(status: int, code: str, message: str, rule: str) -> dict[str, Any]:
    kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message, "code": code, "rule": rule}}


def _tools(value: object) -> Refusal | None:
    tools = shape.objects(value, "tools")
    if isinstance(tools, Refusal):
        return tools
    for tool in tools:
        kind = tool.get("type") or "custom"
        if not isinstance(kind, str) or not _TOOL.fullmatch(kind):
            return shape.tool_refused(kind)
    return None


def _content(content: object) -> Refusal | None:
    blocks = shape.parts(content)
    if isinstance(blocks, Refusal):
        return blocks
    return next((problem for block in blocks if (problem := _block(block)) is not None), None)


def _block(block: dict[str, Any]) -> Refusal | None:
    kind = block.get("type")
    if not isinstance(kind, str) or shape.outside(block) or shape.outside(block.get("source")):
        return shape.content_refused(kind)
    if kind in ("tool_result", "search_result"):
        return _content(block.get("content"))
    if kind == "tool_addition":
        return _added(block.get("tool"))
    if kind in ("image", "document"):
        source = shape.at(block, "source", "type")
        if source == "content":
            return _content(shape.at(block, "source", "content"))
        return None if source in ("base64", "text") else shape.content_refused(kind)
    return None if kind in _BLOCKS else shape.content_refused(kind)


def _added(tool: object) -> Refusal | None:
    """A tool that is offered in the middle of a conversation, judged as at its beginning."""
    if shape.at(tool, "type") == "tool_reference":
        return None
    definition = shape.at(tool, "definition")
    return _tools([definition]) if isinstance(definition, dict) else shape.tool_refused("tool_addition")


def _counted(usage: dict[str, Any]) -> Counted | None:
    """The input is what was read fresh, what was written into the cache, and what came out of it."""
    fresh, output = shape.count(usage.get("input_tokens")), shape.count(usage.get("output_tokens"))
    if fresh is None or output is None:
        return None
    cached = shape.count(usage.get("cache_read_input_tokens")) or 0
    written = shape.count(usage.get("cache_creation_input_tokens")) or 0
    thought = shape.count(shape.at(usage, "output_tokens_details", "thinking_tokens")) or 0
    return Counted(fresh + written + cached, output, cached, min(thought, output))


class _Listener:
    """One stream."""

    def __init__(self) -> None:
        self.usage: Counted | None = None
        self._said: dict[str, Any] = {}  # usage so far: the input comes first, the output last
        self._stopped = False

    def hear(self, event: dict[str, Any]) -> Heard:
        """An event names its kind."""
        match event.get("type"):
            case "message_start":
                self._add(shape.at(event, "message", "usage"))
                return Heard()
            case "content_block_start":
                return Heard(written=tuple(shape.texts_of(event.get("content_block"), "name", "text", "thinking")))
            case "content_block_delta":
                delta = event.get("delta")
                return Heard(written=tuple(shape.texts_of(delta, "text", "partial_json", "thinking")))
            case "message_delta":
                self._add(event.get("usage"))
                self._stopped = self._stopped or bool(shape.at(event, "delta", "stop_reason"))
                self.usage = _counted(self._said) if self._stopped else None
                return Heard(finishing=self._stopped)
            case "message_stop":
                fault = None if self._stopped else shape.truncated("the provider's stream has no finish")
                return Heard(finishing=self._stopped, last=self._stopped, fault=fault)
            case "error":
                return Heard(fault=shape.failed("the provider's stream carries an error"))
            case str():
                return Heard(finishing=self._stopped)
            case _:
                return Heard(fault=shape.not_this_stream("Messages"))

    def _add(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._said |= {name: value for name, value in usage.items() if value is not None}

    def done(self) -> Heard:
        """No word of this protocol; it can only come too early."""
        return Heard(fault=shape.truncated("the provider's stream has no finish"))

    def over(self) -> bool:
        """Never without message_stop."""
        return False


MESSAGES = Messages()
