"""The shape of a wire protocol: how its requests are read, its answers judged, its errors written.

Pure. A request goes on as the agent wrote it, but for what is listed nowhere (a stored conversation, a
fallback model, a person's name) and what policy sets. What would make the provider reach out of the
boundary (a tool that it runs itself, content that it would fetch) is refused.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from ringfence.domain.wires import Wire
from ringfence.gateway.refusal import Fault, Headers, Refusal, malformed, not_allowed

_MAX_COUNT = 1 << 40


@dataclass(frozen=True, slots=True)
class Counted:
    """Tokens as a provider counted them. Cached ones are part of the input, those of reasoning of the output."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request was sent to, and what the address itself says."""

    wire: "WireProtocol"
    model: str | None = None
    stream: bool | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A request that was judged: what may be sent, and what the gateway must know of it."""

    fields: dict[str, Any]
    stream: bool
    limits: tuple[tuple[str, ...], ...]  # where its own limits of output stand, of those that it has
    usage_wanted: bool = True  # whether the agent expects to be told the usage


@dataclass(frozen=True, slots=True)
class Heard:
    """What one event of a stream says."""

    written: tuple[str, ...] = ()  # what the model wrote
    finishing: bool = False  # the finish: it and what follows wait for the record
    last: bool = False  # the closing words
    hidden: bool = False  # asked for by the gateway, not by the agent, whose client may not expect it
    told: bytes | None = None  # what the agent is told in the event's place, where it is translated
    fault: Fault | None = None


class Listener(Protocol):
    """Listens to one stream."""

    @property
    def usage(self) -> Counted | None:
        """The whole usage, once the provider has said it."""
        ...

    def hear(self, event: dict[str, Any]) -> Heard:
        """One event whose data is a JSON object."""
        ...

    def done(self) -> Heard:
        """The word [DONE] in the place of an event."""
        ...

    def over(self) -> bool:
        """Whether a stream that simply ends here is complete."""
        ...


class WireProtocol(Protocol):
    """One protocol."""

    @property
    def name(self) -> Wire:
        """As the boundary spells it."""
        ...

    @property
    def asked_in(self) -> Wire:
        """What the provider is asked in: the same, unless it is translated."""
        ...

    def place(self, path: str, query: str) -> Place | None:
        """What an address asks for; None when it is not one of this protocol's."""
        ...

    def model(self, fields: dict[str, Any], place: Place) -> object:
        """The model that is asked for, as the agent spells it."""
        ...

    def read(self, fields: dict[str, Any], place: Place) -> Reading | Refusal:
        """Judge a body."""
        ...

    def handed_on(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Those headers of the agent's that belong to the protocol and may go to the provider."""
        ...

    def judge(self, answer: dict[str, Any]) -> Fault | None:
        """Why an answer in one piece is not complete; None when it is."""
        ...

    def usage(self, answer: dict[str, Any]) -> Counted | None:
        """Tokens of an answer in one piece."""
        ...

    def told(self, answer: dict[str, Any]) -> dict[str, Any] | Fault:
        """What the agent is told of an answer in one piece: itself, unless it is translated."""
        ...

    def listener(self, reading: Reading) -> Listener:
        """For a stream that answers this request."""
        ...

    def error(self, status: int, code: str, message: str, rule: str, /) -> bytes:
        """A body that says no in the protocol's own form."""
        ...

    def error_event(self, status: int, code: str, message: str, rule: str, /) -> bytes:
        """The same as an event of a stream that has begun."""
        ...


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which fields of an object travel, and which forbid the whole request because of what they would do."""

    fields: frozenset[str]
    forbidden: dict[str, str] = field(default_factory=dict)  # field and what it is

    def kept(self, fields: dict[str, Any]) -> dict[str, Any] | Refusal:
        """The object without what is listed nowhere; refused when it holds, not empty, what is forbidden."""
        for name, what in self.forbidden.items():
            if fields.get(name):
                return not_allowed("field_not_allowed", "gateway.request.fields", f"`{name}` is {what}")
        return {name: value for name, value in fields.items() if name in self.fields and value is not None}


def streamed(fields: dict[str, Any]) -> bool | Refusal:
    """Whether a stream is asked for."""
    stream = fields.get("stream")
    return malformed("`stream` must be true or false") if not isinstance(stream, bool | None) else bool(stream)


def positive(fields: dict[str, Any], *names: str) -> Refusal | None:
    """Limits must be positive numbers where they are given."""
    for name in names:
        limit = fields.get(name)
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            return malformed(f"`{name}` must be a positive number")
    return None


def single(fields: dict[str, Any], *names: str) -> Refusal | None:
    """One answer is asked for, where a number of them is given at all."""
    for name in names:
        number = fields.get(name)
        if number is not None and (number != 1 or isinstance(number, bool)):
            return malformed(f"`{name}` must be 1")
    return None


def conversation(messages: object, roles: frozenset[str]) -> list[dict[str, Any]] | Refusal:
    """The messages of a conversation, each of a known role."""
    if not isinstance(messages, list) or not messages:
        return malformed("`messages` must be a list with at least one message")
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or role not in roles:
            return malformed("a message must be an object with a known role")
    return messages


def parts(content: object) -> list[dict[str, Any]] | Refusal:
    """The parts of some content; plain text, or nothing, has none."""
    if content is None or isinstance(content, str):
        return []
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return malformed("content must be text or a list of parts")
    return content


def objects(value: object, name: str) -> list[dict[str, Any]] | Refusal:
    """A list of objects; an absent one is empty."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return malformed(f"`{name}` must be a list of objects")
    return value


def tool_refused(kind: object) -> Refusal:
    """A tool that the provider would run, with the provider's network."""
    detail = f"only tools that the agent runs may be offered, not {shown(kind)}"
    return not_allowed("tool_not_allowed", "gateway.request.tools", detail)


def content_refused(kind: object) -> Refusal:
    """Content that the provider would fetch, or that stands with the provider."""
    detail = f"content must be given in the request itself, which {shown(kind)} is not"
    return not_allowed("content_not_allowed", "gateway.request.content", detail)


def shown(kind: object) -> str:
    """A word of a request or an answer, for a person."""
    return repr(kind)[:80].encode("ascii", "backslashreplace").decode() if isinstance(kind, str) else "this one"


def inline_image(url: object) -> bool:
    """Whether an image stands in the request itself."""
    return isinstance(url, str) and url.startswith("data:image/")


def outside(part: object) -> bool:
    """Whether a part points to what is not in the request, whatever kind it says it is: providers guess by fields."""
    image = at(part, "image_url")
    address = at(image, "url") if isinstance(image, dict) else image
    return bool(at(part, "file_id") or at(part, "file_url") or (image and not inline_image(address)))


def openai_usage(value: object, asked: str, said: str) -> Counted | None:
    """Usage as OpenAI's protocols have it, each with names of its own for what was asked and what was said."""
    counts = count(at(value, f"{asked}_tokens")), count(at(value, f"{said}_tokens"))
    if counts[0] is None or counts[1] is None:
        return None
    cached = count(at(value, f"{asked}_tokens_details", "cached_tokens")) or 0
    reasoning = count(at(value, f"{said}_tokens_details", "reasoning_tokens")) or 0
    return Counted(counts[0], counts[1], min(cached, counts[0]), min(reasoning, counts[1]))


def count(value: object) -> int | None:
    """A number of tokens that can be."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT else None


def at(value: object, *path: str) -> object:
    """What stands at a path of an object's fields; None when there is nothing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def texts_of(value: object, *names: str) -> Iterator[str]:
    """Those of the named fields that are texts."""
    for name in names:
        text = at(value, name)
        if isinstance(text, str):
            yield text


def truncated(detail: str = "the provider's answer is not complete") -> Fault:
    """An answer without its closing words."""
    return Fault(502, "upstream_truncated", detail)


def failed(detail: str = "the provider answered with an error") -> Fault:
    """An answer that is an error."""
    return Fault(502, "upstream_error", detail)


def not_told(detail: str) -> Fault:
    """An answer that the agent's protocol cannot tell."""
    return Fault(502, "upstream_not_translated", detail)


def not_this_stream(protocol: str) -> Fault:
    """A stream of something else."""
    return Fault(502, "upstream_not_sse", f"the provider's stream is no {protocol} stream")


def event(kind: str, fields: dict[str, Any]) -> bytes:
    """A server-sent event whose data names its kind too."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
