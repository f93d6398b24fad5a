"""One endpoint of a model provider over HTTP, for every adapter that puts a credential of its own on requests to it.

HTTP/1.1 by h11 over asyncio and the standard library's TLS, with certificates always verified. No
redirect is followed, no proxy is taken from an environment, nothing compressed is asked for, and the only
headers on a request are the ones that the adapter names. Idle connections are kept, so that a turn of an
agent does not pay for a handshake.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import h11

from ringfence.domain.errors import HostFailed, InputError
from ringfence.ports.broker import Secret
from ringfence.ports.model_provider import ProviderAnswer

_CONNECT_SECONDS = 10.0
_LAST_CHUNK_SECONDS = 0.05
_IDLE_SECONDS = 20.0
_MOST_IDLE = 8

Headers = tuple[tuple[str, str], ...]


class ModelEndpoint:
    """A base URL that is asked by POST. `guarded`: a credential travels there, so never in clear text.

    Errors: `InputError` when the endpoint or the certificates (PEM, trusted beside the system's) cannot be used.
    """

    def __init__(self, endpoint: str, *, guarded: bool, authorities: str = "") -> None:
        self._url = _checked(endpoint, guarded=guarded)
        self._tls = _tls(self._url, authorities)
        self._idle: list[tuple[_Link, float]] = []

    @asynccontextmanager
    async def post(self, target: str, headers: Headers, body: bytes) -> AsyncIterator[ProviderAnswer]:
        """Send JSON to a target below the base URL (`/chat/completions`), with these headers beside the plain ones.

        One that has the name of a plain one stands in its place.
        Errors: `HostFailed` when nothing came back.
        """
        link = await self._link()
        try:
            named = {name for name, _ in headers}
            plain = (header for header in self._plain() if header[0] not in named)
            yield await link.exchange(self._url.path + target or "/", (*plain, *headers), body)
            await self._keep(link)
        finally:
            link.drop()

    def address(self, target: str) -> str:
        """The whole URL of a target, as a signature needs it."""
        return f"{self._url.scheme}://{self._url.netloc}{self._url.path}{target}"

    @property
    def host(self) -> str:
        """What stands in the header `host`."""
        return self._url.netloc

    def _plain(self) -> Headers:
        return (
            ("host", self.host),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("accept-encoding", "identity"),
            ("user-agent", "ringfence"),
        )

    async def close(self) -> None:
        """Let go of idle connections."""
        for link, _ in self._idle:
            link.release()
        self._idle.clear()

    async def _link(self) -> "_Link":
        now = asyncio.get_running_loop().time()
        while self._idle:
            link, since = self._idle.pop()
            if now - since < _IDLE_SECONDS and link.take():
                return link
            link.release()
        return await self._connect()

    async def _connect(self) -> "_Link":
        host, port = self._url.hostname or "", self._url.port or (443 if self._tls else 80)
        loop = asyncio.get_running_loop()
        reader = _Reader(loop=loop)
        speaking = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                transport, _ = await loop.create_connection(
                    lambda: speaking, host, port, ssl=self._tls, server_hostname=host if self._tls else None
                )
        except (OSError, UnicodeError) as error:
            raise _failed(f"{host}:{port} cannot be reached: {_why(error)}") from None
        return _Link(reader, asyncio.StreamWriter(transport, speaking, reader, loop))

    async def _keep(self, link: "_Link") -> None:
        """Keep a connection whose answer was read to its end; it may need a moment for its last chunk."""
        if len(self._idle) < _MOST_IDLE and await link.finish():
            self._idle.append((link.leave(), asyncio.get_running_loop().time()))


@dataclass(frozen=True, slots=True)
class _Answer:
    """A provider's answer whose body is still on its way."""

    status: int
    content_type: str
    retry_after: float
    link: "_Link"

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        return self.link.pieces()


class _Reader(asyncio.StreamReader):
    """A reader that counts what came, so that nobody has to wait on an idle connection to know that it is quiet."""

    came = 0
    ended = False

    def feed_data(self, data: Any) -> None:
        """asyncio: bytes came."""
        self.came += len(data)
        super().feed_data(data)

    def feed_eof(self) -> None:
        """asyncio: there will be no more."""
        self.ended = True
        super().feed_eof()


class _Link:
    """One connection; in use, or idle in the provider's hands."""

    def __init__(self, reader: "_Reader", writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self._idle = False
        self._taken = 0  # bytes read of those that came

    def leave(self) -> "_Link":
        """Out of use; `drop` leaves it open. Whatever comes now, an end or a byte, was not asked for."""
        self._idle = True
        return self

    def take(self) -> bool:
        """From idle into use; False when it was closed, or sent something that nobody asked for."""
        self._idle = False
        self._http = h11.Connection(h11.CLIENT)
        quiet = self._reader.came == self._taken and not self._reader.ended
        return quiet and not self._writer.transport.is_closing()

    def drop(self) -> None:
        """Close it, unless it is idle."""
        if not self._idle:
            self.release()

    def release(self) -> None:
        """Close it at once: nothing that is still unsent matters."""
        self._writer.transport.abort()

    async def exchange(self, path: str, headers: Headers, body: bytes) -> _Answer:
        """Send a request and read the head of its answer."""
        request = h11.Request(method="POST", target=path, headers=[*headers, ("content-length", str(len(body)))])
        sent = (self._http.send(request) or b"") + (self._http.send(h11.Data(data=body)) or b"")
        try:
            self._writer.write(sent + (self._http.send(h11.EndOfMessage()) or b""))
            await self._writer.drain()
        except OSError as error:
            raise _failed(f"the request was cut: {_why(error)}") from None
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                return self._answer(event)
            if not isinstance(event, h11.InformationalResponse):
                raise _failed("the connection was closed without an answer")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes, to its end."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise _failed("the answer was cut")

    async def finish(self) -> bool:
        """Whether the answer is over and the connection fit for another one."""
        if self._http.our_state is not h11.DONE or self._http.their_state not in (h11.SEND_BODY, h11.DONE):
            return False
        try:
            async with asyncio.timeout(_LAST_CHUNK_SECONDS):
                while self._http.their_state is h11.SEND_BODY:
                    if not isinstance(await self._next(), h11.EndOfMessage):
                        return False
        except (TimeoutError, HostFailed):
            return False
        # Bytes after the end would be taken for the next request's answer, perhaps another run's.
        return self._http.their_state is h11.DONE and self._http.trailing_data == (b"", False)

    async def _next(self) -> object:
        """h11's next event, when it has enough to make one."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                read = await self._reader.read(1 << 16)
                self._taken += len(read)
                self._http.receive_data(read)
        except (OSError, h11.RemoteProtocolError) as error:
            raise _failed(f"the answer was cut: {_why(error)}") from None
        return event

    def _answer(self, head: h11.Response) -> _Answer:
        headers = {name: value.decode("latin-1").strip() for name, value in head.headers}
        if headers.get(b"content-encoding", "identity") != "identity":
            raise _failed("the answer is compressed, which was not asked for")
        after = headers.get(b"retry-after", "")
        return _Answer(
            status=head.status_code,
            content_type=headers.get(b"content-type", "").split(";")[0].strip().lower(),
            retry_after=float(after) if after.isascii() and after.isdigit() and len(after) < 9 else 0.0,
            link=self,
        )


def _checked(endpoint: str, *, guarded: bool) -> SplitResult:
    """An endpoint that can be asked, taken apart."""
    mend = "write the base URL up to and with the version, for example https://models.example.internal/v1"
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError:
        raise InputError("the endpoint of a model route is no URL", where=endpoint, mend=mend) from None
    plain = url.scheme in ("http", "https") and url.hostname and port != 0
    if not plain or url.username or url.password or url.query or url.fragment or "\\" in endpoint:
        raise InputError("the endpoint of a model route cannot be used", where=endpoint, mend=mend)
    if guarded and url.scheme == "http" and not _loopback(url.hostname or ""):
        raise InputError(
            "a model credential would cross the network in clear", where=endpoint, mend="use https, or no credential"
        )
    return url._replace(path=url.path.rstrip("/"))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(url: SplitResult, authorities: str) -> ssl.SSLContext | None:
    if url.scheme != "https":
        return None
    try:
        context = ssl.create_default_context()
        if authorities:
            context.load_verify_locations(cadata=authorities)
    except (ssl.SSLError, ValueError) as error:
        raise InputError(f"the certificates of a model route cannot be used: {error}", where=url.geturl()) from None
    return context


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def _failed(what: str) -> HostFailed:
    return HostFailed(what, mend="see whether the provider is up, and its endpoint and certificates are right")


def key_of(secret: Secret, *, where: str) -> str:
    """A credential as it may stand in a header. Errors: `InputError` when it cannot."""
    value = secret.reveal()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise InputError(
            "a model credential holds characters that no header may have",
            where=where,
            mend="store the key alone, without quotes, spaces or line ends",
        )
    return value
