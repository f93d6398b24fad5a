"""What stands before every request: the right Host, a body of sane size, and headers that keep a browser calm."""

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ringfence.web.host.layout import RESERVED

BODY_LIMIT = 1 << 20
#: No script runs on these pages, none of ours and none of anybody's; nothing is loaded from elsewhere.
POLICY = (
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; img-src 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer" a browser would send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def origins_of(url: str) -> frozenset[str]:
    """The origins under which a host at `url` may be spoken to: for loopback, by each of its names."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    names = {f"{parts.hostname}"}
    if parts.hostname in ("127.0.0.1", "localhost", "::1"):
        names |= {"127.0.0.1", "localhost", "[::1]"}
    return frozenset(f"{parts.scheme}://{name}{port}" for name in names)


def is_git_path(path: str) -> bool:
    """The path is one of git's: `/owner/name.git/…`."""
    parts = path.split("/")
    return len(parts) > 3 and parts[2].endswith(".git") and parts[1] not in RESERVED


class Guard:
    """ASGI middleware around the whole host. `origins` are its own; every other Host is refused (DNS rebinding)."""

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        self._app = app
        self._hosts = frozenset(urlsplit(origin).netloc for origin in origins)
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with a counted body and with our headers on the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refusal(headers)
        if refused is not None:
            await JSONResponse({"message": refused}, 421)(scope, receive, send)
            return
        is_git = is_git_path(scope["path"])
        if not is_git and _stated_length(headers) > BODY_LIMIT:
            await JSONResponse({"message": f"the body is larger than {BODY_LIMIT} bytes"}, 413)(scope, receive, send)
            return
        await self._app(scope, receive if is_git else _counted(receive), _with_headers(send))

    def _refusal(self, headers: Headers) -> str | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return "this host is not spoken to by that name"
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self._origins:
            return "requests from other sites are not taken"
        return None


def _stated_length(headers: Headers) -> int:
    stated = headers.get("content-length", "0")
    return int(stated) if stated.isdecimal() else 0


def _counted(receive: Receive) -> Receive:
    """A body without a stated length is cut off where it is too long: the request counts as broken off."""
    total = 0

    async def counting() -> MutableMapping[str, Any]:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > BODY_LIMIT:
            raise ClientDisconnect
        return message

    return counting


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending
