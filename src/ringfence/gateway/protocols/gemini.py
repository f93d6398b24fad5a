"""Google's generateContent and streamGenerateContent: the model and the streaming stand in the address."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from ringfence.domain.wires import Wire
from ringfence.gateway.protocols import shape
from ringfence.gateway.protocols.shape import Counted, Heard, Place, Reading
from ringfence.gateway.refusal import Fault, Headers, Refusal, malformed

_PATH = re.compile(r"/v1(?:beta)?/models/([^/?#]{1,600}):(generateContent|streamGenerateContent)")
_CACHED = "kept at the provider, out of this request's sight"
_TOP = shape.Allowed(
    frozenset((
        "contents", "systemInstruction", "system_instruction", "tools", "toolConfig", "tool_config",
        "generationConfig", "generation_config", "safetySettings", "safety_settings",
    )),
    {"cachedContent": _CACHED, "cached_content": _CACHED},
)  # fmt: skip
_CONFIGS = ("generationConfig", "generation_config")
_LIMITS = ("maxOutputTokens", "max_output_tokens")
_CHOICES = ("candidateCount", "candidate_count")
_FUNCTIONS = frozenset(("functionDeclarations", "function_declarations"))
#: Names of what a part may hold. Everything else is fetched (fileData) or is run by the provider (executableCode).
_PARTS = frozenset((
    "text", "thought", "thoughtSignature", "thought_signature", "inlineData", "inline_data", "functionCall",
    "function_call", "functionResponse", "function_response", "videoMetadata", "video_metadata", "partMetadata",
    "mediaResolution",
))  # fmt: skip
_RESPONSES = ("functionResponse", "function_response")
_RESPONSE_FIELDS = frozenset(("id", "name", "response", "parts", "willContinue", "will_continue", "scheduling"))
_INLINE = _PARTS - {"functionCall", "function_call", *_RESPONSES}
_STATUSES = {
    400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


class Gemini:
    """The protocol; see shape.py."""

    name: Wire = "gemini"
    asked_in: Wire = "gemini"

    def place(self, path: str, query: str) -> Place | None:
        """A model's address; a stream as server-sent events alone."""
        match = _PATH.fullmatch(path)
        stream = match is not None and match[2] == "streamGenerateContent"
        if match is None or query != ("alt=sse" if stream else ""):
            return None
        return Place(self, model=unquote(match[1]), stream=stream)

    def model(self, _fields: dict[str, Any], place: Place) -> object:
        """It stands in the address."""
        return place.model

    def read(self, fields: dict[str, Any], place: Place) -> Reading | Refusal:
        """Content that stands in the request; functions that the agent runs."""
        system = [fields[name] for name in ("systemInstruction", "system_instruction") if fields.get(name) is not None]
        problem = _tools(fields.get("tools")) or _contents(fields.get("contents")) or _each(system)
        if problem is not None:
            return problem
        kept = _TOP.kept(fields)
        if isinstance(kept, Refusal):
            return kept
        limits = []
        for config in (name for name in _CONFIGS if name in kept):
            if not isinstance(kept[config], dict):
                return malformed(f"`{config}` must be an object")
            problem = shape.single(kept[config], *_CHOICES) or shape.positive(kept[config], *_LIMITS)
            if problem is not None:
                return problem
            limits += [(config, name) for name in _LIMITS if kept[config].get(name) is not None]
        return Reading(kept, bool(place.stream), tuple(limits))

    def handed_on(self, _headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """None."""
        return ()

    def judge(self, answer: dict[str, Any]) -> Fault | None:
        """Candidates with the reason of their finish, or the reason why the prompt was blocked."""
        return None if _finished(answer) else shape.truncated()

    def usage(self, answer: dict[str, Any]) -> Counted | None:
        """As it stands in `usageMetadata`."""
        return _usage(answer.get("usageMetadata"))

    def told(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Itself."""
        return answer

    def listener(self, _reading: Reading) -> "_Listener":
        """Chunks; the last one has the finish, and then the stream ends."""
        return _Listener()

    def error(self, status: int, code: str, message: str, rule: str) -> bytes:
        """Google's form."""
        return json.dumps(_error(status, code, message, rule)).encode()

    def error_event(self, status: int, code: str, message: str, rule: str) -> bytes:
        """The same as a chunk."""
        return b"data: " + self.error(status, code, message, rule) + b"\r\n\r\n"


def _error(status: int, code: str, message: str, rule: str) -> dict[str, Any]:
    kind = _STATUSES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    known = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": "ringfence"}
    details = [{**known, "metadata": {"rule": rule}}]
    return {"error": {"code": status, "message": message, "status": kind, "details": details}}


def _tools(value: object) -> Refusal | None:
    tools = shape.objects(value, "tools")
    if isinstance(tools, Refusal):
        return tools
    for tool in tools:
        other = sorted(set(tool) - _FUNCTIONS)
        if other:
            return shape.tool_refused(other[0])
    return None


def _contents(contents: object) -> Refusal | None:
    if not isinstance(contents, list) or not contents:
        return malformed("`contents` must be a list with at least one content")
    return _each(contents)


def _each(contents: list[Any]) -> Refusal | None:
    for content in contents:
        parts = shape.at(content, "parts")
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            return malformed("a content must have a list of parts")
        for part in parts:
            other = sorted(set(part) - _PARTS)
            if other or not all(_inline(part[name]) for name in _RESPONSES if part.get(name)):
                return shape.content_refused(other[0] if other else "functionResponse")
    return None


def _inline(response: object) -> bool:
    """Whether a function's response has its own fields alone, and its parts, if there are any, stand in it."""
    if not isinstance(response, dict) or set(response) - _RESPONSE_FIELDS:
        return False
    parts = response.get("parts") or []
    return isinstance(parts, list) and all(isinstance(part, dict) and not set(part) - _INLINE for part in parts)


def _finished(chunk: dict[str, Any]) -> bool:
    candidates = chunk.get("candidates")
    if isinstance(candidates, list) and candidates:
        return all(bool(shape.at(candidate, "finishReason")) for candidate in candidates)
    return bool(shape.at(chunk, "promptFeedback", "blockReason"))


def _usage(value: object) -> Counted | None:
    """Thoughts are counted beside the candidates, cached tokens within the prompt; an empty count is left out."""
    prompt = shape.count(shape.at(value, "promptTokenCount"))
    if prompt is None:
        return None
    counts = {
        name: shape.count(shape.at(value, name)) or 0
        for name in ("candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount", "toolUsePromptTokenCount")
    }
    thoughts = counts["thoughtsTokenCount"]
    cached = min(counts["cachedContentTokenCount"], prompt)
    return Counted(
        prompt + counts["toolUsePromptTokenCount"], counts["candidatesTokenCount"] + thoughts, cached, thoughts
    )


class _Listener:
    """One stream."""

    def __init__(self) -> None:
        self.usage: Counted | None = None
        self._finished = False

    def hear(self, event: dict[str, Any]) -> Heard:
        """A chunk: parts of a candidate, with the usage so far."""
        if not isinstance(event.get("candidates", []), list) or not set(event) & _CHUNK:
            return Heard(fault=shape.not_this_stream("generateContent"))
        self._finished = self._finished or _finished(event)
        if self._finished:
            self.usage = _usage(event.get("usageMetadata")) or self.usage
        return Heard(written=tuple(_written(event)), finishing=self._finished)

    def done(self) -> Heard:
        """No word of this protocol; some endpoints add it."""
        return Heard(last=self._finished, fault=None if self._finished else shape.truncated())

    def over(self) -> bool:
        """The end of the stream is its closing word, after a finish."""
        return self._finished


_CHUNK = frozenset(("candidates", "promptFeedback", "usageMetadata"))


def _written(event: dict[str, Any]) -> Iterator[str]:
    candidates = event.get("candidates")
    for candidate in candidates if isinstance(candidates, list) else ():
        parts = shape.at(candidate, "content", "parts")
        for part in parts if isinstance(parts, list) else ():
            yield from shape.texts_of(part, "text")
            call = shape.at(part, "functionCall")
            if call is not None:
                yield json.dumps(call)


GEMINI = Gemini()
