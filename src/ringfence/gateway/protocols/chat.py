"""OpenAI Chat Completions: POST /v1/chat/completions."""

from collections.abc import Iterable, Iterator
from typing import Any

from ringfence.domain.wires import Wire
from ringfence.gateway.protocols import shape
from ringfence.gateway.protocols.shape import Counted, Heard, Place, Reading
from ringfence.gateway.refusal import Fault, Headers, Refusal, openai_error

_TOP = shape.Allowed(frozenset((
    "model", "messages", "stream", "tools", "tool_choice", "parallel_tool_calls", "response_format", "stop", "seed",
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "presence_penalty",
    "frequency_penalty", "repetition_penalty", "reasoning_effort", "reasoning", "verbosity", "thinking",
    "enable_thinking", "logprobs", "top_logprobs", "logit_bias", "prediction", "prompt_cache_key",
)))  # fmt: skip
_MESSAGE = frozenset((
    "role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_content", "reasoning",
    "reasoning_details", "reasoning_text", "reasoning_opaque", "function_call", "cache_control",
))  # fmt: skip
_TOOL = frozenset(("type", "function", "custom", "strict", "cache_control"))
_LIMITS = ("max_tokens", "max_completion_tokens")
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))


class Chat:
    """The protocol; see shape.py."""

    name: Wire = "chat"
    asked_in: Wire = "chat"

    def place(self, path: str, query: str) -> Place | None:
        """One address."""
        return Place(self) if path == "/v1/chat/completions" and not query else None

    def model(self, fields: dict[str, Any], _place: Place) -> object:
        """It stands in the body."""
        return fields.get("model")

    def read(self, fields: dict[str, Any], _place: Place) -> Reading | Refusal:
        """Functions and custom tools, text and inline images, one choice."""
        stream = shape.streamed(fields)
        if isinstance(stream, Refusal):
            return stream
        messages = shape.conversation(fields.get("messages"), _ROLES)
        if isinstance(messages, Refusal):
            return messages
        problem = shape.single(fields, "n") or shape.positive(fields, *_LIMITS) or _tools(fields)
        problem = problem or next((no for one in messages if (no := _content(one.get("content"))) is not None), None)
        if problem is not None:
            return problem
        kept = _TOP.kept(fields)
        if isinstance(kept, Refusal):
            return kept
        kept["messages"] = [{key: value for key, value in one.items() if key in _MESSAGE} for one in messages]
        if stream:
            kept["stream_options"] = {"include_usage": True}  # so that usage is known, whatever the agent asked for
        wanted = shape.at(fields, "stream_options", "include_usage") is True
        return Reading(kept, stream, tuple((name,) for name in _LIMITS if name in kept), usage_wanted=wanted)

    def handed_on(self, _headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """None."""
        return ()

    def judge(self, answer: dict[str, Any]) -> Fault | None:
        """Each choice has its message and its finish."""
        choices = answer.get("choices")
        if isinstance(choices, list) and choices and all(_finished(choice) for choice in choices):
            return None
        return shape.truncated()

    def usage(self, answer: dict[str, Any]) -> Counted | None:
        """As it stands in `usage`."""
        return shape.openai_usage(answer.get("usage"), "prompt", "completion")

    def told(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Itself."""
        return answer

    def listener(self, reading: Reading) -> "_Listener":
        """Chunks, a finish, [DONE]."""
        return _Listener(reading.usage_wanted)

    def error(self, status: int, code: str, message: str, rule: str) -> bytes:
        """OpenAI's form."""
        return openai_error(status, code, message, rule)

    def error_event(self, status: int, code: str, message: str, rule: str) -> bytes:
        """The same as a chunk."""
        return b"data: " + openai_error(status, code, message, rule) + b"\n\n"


def _tools(fields: dict[str, Any]) -> Refusal | None:
    """Every other kind of tool runs at the provider, with the provider's network."""
    tools = shape.objects(fields.get("tools"), "tools")
    if isinstance(tools, Refusal):
        return tools
    for tool in tools:
        kind = tool.get("type")
        if kind not in ("function", "custom") or set(tool) - _TOOL:
            return shape.tool_refused(kind)
    return None


def _content(content: object) -> Refusal | None:
    parts = shape.parts(content)
    if isinstance(parts, Refusal):
        return parts
    for part in parts:
        kind = part.get("type")
        image = kind == "image_url" and shape.inline_image(shape.at(part, "image_url", "url"))
        if (kind not in ("text", "refusal") and not image) or shape.outside(part):
            return shape.content_refused(kind)
    return None


def _finished(choice: object) -> bool:
    return isinstance(choice, dict) and bool(choice.get("finish_reason")) and isinstance(choice.get("message"), dict)


class _Listener:
    """One stream."""

    def __init__(self, usage_wanted: bool) -> None:
        self.usage: Counted | None = None
        self._wanted = usage_wanted
        self._finished = False

    def hear(self, event: dict[str, Any]) -> Heard:
        """A chunk: deltas of choices, or the usage."""
        choices = event.get("choices")
        if not isinstance(choices, list):
            return Heard(fault=shape.not_this_stream("Chat Completions"))
        self.usage = shape.openai_usage(event.get("usage"), "prompt", "completion") or self.usage
        self._finished = self._finished or any(isinstance(c, dict) and c.get("finish_reason") for c in choices)
        return Heard(
            written=tuple(_written(choices)),
            finishing=self._finished,
            hidden=not choices and bool(event.get("usage")) and not self._wanted,
        )

    def done(self) -> Heard:
        """The end, if there was a finish."""
        return Heard(last=self._finished, fault=None if self._finished else _unfinished())

    def over(self) -> bool:
        """Never without [DONE]."""
        return False


def _unfinished() -> Fault:
    return shape.truncated("the provider's stream has no finish")


def _written(choices: list[Any]) -> Iterator[str]:
    """What the model wrote in some deltas: texts and the arguments of calls, not ids and roles."""
    for choice in choices:
        delta = shape.at(choice, "delta")
        yield from shape.texts_of(delta, "content", "reasoning_content", "reasoning", "refusal")
        calls = shape.at(delta, "tool_calls")
        for call in calls if isinstance(calls, list) else ():
            yield from shape.texts_of(shape.at(call, "function"), "name", "arguments")


CHAT = Chat()
