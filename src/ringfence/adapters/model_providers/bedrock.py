"""AWS Bedrock: Anthropic's models by InvokeModel, with each request signed (SigV4).

Its streams come as binary frames with checksums, an event of the Messages protocol in each; what is in them
is handed on as the server-sent events that agents expect. Signing and frames are botocore's: of it only the
modules for these two are imported, and only by a gateway that has such a route.
"""

import base64
import json
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.eventstream import EventStreamBuffer, EventStreamMessage, ParserError

from ringfence.child.model_endpoint import ModelEndpoint
from ringfence.domain.errors import HostFailed, InputError
from ringfence.ports.broker import Secret
from ringfence.ports.model_provider import ProviderAnswer, ProviderRequest

_VERSION = "bedrock-2023-05-31"
_FRAMES = "application/vnd.amazon.eventstream"
_MAX_FRAME = 6 << 20  # an event may have 4 MiB, and is a third larger in its frame
_WORD = re.compile(r"[A-Za-z_.]{1,64}")
_KEYS = {"AccessKeyId": True, "SecretAccessKey": True, "SessionToken": False, "Expiration": False}
_KEY = re.compile(r"[A-Za-z0-9/+=_.:-]{1,4096}")


class BedrockProvider:
    """One region with its keys."""

    kind = "bedrock"
    replayed = False

    def __init__(self, endpoint: str, secret: Secret | None, *, region: str, authorities: str = "") -> None:
        self._endpoint = ModelEndpoint(endpoint, guarded=True, authorities=authorities)
        self._keys = _keys(secret, where=endpoint)
        self._region = region
        self.derived = tuple(value for value in (self._keys.secret_key, self._keys.token) if value)

    @asynccontextmanager
    async def ask(self, request: ProviderRequest) -> AsyncIterator[ProviderAnswer]:
        """Send a request; see ports/model_provider.py."""
        method = "invoke-with-response-stream" if request.stream else "invoke"
        target, body = f"/model/{quote(request.model, safe='')}/{method}", _body(request)
        async with self._endpoint.post(target, self._signed(target, body), body) as answer:
            yield _Unframed(answer) if answer.content_type == _FRAMES and answer.status == 200 else answer

    async def close(self) -> None:
        """Let go of idle connections."""
        await self._endpoint.close()

    def _signed(self, target: str, body: bytes) -> tuple[tuple[str, str], ...]:
        """The headers with the signature over them, the target and the body."""
        headers = {"host": self._endpoint.host, "content-type": "application/json", "accept": "application/json"}
        request = AWSRequest(method="POST", url=self._endpoint.address(target), headers=headers, data=body)
        SigV4Auth(self._keys, "bedrock", self._region).add_auth(request)
        return tuple((name.lower(), value) for name, value in request.headers.items())


@dataclass(frozen=True, slots=True)
class _Keys:
    """As botocore reads them."""

    access_key: str
    secret_key: str
    token: str | None


def _keys(secret: Secret | None, *, where: str) -> _Keys:
    """The keys in the form that AWS's own programs pass them on in (`credential_process`)."""
    told: Any = None
    with suppress(ValueError, RecursionError):  # what is no JSON is as if it were not there
        told = json.loads(secret.reveal()) if secret is not None else None
    known = isinstance(told, dict) and not set(told) - {"Version", *_KEYS} and told.get("Version", 1) == 1
    if not known or not all(_sound(told.get(name), needed=needed) for name, needed in _KEYS.items()):
        raise InputError(
            "the credential of a Bedrock route cannot be read",
            where=where,
            mend='store {"Version": 1, "AccessKeyId": "…", "SecretAccessKey": "…"} and any "SessionToken"',
        )
    return _Keys(told["AccessKeyId"], told["SecretAccessKey"], told.get("SessionToken"))


def _sound(value: object, *, needed: bool) -> bool:
    return not needed if value is None else isinstance(value, str) and _KEY.fullmatch(value) is not None


def _body(request: ProviderRequest) -> bytes:
    """The agent's request without what stands in the address, with the version and beta features that do not."""
    fields = json.loads(request.body)
    fields = {name: value for name, value in fields.items() if name not in ("model", "stream")}
    beta = [word.strip() for name, value in request.headers if name == "anthropic-beta" for word in value.split(",")]
    fields = {"anthropic_version": _VERSION, **({"anthropic_beta": beta} if beta else {}), **fields}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


class _Unframed:
    """An answer in frames, as the server-sent events that are in them."""

    content_type = "text/event-stream"

    def __init__(self, answer: ProviderAnswer) -> None:
        self.status = answer.status
        self.retry_after = answer.retry_after
        self._answer = answer

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Errors: `HostFailed` when it is cut, or is not what it says."""
        frames, waiting = EventStreamBuffer(), 0
        async for piece in self._answer.pieces():
            frames.add_data(piece)
            waiting += len(piece)
            while (frame := _next(frames)) is not None:
                waiting -= frame.prelude.total_length
                event = _event(frame)
                if event:
                    yield event
            if waiting > _MAX_FRAME:
                raise _broken("a frame of the stream has no end")
        if waiting:
            raise _broken("the stream was cut in the middle of a frame")


def _next(frames: EventStreamBuffer) -> EventStreamMessage | None:
    """The next whole frame, once it is there."""
    try:
        return next(frames, None)
    except (ParserError, struct.error, ValueError, LookupError) as error:
        raise _broken(f"a frame of the stream is broken: {type(error).__name__}") from None


def _event(frame: EventStreamMessage) -> bytes:
    """The event in a frame; a frame that says that something failed becomes the event that says so."""
    kind, headers = frame.headers.get(":message-type"), frame.headers
    if kind == "event":
        return _chunk(frame.payload) if headers.get(":event-type") == "chunk" else b""
    name = headers.get(":exception-type" if kind == "exception" else ":error-code")
    word = name if isinstance(name, str) and _WORD.fullmatch(name) else "api_error"
    said = {"type": "error", "error": {"type": word, "message": "the provider's stream was ended by an exception"}}
    return b"event: error\ndata: " + json.dumps(said).encode() + b"\n\n"


def _chunk(payload: bytes) -> bytes:
    """The event in the payload of a frame, as it was written there."""
    try:
        content = base64.b64decode(json.loads(payload)["bytes"], validate=True)
        event = json.loads(content)
        kind = event["type"]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise _broken("a frame of the stream holds no event") from None
    if not isinstance(kind, str) or not _WORD.fullmatch(kind):
        raise _broken("an event of the stream has no name")
    line = content if not {10, 13} & set(content) else json.dumps(event).encode()
    return b"event: " + kind.encode() + b"\ndata: " + line + b"\n\n"


def _broken(what: str) -> HostFailed:
    return HostFailed(what, mend="see whether the endpoint of the route is Bedrock's")
