"""OpenAI Responses: POST /v1/responses. Nothing is stored at the provider, and no earlier response is gone back to."""

from collections.abc import Iterable, Iterator
from typing import Any

from ringfence.domain.wires import Wire
from ringfence.gateway.protocols import shape
from ringfence.gateway.protocols.shape import Counted, Heard, Place, Reading
from ringfence.gateway.refusal import Fault, Headers, Refusal, malformed, openai_error, openai_fields

_STORED = "kept at the provider, out of this request's sight"
_TOP = shape.Allowed(
    frozenset((
        "model", "input", "instructions", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls",
        "max_tool_calls", "reasoning", "text", "max_output_tokens", "temperature", "top_p", "top_logprobs", "include",
        "truncation", "prompt_cache_key",
    )),
    {
        "previous_response_id": _STORED, "conversation": _STORED, "prompt": _STORED,
        "background": "work that goes on at the provider when nobody listens",
    },
)  # fmt: skip
_LIMIT = "max_output_tokens"

#: Tools that the agent runs. `namespace` groups functions; `shell` may also be a machine of the provider's.
_TOOLS = frozenset(("function", "custom", "local_shell", "apply_patch"))
_TOOL = frozenset((
    "type", "name", "description", "parameters", "strict", "format", "defer_loading", "output_schema", "cache_control",
))  # fmt: skip

_SAID = frozenset(("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"))
_PARTS = (None, *_SAID, "encrypted_content", "stdout", "input_image", "input_file")  # where nothing is outside
_OPAQUE = frozenset(("reasoning", "compaction", "compaction_summary"))  # the model's own, given back as they came
_CALLS = frozenset((
    "function_call", "custom_tool_call", "local_shell_call", "shell_call", "apply_patch_call", "tool_search_call",
))  # fmt: skip
_RESULTS = frozenset(f"{call}_output" for call in _CALLS)
_UPDATE = frozenset(("type", "id", "reasoning", "text"))
_ROLES = frozenset(("system", "developer", "user", "assistant"))

_LAST = frozenset(("response.completed", "response.incomplete"))


class Responses:
    """The protocol; see shape.py."""

    name: Wire = "responses"
    asked_in: Wire = "responses"

    def place(self, path: str, query: str) -> Place | None:
        """One address."""
        return Place(self) if path == "/v1/responses" and not query else None

    def model(self, fields: dict[str, Any], _place: Place) -> object:
        """It stands in the body."""
        return fields.get("model")

    def read(self, fields: dict[str, Any], _place: Place) -> Reading | Refusal:
        """Items that stand in the request; tools that the agent runs; nothing stored."""
        stream = shape.streamed(fields)
        if isinstance(stream, Refusal):
            return stream
        problem = (
            shape.positive(fields, _LIMIT) or _tools(fields.get("tools"), nested=False) or _input(fields.get("input"))
        )
        if problem is not None:
            return problem
        kept = _TOP.kept(fields)
        if isinstance(kept, Refusal):
            return kept
        kept["store"] = False  # left out, it means true
        return Reading(kept, stream, ((_LIMIT,),) if _LIMIT in kept else ())

    def handed_on(self, _headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """None."""
        return ()

    def judge(self, answer: dict[str, Any]) -> Fault | None:
        """A status that ends it, and the output."""
        if answer.get("status") == "failed":
            return shape.failed()
        ended = answer.get("status") in ("completed", "incomplete") and isinstance(answer.get("output"), list)
        return None if ended else shape.truncated()

    def usage(self, answer: dict[str, Any]) -> Counted | None:
        """As it stands in `usage`."""
        return shape.openai_usage(answer.get("usage"), "input", "output")

    def told(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Itself."""
        return answer

    def listener(self, _reading: Reading) -> "_Listener":
        """Events until response.completed or response.incomplete."""
        return _Listener()

    def error(self, status: int, code: str, message: str, rule: str) -> bytes:
        """OpenAI's form."""
        return openai_error(status, code, message, rule)

    def error_event(self, _status: int, code: str, message: str, rule: str) -> bytes:
        """A response that failed."""
        said = {"id": "resp_ringfence", "object": "response", "created_at": 0, "status": "failed", "output": []}
        error = openai_fields(code, message, rule)
        return shape.event("response.failed", {"sequence_number": 0, "response": {**said, "error": error}})


def _tools(value: object, *, nested: bool) -> Refusal | None:
    tools = shape.objects(value, "tools")
    if isinstance(tools, Refusal):
        return tools
    for tool in tools:
        more = set(tool) - _TOOL
        if tool.get("type") == "namespace" and not nested and more == {"tools"}:
            problem = _tools(tool["tools"], nested=True)
        else:
            problem = None if _runs_here(tool, more) else shape.tool_refused(tool.get("type"))
        if problem is not None:
            return problem
    return None


def _runs_here(tool: dict[str, Any], more: set[str]) -> bool:
    """Whether the agent runs a tool; `more` are the fields that tools do not have in general."""
    match tool.get("type"):
        case "shell":
            return more == {"environment"} and shape.at(tool, "environment", "type") == "local"
        case "tool_search":
            return more == {"execution"} and tool.get("execution") == "client"
        case str() as kind:
            return kind in _TOOLS and not more
        case _:
            return False


def _input(value: object) -> Refusal | None:
    if isinstance(value, str) and value:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        return malformed("`input` must be text or a list of items")
    return next((problem for item in value if (problem := _item(item)) is not None), None)


def _item(item: dict[str, Any]) -> Refusal | None:
    kind = item.get("type", "message")
    if not isinstance(kind, str) or shape.outside(item):
        return shape.content_refused(kind)
    problem = None if kind in _OPAQUE else _parts(item.get("content")) or _parts(item.get("output"))
    if problem is not None:
        return problem
    if kind == "message":
        role = item.get("role")
        return None if isinstance(role, str) and role in _ROLES else malformed("a message must have a known role")
    if kind in ("additional_tools", "tool_search_output"):
        return _tools(item.get("tools"), nested=False)  # offered in the middle, judged as at the beginning
    if kind == "configuration_update":
        return None if not set(item) - _UPDATE else shape.content_refused(kind)
    return None if kind in _CALLS | _RESULTS | _OPAQUE else shape.content_refused(kind)


def _parts(content: object) -> Refusal | None:
    """The parts of a message or of a tool's result; what has no parts is plain text or a plain object."""
    for part in content if isinstance(content, list) else (content,):
        kind = shape.at(part, "type")
        if kind not in _PARTS or shape.outside(part):
            return shape.content_refused(kind)
    return None


class _Listener:
    """One stream."""

    def __init__(self) -> None:
        self.usage: Counted | None = None

    def hear(self, event: dict[str, Any]) -> Heard:
        """An event names its kind."""
        kind = event.get("type")
        if not isinstance(kind, str):
            return Heard(fault=shape.not_this_stream("Responses"))
        if kind in ("error", "response.failed"):
            return Heard(fault=shape.failed("the provider's stream carries an error"))
        if kind in _LAST:
            self.usage = shape.openai_usage(shape.at(event, "response", "usage"), "input", "output")
            return Heard(finishing=True, last=True)
        return Heard(written=tuple(_written(kind, event)))

    def done(self) -> Heard:
        """No word of this protocol; it can only come too early."""
        return Heard(fault=shape.truncated("the provider's stream has no finish"))

    def over(self) -> bool:
        """Never without its last event."""
        return False


def _written(kind: str, event: dict[str, Any]) -> Iterator[str]:
    """What the model wrote stands in the deltas; everything else repeats it."""
    if kind.endswith(".delta"):
        yield from shape.texts_of(event, "delta")
    elif kind == "response.output_item.added":
        yield from shape.texts_of(shape.at(event, "item"), "name")


RESPONSES = Responses()
