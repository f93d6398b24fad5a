"""What a door takes: the checks of one request, and the body that is sent in its place.

Pure. The body for the provider is built from empty out of what is listed here, as its headers are: a
field that nobody listed (a fallback model, a stored conversation, a provider's own web search) does not
travel. Content that would make the provider fetch something is refused.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

from ringfence.gateway.refusal import Refusal, malformed, not_allowed, too_large, wrong_model

MAX_REQUEST = 8 << 20
MAX_HEADERS = 32 << 10
MAX_DEPTH = 64
MAX_NODES = 200_000
_MAX_COMMAS = 1_000_000  # a bound on what parsing can cost, counted before it; text holds commas too

CHAT = b"/v1/chat/completions"
MODELS = b"/v1/models"
_METHODS = {CHAT: b"POST", MODELS: b"GET"}

_FIELDS = frozenset((
    "model", "messages", "stream", "tools", "tool_choice", "parallel_tool_calls", "response_format", "stop", "seed",
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "presence_penalty", "frequency_penalty",
    "reasoning_effort", "verbosity", "logprobs", "top_logprobs", "logit_bias",
))  # fmt: skip
_MESSAGE_FIELDS = frozenset((
    "role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_content", "reasoning",
    "function_call",
))  # fmt: skip
_LIMITS = ("max_tokens", "max_completion_tokens")
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))


@dataclass(frozen=True, slots=True)
class Head:
    """The first part of a request; header names are in lower case."""

    method: bytes
    target: bytes
    version: bytes
    headers: tuple[tuple[bytes, bytes], ...]

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header."""
        return [value.strip().lower() for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class Chat:
    """A request that may be sent."""

    model: str
    stream: bool
    usage_wanted: bool  # whether the agent itself asked for the usage event
    output_tokens: int | None  # the agent's own limit
    fields: dict[str, Any]
    body: bytes

    def outbound(self, output_tokens: int | None = None) -> bytes:
        """The body for the provider; the agent's own limit is lowered to `output_tokens`, never raised."""
        if output_tokens is None or self.output_tokens is None or output_tokens >= self.output_tokens:
            return self.body
        lowered = {name: min(self.fields[name], output_tokens) for name in _LIMITS if name in self.fields}
        return _serialized({**self.fields, **lowered})

    def for_model(self, model: str) -> "Chat":
        """The same request for another model, when a route is asked in the place of one that failed."""
        if model == self.model:
            return self
        fields = {**self.fields, "model": model}
        return replace(self, model=model, fields=fields, body=_serialized(fields))


def _serialized(fields: dict[str, Any]) -> bytes:
    # Half a surrogate pair is legal JSON and no UTF-8; it becomes a question mark.
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def check_head(head: Head) -> Refusal | None:
    """Judge method, target and headers before a byte of the body is read."""
    if head.version != b"1.1":
        # In HTTP/1.0 a stream that breaks off looks like one that ended.
        return malformed("HTTP/1.1 is spoken here", status=505, code="not_http_1_1")
    if sum(len(name) + len(value) for name, value in head.headers) > MAX_HEADERS:
        return malformed("the headers are too large", status=431, code="headers_too_large")
    if not head.target.startswith(b"/"):
        return malformed("the target must be a path", rule="gateway.target", code="bad_target")
    method = _METHODS.get(head.target)
    if method is None:
        return malformed("there is nothing here", status=404, rule="gateway.target", code="not_found")
    if head.method != method:
        return malformed("this method is not taken here", status=405, rule="gateway.target", code="bad_method")
    return None if method == b"GET" else _check_body_headers(head)


def _check_body_headers(head: Head) -> Refusal | None:
    kinds = [value.split(b";")[0].strip() for value in head.values(b"content-type")]
    if kinds != [b"application/json"]:
        return malformed("the content type must be application/json", status=415, code="bad_content_type")
    if head.values(b"content-encoding") not in ([], [b"identity"]):
        return malformed("an encoded body is not taken", status=415, code="bad_content_encoding")
    lengths = head.values(b"content-length")
    if lengths and int(lengths[0]) > MAX_REQUEST:
        return body_too_large()
    return None


def body_too_large() -> Refusal:
    """A body beyond the cap."""
    return too_large(f"a request may have {MAX_REQUEST} bytes")


def check_body(body: bytes, model: str) -> Chat | Refusal:
    """Judge a whole request for the one model of this door."""
    fields = _parse(body)
    if isinstance(fields, Refusal):
        return fields
    if not isinstance(fields.get("model"), str):
        return malformed("`model` must be a name")
    if fields["model"] != model:
        return wrong_model(fields["model"])
    problem = _check_options(fields) or _check_tools(fields)
    if problem is not None:
        return problem
    messages = _messages(fields.get("messages"))
    if isinstance(messages, Refusal):
        return messages
    options = fields.get("stream_options") or {}
    kept = {key: value for key, value in fields.items() if key in _FIELDS and value is not None}
    kept["messages"] = messages
    if kept.get("stream"):
        kept["stream_options"] = {"include_usage": True}  # so that usage is known, whatever the agent asked for
    return Chat(
        model=model,
        stream=kept.get("stream", False),
        usage_wanted=isinstance(options, dict) and options.get("include_usage") is True,
        output_tokens=min((kept[name] for name in _LIMITS if name in kept), default=None),
        fields=kept,
        body=_serialized(kept),
    )


def _parse(body: bytes) -> dict[str, Any] | Refusal:
    if body.count(b",") > _MAX_COMMAS:
        return too_large("the JSON has too many elements")
    try:
        parsed = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        return too_large("the JSON is nested too deeply")
    except ValueError:
        return malformed("the body is not JSON")
    if not isinstance(parsed, dict):
        return malformed("the body must be a JSON object")
    return _check_shape(parsed) or parsed


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_shape(parsed: dict[str, Any]) -> Refusal | None:
    """Depth and number of elements; walks containers only, so that an ordinary request costs little."""
    level: list[Any] = [parsed]
    nodes = 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for node in level:
            nodes += len(node)
            if nodes > MAX_NODES:
                return too_large("the JSON has too many elements")
            children = node.values() if isinstance(node, dict) else node
            for child in children:
                if isinstance(child, (dict, list)):
                    below.append(child)
                elif isinstance(child, float) and child - child != 0:
                    return malformed("a number is out of range")  # 1e999: infinite once read
        if not below:
            return None
        level = below
    return too_large("the JSON is nested too deeply")


def _check_options(fields: dict[str, Any]) -> Refusal | None:
    if not isinstance(fields.get("stream"), bool | None):
        return malformed("`stream` must be true or false")
    if fields.get("n") not in (None, 1) or isinstance(fields.get("n"), bool):
        return malformed("`n` must be 1")
    for name in _LIMITS:
        limit = fields.get(name)
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            return malformed(f"`{name}` must be a positive number")
    return None


def _check_tools(fields: dict[str, Any]) -> Refusal | None:
    """Functions only: every other kind of tool runs at the provider, with the provider's network."""
    tools = fields.get("tools")
    if tools is None:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        return malformed("`tools` must be a list of objects")
    if any(tool.get("type") != "function" or set(tool) - {"type", "function"} for tool in tools):
        return not_allowed("tool_not_allowed", "gateway.request.tools", "only tools of type `function` may be offered")
    return None


def _messages(messages: object) -> list[dict[str, Any]] | Refusal:
    if not isinstance(messages, list) or not messages:
        return malformed("`messages` must be a list with at least one message")
    kept = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or role not in _ROLES:
            return malformed("a message must be an object with a known role")
        problem = _check_content(message.get("content"))
        if problem is not None:
            return problem
        kept.append({key: value for key, value in message.items() if key in _MESSAGE_FIELDS})
    return kept


def _check_content(content: object) -> Refusal | None:
    if content is None or isinstance(content, str):
        return None
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return malformed("a message's content must be text or a list of parts")
    if not all(_inline(part) for part in content):
        return not_allowed(
            "content_not_allowed", "gateway.request.content", "content must be text or an image given in the request"
        )
    return None


def _inline(part: dict[str, Any]) -> bool:
    """Whether the provider needs to fetch nothing for this part."""
    if part.get("type") in ("text", "refusal"):
        return True
    image = part.get("image_url")
    return (
        part.get("type") == "image_url"
        and isinstance(image, dict)
        and isinstance(image.get("url"), str)
        and image["url"].startswith("data:image/")
    )
