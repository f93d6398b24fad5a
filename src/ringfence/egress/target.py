"""Where a request wants to go: its target and its Host header, taken apart and required to agree.

Pure. What two readers could read differently is refused: user information, fragments, a second Host, a
scheme in capitals, a port with a sign. Whether the destination is allowed is not decided here.
"""

import re
from dataclasses import dataclass

from ringfence.domain.decision import Deny, Reason, Source
from ringfence.domain.hosts import name_fault, shown

MAX_TARGET = 8 << 10
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_HOP_BY_HOP = frozenset((
    b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"te",
    b"trailer", b"upgrade", b"http2-settings", b"expect",
))  # fmt: skip

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Head:
    """The first part of a request; header names are in lower case."""

    method: bytes
    target: bytes
    version: bytes
    headers: tuple[tuple[bytes, bytes], ...]

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header."""
        return [value.strip() for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class Target:
    """One destination. `path` is empty for a tunnel, as it is unknown."""

    host: str
    port: int
    method: str
    path: str = ""
    secure: bool = False  # inside a tunnel whose TLS ends here

    @property
    def authority(self) -> str:
        """The host as a Host header names it."""
        return self.host if self.port == (443 if self.secure else 80) else f"{self.host}:{self.port}"

    @property
    def recorded_path(self) -> str:
        """The path without its query, which holds what nobody should read, and not at any length."""
        return self.path.partition("?")[0][:500]


def read_target(head: Head) -> Target | Deny:
    """The destination of a request, or why it has none that could be judged."""
    # Python's own client asks for a tunnel in HTTP/1.0, and without a Host header.
    if head.version != b"1.1" and (head.version, head.method) != (b"1.0", b"CONNECT"):
        return _malformed("HTTP/1.1 is spoken here")
    if len(head.target) > MAX_TARGET:
        return _malformed("the target is too long")
    text = head.target.decode("latin-1")
    target = _tunnel(text) if head.method == b"CONNECT" else _plain(text, head.method.decode("latin-1"))
    if isinstance(target, Deny):
        return target
    return _disagreement(head, target) or _oddity(head) or target


def read_inside(head: Head, tunnel: Target) -> Target | Deny:
    """What a request inside a tunnel asks for: of the very host that the tunnel and its TLS are for."""
    text = head.target.decode("latin-1")
    if head.version != b"1.1":
        return _malformed("HTTP/1.1 is spoken here")
    if head.method == b"CONNECT" or not text.startswith("/") or len(text) > MAX_TARGET:
        return _malformed("inside a tunnel the target is a path")
    target = Target(tunnel.host, tunnel.port, head.method.decode("latin-1"), text, secure=True)
    if head.values(b"upgrade"):
        return _malformed("no other protocol is switched to here")
    return _disagreement(head, target) or _oddity(head) or target


def _tunnel(text: str) -> Target | Deny:
    host, colon, port = text.rpartition(":")
    number = _port(port)
    if not colon or number is None:
        return _malformed(f"CONNECT takes a name and a port, not {shown(text)}")
    fault = name_fault(host)
    return _malformed(f"{shown(host)} is refused: {fault}") if fault else Target(host.lower(), number, "CONNECT")


def _plain(text: str, method: str) -> Target | Deny:
    if text.startswith("https://"):
        return _malformed("https goes through CONNECT, so that it stays encrypted")
    if not text.startswith("http://"):
        return _malformed("this is a proxy: the target must be an absolute http:// address")
    authority, slash, path = text.removeprefix("http://").partition("/")
    if "#" in text or "\\" in text or "?" in authority:
        return _malformed("a target in a form that two readers read differently")
    host, colon, port = authority.partition(":")
    number = _port(port) if colon else 80
    fault = name_fault(host)
    if fault or number is None:
        return _malformed(f"{shown(authority)} is refused: {fault or 'its port does not exist'}")
    return Target(host.lower(), number, method, slash + path or "/")


def _disagreement(head: Head, target: Target) -> Deny | None:
    """The Host header names the same host and, where it names one, the same port."""
    named = head.values(b"host")
    if not named and head.version == b"1.0":
        return None
    if len(named) != 1:
        return _malformed("there must be one Host header")
    host, colon, port = named[0].decode("latin-1").partition(":")
    if host.lower() != target.host or (colon and _port(port) != target.port):
        detail = f"the Host header says {shown(named[0].decode('latin-1'))}, the target {target.host}:{target.port}"
        return Deny("network.host", Reason.MALFORMED, Source.EGRESS, detail)
    if not colon and target.method != "CONNECT" and target.port != (443 if target.secure else 80):
        return _malformed("the Host header lacks the port of the target")
    return None


def _oddity(head: Head) -> Deny | None:
    """What would make the two sides disagree about where a request ends, or about what is spoken."""
    framed = [name for name, _ in head.headers if name in (b"content-length", b"transfer-encoding")]
    if len(framed) > 1:
        return _malformed("a request must say its length once")
    if head.method == b"CONNECT" and framed:
        return _malformed("CONNECT has no body")
    if any(b"websocket" in value.lower() for value in head.values(b"upgrade")):
        return _malformed("no other protocol is switched to here")
    return None


def _port(text: str) -> int | None:
    number = int(text) if _PORT.fullmatch(text) else 0
    return number if 0 < number < 65536 else None


def _malformed(detail: str) -> Deny:
    return Deny("network.request", Reason.MALFORMED, Source.EGRESS, detail)


def outbound(head: Head, target: Target) -> Headers:
    """The headers for the server: what speaks to a proxy is left here. A plain connection ends with the answer."""
    kept = [(name, value) for name, value in passing(head.headers) if name != b"host"]
    end = [] if target.secure else [(b"connection", b"close")]
    return [(b"host", target.authority.encode()), *kept, *end]


def inbound(headers: Headers, *, last: bool = False) -> Headers:
    """The headers of an answer; how it is framed towards the client is decided anew. `last`: say that it ends here."""
    chunked = any(name == b"transfer-encoding" for name, _ in headers)
    framing = (b"transfer-encoding", b"content-length") if chunked else (b"transfer-encoding",)
    kept = [(name, value) for name, value in passing(tuple(headers)) if name not in framing]
    return [*kept, (b"connection", b"close")] if last else kept


def passing(headers: tuple[tuple[bytes, bytes], ...]) -> Headers:
    """Headers that are for the other end: none of this connection's, nor those that it names."""
    named = {word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")} - {
        b"content-length",
        b"transfer-encoding",
        b"host",
    }
    return [(name, value) for name, value in headers if name not in _HOP_BY_HOP and name not in named]
