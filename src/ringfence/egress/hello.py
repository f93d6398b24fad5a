"""The first words of a TLS client, read without answering them: for whom the connection is.

Pure. A ClientHello may come in any number of segments and records; what is not one is not guessed at.
The bytes themselves go on unchanged, so TLS stays between the client and its server.
"""

from dataclasses import dataclass

MAX_HELLO = 64 << 10
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ECH, _ESNI = 0x0000, 0xFE0D, 0xFFCE
_LONGEST_RECORD = 16384 + 256
#: A fatal alert "access_denied": clients say it in words instead of "connection closed".
ALERT = b"\x15\x03\x03\x00\x02\x02\x31"


@dataclass(frozen=True, slots=True)
class Hello:
    """What a client said: the name in clear, and whether it hides another one."""

    name: str | None
    encrypted: bool


class NotTls(ValueError):
    """These bytes are no ClientHello, and will not become one."""


def read_hello(received: bytes) -> Hello | None:
    """The hello, or None while there is too little of it. Raises NotTls."""
    message = _handshake(received)
    if message is None:
        if len(received) > MAX_HELLO:
            raise NotTls("a ClientHello that is too long")
        return None
    try:
        return _parse(_Reader(message))
    except IndexError:
        raise NotTls("a ClientHello whose lengths do not add up") from None


def _handshake(received: bytes) -> bytes | None:
    """The body of the first handshake message, gathered from as many records as it takes."""
    at, gathered = 0, b""
    while True:
        head = received[at : at + 5]
        if (head[:1] and head[0] != _HANDSHAKE) or (head[1:2] and head[1] != 3):
            raise NotTls("this is not TLS")
        if len(head) < 5:
            return None
        length = int.from_bytes(head[3:5], "big")
        if not 0 < length <= _LONGEST_RECORD:
            raise NotTls("a record of an impossible length")
        gathered += received[at + 5 : at + 5 + length]
        if gathered[:1] and gathered[0] != _CLIENT_HELLO:
            raise NotTls("the first message is no ClientHello")
        if len(gathered) >= 4:
            end = 4 + int.from_bytes(gathered[1:4], "big")
            if end > MAX_HELLO:
                raise NotTls("a ClientHello that is too long")
            if len(gathered) >= end:
                return gathered[4:end]
        at += 5 + length
        if at > len(received):
            return None


class _Reader:
    """Takes bytes off the front; IndexError when there are too few."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def left(self) -> bool:
        return self._at < len(self._content)

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._content):
            raise IndexError
        self._at += count
        return self._content[self._at - count : self._at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def vector(self, count: int) -> bytes:
        return self.take(self.number(count))


def _parse(reader: _Reader) -> Hello:
    reader.take(2 + 32)  # version and random
    reader.vector(1)  # session
    reader.vector(2)  # cipher suites
    reader.vector(1)  # compression
    if not reader.left():
        return Hello(None, encrypted=False)
    extensions = _Reader(reader.vector(2))
    if reader.left():
        raise NotTls("a ClientHello with something after its end")
    seen: set[int] = set()
    name, encrypted = None, False
    while extensions.left():
        kind, content = extensions.number(2), extensions.vector(2)
        if kind in seen:
            raise NotTls("an extension that stands there twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            name = _server_name(content)
        encrypted = encrypted or kind in (_ECH, _ESNI)
    return Hello(name, encrypted)


def _server_name(content: bytes) -> str:
    """Exactly one name of type host_name; a list of several could mean another one to the server."""
    outer = _Reader(content)
    names = _Reader(outer.vector(2))
    kind, name = names.number(1), names.vector(2)
    if outer.left() or names.left() or kind != 0 or not name:
        raise NotTls("a server name in a form that nobody uses")
    return name.decode("latin-1")
