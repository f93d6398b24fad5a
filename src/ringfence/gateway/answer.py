"""What comes back from a provider: read as it comes, judged complete or not, and freed of the credential.

Pure. An answer that is cut, that is a web page, or that lacks its last words is never passed on as if it
were complete: agents run a cut turn as a finished one. So a stream is handed on event by event, byte for
byte, but everything from the finishing event on is held until the exchange is on record.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ringfence.gateway.conversation import Answered
from ringfence.gateway.ledger import estimate
from ringfence.gateway.protocols.shape import Counted, Heard, Listener, WireProtocol, at, failed
from ringfence.gateway.refusal import Fault

MAX_ANSWER = 16 << 20
_MAX_EVENT = 4 << 20
#: Two line ends in a row, each of the three kinds that the format allows. What follows the last `\r` must be known.
_BLANK = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?=[^\n]))")
_LINE = re.compile(r"\r\n|\n|\r")
_REDACTED = "[redacted]"
_LONGEST_NAME = 120
_SHORTEST_HELD = 4  # characters of the credential that may pass before the rest is waited for


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one exchange; `estimated` when the provider did not say."""

    input_tokens: int
    output_tokens: int
    estimated: bool
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class Scrubber:
    """Takes one credential, and the secrets that travel in its place, out of whatever goes back to an agent."""

    def __init__(self, credential: str | None, derived: Callable[[], tuple[str, ...]] = tuple) -> None:
        self._given = (credential,) if credential else ()
        self._derived = derived

    @property
    def secrets(self) -> tuple[str, ...]:
        """All that must not go back, as of now."""
        return (*self._given, *self._derived())

    def raw(self, content: bytes) -> bytes:
        """Bytes without the secrets as they are written."""
        for secret in self.secrets:
            content = content.replace(secret.encode(), _REDACTED.encode())
        return content

    def found(self, value: object) -> bool:
        """Whether any text of a JSON value holds a secret, however it was escaped."""
        secrets = self.secrets
        return bool(secrets) and any(secret in text for _, text in _texts(value) for secret in secrets)

    def clean(self, value: object) -> Any:
        """The value with the secrets replaced in every text."""
        if isinstance(value, str):
            for secret in self.secrets:
                value = value.replace(secret, _REDACTED)
            return value
        if isinstance(value, list):
            return [self.clean(item) for item in value]
        if isinstance(value, dict):
            return {self.clean(key): self.clean(item) for key, item in value.items()}
        return value

    def overlap(self, text: str) -> int:
        """How many characters at the end of a text are a beginning of a secret."""
        return max((_overlap(text, secret) for secret in self.secrets), default=0)


def _overlap(text: str, secret: str) -> int:
    if secret[:_SHORTEST_HELD] not in text:
        return 0  # too short an overlap to wait for, and nearly always the case
    longest = min(len(text), len(secret) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(secret[:n])), 0)


def _texts(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[tuple[object, ...], str]]:
    """Every text of a JSON value with where it stands; list items that name their index stand there."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            at = item.get("index", place) if isinstance(item, dict) else place
            yield from _texts(item, (*path, str(at)))


def load(text: bytes | str) -> object:
    """A JSON value; ValueError for everything that is none, however deep it is nested."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer that came in one piece, complete and clean."""

    body: bytes
    usage: Counted | None
    model: str = ""  # as the provider names it


def judge_whole(body: bytes, content_type: str, scrub: Scrubber, wire: WireProtocol) -> Whole | Fault:
    """Judge an answer that is no stream."""
    if not body.strip():
        return empty()
    try:
        parsed = load(body) if content_type == "application/json" else None
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        return Fault(502, "upstream_not_json", "the provider's answer is not JSON")
    fault = failed() if parsed.get("error") else wire.judge(parsed)
    if fault is not None:
        return fault
    clean = scrub.clean(parsed) if scrub.found(parsed) else parsed
    told = wire.told(clean)
    if isinstance(told, Fault):
        return told
    if told is not parsed:
        body = json.dumps(scrub.clean(told)).encode()
    return Whole(scrub.raw(body), wire.usage(parsed), named_model(clean))


def named_model(said: dict[str, Any]) -> str:
    """The model that an answer or an event of one names: the provider's word, cut and made printable; often nothing."""
    places = (("model",), ("modelVersion",), ("message", "model"), ("response", "model"))
    named = next((name for place in places if isinstance(name := at(said, *place), str)), "")
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in named[:_LONGEST_NAME])


def empty() -> Fault:
    """An answer without a byte."""
    return Fault(502, "upstream_empty", "the provider's answer is empty")


def refused_upstream(answered: Answered, body: bytes, scrub: Scrubber) -> Fault:
    """A provider's own error: mapped, and in words that hold nothing of what it said about credentials."""
    status = answered.status
    if status in (401, 402, 403, 404):
        return Fault(403, "provider_refused", f"the provider refused the gateway (status {status})")
    if status == 429:
        return Fault(429, "upstream_busy", "the provider is busy", again=True, retry_after=answered.retry_after)
    if status >= 500:
        detail = f"the provider failed (status {status})"
        return Fault(502, "upstream_failed", detail, again=True, retry_after=answered.retry_after)
    if status < 400:
        return Fault(502, "upstream_error", f"the provider answered with status {status}; no redirect is followed")
    said = _error_text(body, scrub)
    return Fault(400, "provider_rejected", f"the provider rejected the request (status {status}): {said}")


def _error_text(body: bytes, scrub: Scrubber) -> str:
    """What the provider said, in the form that all of them nearly share: short, printable, or nothing."""
    try:
        parsed = load(body)
    except ValueError:
        return ""
    error = (parsed.get("error") or parsed.get("message")) if isinstance(parsed, dict) else None
    if isinstance(error, dict):
        kinds = [error.get(name) for name in ("code", "status", "type")]
        parts = [next((kind for kind in kinds if isinstance(kind, str)), None), error.get("message")]
    else:
        parts = [error]
    said = ": ".join(part for part in parts if isinstance(part, str))
    return "" if scrub.found(said) else "".join(c if c.isprintable() else " " for c in said[:300])


class AnswerStream:
    """A stream of server-sent events as it comes."""

    def __init__(self, scrub: Scrubber, listener: Listener) -> None:
        self.fault: Fault | None = None
        self.complete = False
        self.model = ""  # as the provider names it, once it has
        self._scrub = scrub
        self._listener = listener
        self._buffer = bytearray()
        self._searched = 0
        self._held: list[bytes] = []
        self._started = False
        self._finished = False
        self._output_bytes = 0
        self._tails: dict[tuple[object, ...], str] = {}

    @property
    def usage(self) -> Counted | None:
        """As the provider counted, once it has."""
        return self._listener.usage

    @property
    def output_tokens(self) -> int:
        """Tokens so far: as counted, else estimated from the text of the deltas."""
        return self.usage.output_tokens if self.usage else estimate(self._output_bytes)

    @property
    def held(self) -> bytes:
        """The last events, for when the exchange is on record."""
        return b"".join(self._held)

    def feed(self, piece: bytes) -> bytes:
        """Take what came; give back what may be handed on at once."""
        self._buffer += piece
        ready: list[bytes] = []
        while self.fault is None and not self.complete and (event := self._event()) is not None:
            ready += self._judge(event)
        if len(self._buffer) > _MAX_EVENT and not self.complete:
            self.fault = Fault(502, "upstream_too_large", "the provider sent an event without an end")
        return b"".join(ready)

    def end(self) -> Fault | None:
        """The provider has closed: None when that was the end of a complete answer."""
        if self.fault is None and not self.complete and self._buffer.endswith((b"\r\r", b"\n\r")):
            self._judge(bytes(self._buffer))  # no `\n` will follow; only as a last event does it matter any more
            self._buffer.clear()
        if self.fault is None and not self._buffer.strip() and self._listener.over():
            self.complete = True
        if self.fault is None and not self.complete:
            nothing = not self._started and not self._buffer.strip()
            self.fault = empty() if nothing else Fault(502, "upstream_truncated", "the provider's stream was cut")
        return self.fault

    def _event(self) -> bytes | None:
        found = _BLANK.search(self._buffer, max(0, self._searched - 3))
        if found is None:
            self._searched = len(self._buffer)
            return None
        event = bytes(self._buffer[: found.end()])
        del self._buffer[: found.end()]
        self._searched = 0
        return event

    def _judge(self, event: bytes) -> list[bytes]:
        """Read one event and say what may go: itself, itself after what was held, or nothing yet."""
        event = self._scrub.raw(event)
        text = event.decode("utf-8", "replace").removeprefix("\ufeff")
        written = _LINE.split(text)
        lines = [line[5:].removeprefix(" ") for line in written if line.startswith("data:")]
        if not lines:
            # A comment keeps the connection busy; what it says is nobody's business.
            return [b":\n\n"] if text.strip() and self._started and not self._finished else []
        if lines == ["[DONE]"]:
            return self._pass_on({}, self._listener.done(), event)
        chunk = self._chunk("\n".join(lines))
        if chunk is None:
            return []
        if self._scrub.found(chunk):
            chunk = self._scrub.clean(chunk)
            named = [line for line in written if line and not line.startswith("data:")]  # clients go by `event:`
            event = "\n".join((*named, f"data: {json.dumps(chunk)}", "", "")).encode()
        self._started = True
        self.model = self.model or named_model(chunk)
        return self._pass_on(chunk, self._listener.hear(chunk), event)

    def _chunk(self, text: str) -> dict[str, Any] | None:
        try:
            chunk = load(text)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            self.fault = Fault(502, "upstream_not_sse", "the provider's stream carries something that is no JSON")
            return None
        if chunk.get("error"):
            self.fault = failed("the provider's stream carries an error")
            return None
        return chunk

    def _pass_on(self, chunk: dict[str, Any], heard: Heard, event: bytes) -> list[bytes]:
        self._output_bytes += sum(len(text.encode("utf-8", "replace")) for text in heard.written)
        self._finished = self._finished or heard.finishing
        self.fault, self.complete = heard.fault, heard.last
        if heard.hidden:
            return []
        waiting = self._assembles(chunk)
        self._held.append(event if heard.told is None else self._scrub.raw(heard.told))
        if waiting or self._finished or self.complete or self.fault is not None:
            return []
        ready, self._held = self._held, []
        return ready

    def _assembles(self, chunk: dict[str, Any]) -> bool:
        """Whether texts that go on from event to event are becoming a secret."""
        secrets = self._scrub.secrets
        if not secrets:
            return False
        keep = max(map(len, secrets)) - 1
        place = tuple(str(chunk.get(name)) for name in ("type", "output_index", "content_index", "index"))
        for path, text in _texts(chunk, place):
            joined = self._tails.get(path, "") + text
            if any(secret in joined for secret in secrets):
                self.fault = Fault(
                    502, "credential_reflected", "the provider's stream repeats the gateway's credential"
                )
            self._tails[path] = joined[-keep:] if keep else ""
        return any(self._scrub.overlap(tail) >= _SHORTEST_HELD for tail in self._tails.values())
