"""What a door takes: the checks of one request that every protocol shares, and what is sent in its place.

Pure. The body for the provider is what the agent wrote, read once and written again (so that no key
stands twice), without the fields that its protocol's module does not list. Of its headers only those
travel that the protocol lists.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

from ringfence.gateway.protocols.shape import Place, Reading, WireProtocol, at
from ringfence.gateway.protocols.table import placed
from ringfence.gateway.protocols.translate.wire import Pair, Translated
from ringfence.gateway.refusal import Headers, Refusal, malformed, too_large, wrong_model
from ringfence.ports.model_provider import ProviderRequest

MAX_REQUEST = 8 << 20
MAX_HEADERS = 32 << 10
MAX_DEPTH = 64
MAX_NODES = 200_000
_MAX_COMMAS = 1_000_000  # a bound on what parsing can cost, counted before it; text holds commas too

# Made once: json.dumps would make one for each request.
_ESCAPING = json.JSONEncoder(separators=(",", ":"))
_PLAIN = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

MODELS = b"/v1/models"


@dataclass(frozen=True, slots=True)
class Head:
    """The first part of a request; header names are in lower case."""

    method: bytes
    target: bytes
    version: bytes
    headers: tuple[tuple[bytes, bytes], ...]

    @property
    def place(self) -> Place | None:
        """What the target asks for; None when nothing is there."""
        return placed(self.target.decode("latin-1"))

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header."""
        return [value.strip().lower() for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that may be sent."""

    wire: WireProtocol
    model: str
    reading: Reading
    headers: Headers  # of the agent's, those that go on
    body: bytes

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        return self.reading.stream

    @property
    def output_tokens(self) -> int | None:
        """The agent's own limit."""
        return min((self._limit(path) for path in self.reading.limits), default=None)

    def outbound(self, output_tokens: int | None = None) -> bytes:
        """The body for the provider; the agent's own limit is lowered to `output_tokens`, never raised."""
        if output_tokens is None or self.output_tokens is None or output_tokens >= self.output_tokens:
            return self.body
        fields = self.reading.fields
        for path in self.reading.limits:
            fields = _with(fields, path, min(self._limit(path), output_tokens))
        return _serialized(fields)

    def request(self, body: bytes) -> ProviderRequest:
        """What the provider is asked, with this body."""
        return ProviderRequest(self.wire.asked_in, self.model, self.stream, self.headers, body)

    def for_model(self, model: str) -> "Asked":
        """The same request for another model, when a route is asked in the place of one that failed."""
        if model == self.model:
            return self
        if "model" not in self.reading.fields:  # it stands in the path, which the provider's adapter writes
            return replace(self, model=model)
        fields = {**self.reading.fields, "model": model}
        return replace(self, model=model, reading=replace(self.reading, fields=fields), body=_serialized(fields))

    def by(self, pair: Pair | None) -> "Asked | Refusal":
        """The same request as it goes to a provider that lacks the agent's protocol; None: it has it."""
        if pair is None:
            return self
        translation = Translated(pair, self.reading)
        reading = translation.carried()
        if isinstance(reading, Refusal):
            return reading
        return Asked(translation, self.model, reading, (), _serialized(reading.fields))

    def _limit(self, path: tuple[str, ...]) -> int:
        limit = at(self.reading.fields, *path)
        assert isinstance(limit, int)
        return limit


def _with(fields: dict[str, Any], path: tuple[str, ...], value: int) -> dict[str, Any]:
    """The fields with another value at a path."""
    first, *rest = path
    return {**fields, first: _with(fields[first], tuple(rest), value) if rest else value}


def _serialized(fields: dict[str, Any], *, plain: bool = False) -> bytes:
    """The same text for the same fields; `plain`, where they are likely to hold ASCII alone, takes half the time."""
    if plain and "\\u" not in (text := _ESCAPING.encode(fields)):
        return text.encode()
    # Half a surrogate pair is legal JSON and no UTF-8; it becomes a question mark.
    return _PLAIN.encode(fields).encode("utf-8", "replace")


def check_head(head: Head) -> Refusal | None:
    """Judge method, target and headers before a byte of the body is read."""
    if head.version != b"1.1":
        # In HTTP/1.0 a stream that breaks off looks like one that ended.
        return malformed("HTTP/1.1 is spoken here", status=505, code="not_http_1_1")
    if sum(len(name) + len(value) for name, value in head.headers) > MAX_HEADERS:
        return malformed("the headers are too large", status=431, code="headers_too_large")
    if not head.target.startswith(b"/"):
        return malformed("the target must be a path", rule="gateway.target", code="bad_target")
    method = b"GET" if head.target == MODELS else b"POST"
    if method == b"POST" and head.place is None:
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


def check_body(body: bytes, head: Head, model: str) -> Asked | Refusal:
    """Judge a whole request for the one model of this door."""
    place = head.place
    fields = _parse(body)
    if isinstance(fields, Refusal):
        return fields
    if place is None:
        return malformed("there is nothing here", status=404, rule="gateway.target", code="not_found")
    wanted = place.wire.model(fields, place)
    if not isinstance(wanted, str):
        return malformed("`model` must be a name")
    if wanted != model:
        return wrong_model(wanted)
    reading = place.wire.read(fields, place)
    if isinstance(reading, Refusal):
        return reading
    sent = _serialized(reading.fields, plain=body.isascii())
    return Asked(place.wire, model, reading, place.wire.handed_on(head.headers), sent)


def _parse(body: bytes) -> dict[str, Any] | Refusal:
    if len(body) > _MAX_COMMAS and body.count(b",") > _MAX_COMMAS:
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
