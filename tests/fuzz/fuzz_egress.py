"""A whole connection at the egress proxy, with OpenSSL, urllib and a strict reader of HTTP as second opinions.

Input: two bytes that say how the world behaves, what the sandbox sends, and after a line of its own (`~~`) what the
server answers.
"""

import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import fuzz_hosts
from hypothesis import strategies as st

from ringfence.egress import conversation as c
from ringfence.egress.door import Door, Meter
from ringfence.egress.exchange import Exchange
from ringfence.ports.egress import EgressPolicy

SEPARATOR = b"\n~~\n"
POLICY = EgressPolicy(
    run="run-1", door="setup@1", role="setup", phase="setup", command="install", rules=fuzz_hosts.RULES,
    requests=50, sent=1 << 20, received=1 << 20, longest=60.0, idle_timeout=20.0,
)  # fmt: skip
PLACES = (("203.0.113.9",), ("10.1.2.3",), ("203.0.113.9", "127.0.0.1"), ("2001:db8::9", "203.0.113.9"), ())
SIZES = (1 << 16, 1, 2, 3, 7, 50, 500)
#: What must not travel on from a request to a server.
PRIVATE_HEADERS = (b"proxy-", b"keep-alive", b"upgrade", b"te", b"trailer", b"expect", b"http2-settings")


@dataclass
class World:
    """Plays the sandbox, the worker and the server, and watches."""

    sent: bytes
    answer: bytes
    size: int
    found: tuple[str, ...]
    records: bool
    at: int = 0
    asked: tuple[str, int] | None = None
    dialled: tuple[str, int] | None = None
    trips: int = 0
    answered: bool = False
    server: bytes = b""
    requests: list[bytes] = field(default_factory=list)

    def reply(self, command: c.Command) -> c.Reply:
        """What comes of a command."""
        match command:
            case c.Hear():
                piece, self.at = self.sent[self.at : self.at + self.size], self.at + self.size
                return c.Piece(piece) if piece else c.Left()
            case c.Record():
                return self._record(command)
            case c.Look():
                assert self.asked and command.host == self.asked[0] and self.records, (
                    "looked up before it was on record"
                )
                return c.Found(self.found)
            case c.Dial():
                return self._dial(command)
            case c.Relay():
                return self._relay(command)
            case c.SayServer():
                assert self.dialled is not None, "sent to nobody"
                self.server += command.content
                return c.Went()
            case c.HearServer():
                first, self.answered = not self.answered, True
                return c.Piece(self.answer if first else b"")
            case _:
                return c.Went()

    def _record(self, command: c.Record) -> c.Reply:
        attempt = command.attempt
        if attempt.moment == "asked":
            assert fuzz_hosts.is_listed(attempt.host, attempt.port), f"{attempt.host}:{attempt.port} is not listed"
            self._require_same_reading(attempt.host, attempt.port)
            self._close_request()
            self.asked, self.trips, self.answered = (attempt.host, attempt.port), self.trips + 1, False
        return c.Acknowledged(self.records)

    def _require_same_reading(self, host: str, port: int) -> None:
        """The first request, as the standard library would take it apart."""
        if self.trips:
            return
        words = self.sent.lstrip(b"\r\n").split(b"\n", 1)[0].split(b" ")
        target = words[1].decode("latin-1")
        parts = urlsplit(f"//{target}" if words[0] == b"CONNECT" else target)
        assert (parts.hostname, parts.port or 80) == (host, port), (target, host, port)

    def _dial(self, command: c.Dial) -> c.Reply:
        assert self.asked is not None and command.port == self.asked[1]
        assert command.addresses == self.found, "connects to what was not looked up"
        assert all(fuzz_hosts.is_outside(address) for address in command.addresses), command.addresses
        self.dialled = self.asked
        return c.Connected(command.addresses[0])

    def _relay(self, command: c.Relay) -> c.Reply:
        assert self.dialled is not None
        seen = names_by_openssl(command.first)
        assert all(name is not None and name.lower() == self.dialled[0] for name in seen), (seen, self.dialled)
        return c.Relayed(len(command.first), 9, "")

    def _close_request(self) -> None:
        if self.server:
            self.requests.append(self.server)
        self.server = b""

    def end(self) -> None:
        """What reached servers, read strictly: one request each, to whom it was allowed."""
        self._close_request()
        for request in self.requests:
            head, whole, body = request.partition(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            assert whole and first.split(b" ")[1].startswith(b"/") and first.endswith(b" HTTP/1.1"), first
            headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
            hosts = [value.decode() for name, value in headers if name == b"host"]
            assert len(hosts) == 1 and (hosts[0].partition(":")[0], int(hosts[0].partition(":")[2] or 80)) in (
                fuzz_hosts.LISTED
            ), hosts
            assert not [name for name, _ in headers if name.startswith(PRIVATE_HEADERS[:1]) or name in PRIVATE_HEADERS]
            assert [value for name, value in headers if name == b"connection"] == [b"close"]
            _require_one(headers, body)


def _require_one(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """The body is no longer than the headers say: nothing of a second request."""
    lengths = [value for name, value in headers if name == b"content-length"]
    chunked = [value for name, value in headers if name == b"transfer-encoding"]
    assert len(lengths) + len(chunked) < 2, "two lengths"
    if not chunked:
        assert len(body) <= int(lengths[0] if lengths else 0), "more than was announced"
        return
    assert chunked == [b"chunked"], chunked
    while body:
        size, _, rest = body.partition(b"\r\n")
        count = int(size, 16)
        assert rest[count : count + 2] in (b"\r\n", b""), "a chunk that does not end"
        body = rest[count + 2 :]
        assert count or not body, "something after the last chunk"


def names_by_openssl(first: bytes) -> list[str | None]:
    """The server name that OpenSSL reads from these bytes; nothing when it takes them for no hello."""
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    incoming = ssl.MemoryBIO()
    incoming.write(first)
    with suppress(ssl.SSLError, ValueError):
        context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True).do_handshake()
    return names


def judge(content: bytes) -> None:
    """One connection; an assertion that fails is a wrong answer."""
    behaviour, content = content[:2].ljust(2, b"\0"), content[2:]
    sent, _, answer = content.partition(SEPARATOR)
    world = World(
        sent, answer, SIZES[behaviour[0] % len(SIZES)], PLACES[behaviour[1] % len(PLACES)], behaviour[1] < 0xF0
    )
    meter = Meter(POLICY.requests, POLICY.sent, POLICY.received)
    steps = Exchange(Door(POLICY, meter, lambda _code: None), lambda: 0.0).run()
    try:
        command = next(steps)
        while True:
            command = steps.send(world.reply(command))
    except StopIteration:
        world.end()


def hello(name: str) -> bytes:
    """What a client of TLS says first."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
GOOD = "packages.example.internal"


def _requests() -> list[bytes]:
    said = hello(GOOD)
    return [
        f"CONNECT {GOOD}:443 HTTP/1.1\r\nHost: {GOOD}:443\r\n\r\n".encode() + said,
        f"CONNECT {GOOD}:443 HTTP/1.0\r\n\r\n".encode() + said,
        f"CONNECT {GOOD}:443 HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode() + hello("other.example.internal"),
        f"GET http://{GOOD}/x?y HTTP/1.1\r\nHost: {GOOD}\r\n\r\n"
        f"GET http://{GOOD}:80/z HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
        f"POST http://{GOOD}/x HTTP/1.1\r\nHost: {GOOD}\r\nContent-Length: 5\r\nConnection: x-a, close\r\nX-A: 1\r\n"
        "\r\nhello".encode(),
        f"PUT http://{GOOD}/x HTTP/1.1\r\nHost: {GOOD}\r\nTransfer-Encoding: chunked\r\nUpgrade: websocket\r\n\r\n"
        "5\r\nhello\r\n0\r\nX: y\r\n\r\n".encode(),
        b"GET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n",
        b"CONNECT db.example.internal:8080 HTTP/1.1\r\nHost: db.example.internal:8080\r\n\r\n",
        f"GET http://a@{GOOD}#@db.example.internal:8080/ HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode(),
    ]  # fmt: skip


def seeds() -> Iterator[bytes]:
    """Where a fuzzer begins."""
    for request in _requests():
        yield b"\0\0" + request + SEPARATOR + OK
    yield (
        b"\0\0"
        + _requests()[3]
        + SEPARATOR
        + b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\n"
        + (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    )


def inputs() -> st.SearchStrategy[bytes]:
    """Inputs for hypothesis: requests put together from parts that are right, nearly right and wrong."""
    name = st.sampled_from(
        [GOOD, GOOD.upper(), "a.cdn.example.internal", "db.example.internal", "10.0.0.1", GOOD + "."]
    )
    odd = st.sampled_from(["", "@", "#", "\\", "?", "//", " ", "\t", "\x00", "%00", ":80", ":443", ":0443", ":8080"])
    host = st.tuples(odd, name, odd, odd | name).map("".join) | st.tuples(name, odd).map("".join) | name
    method = st.sampled_from(["CONNECT", "GET", "POST", "HEAD", "PRI", "get"])
    target = st.tuples(st.sampled_from(["http://", "", "https://", "HTTP://"]), host, odd, st.text(max_size=4))
    header = st.tuples(
        st.sampled_from(
            ["Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "X"]
        ),
        host
        | st.sampled_from(["5", "0", "chunked", "identity", "close", "x-a, host", "websocket", "100-continue", "+5"]),
    )
    version = st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0"])
    ends = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r"])

    def request(made: tuple[str, tuple[str, ...], str, list[tuple[str, str]], str]) -> bytes:
        method_, target_, version_, headers, end = made
        lines = [f"{method_} {''.join(target_)} {version_}", *(f"{key}: {value}" for key, value in headers), "", ""]
        return end.join(lines).encode("utf-8", "surrogateescape")

    part = (
        st.tuples(method, target, version, st.lists(header, max_size=4), ends).map(request)
        | st.sampled_from(_requests())
        | st.binary(max_size=40)
        | _broken_hello()
    )
    return st.tuples(st.binary(min_size=2, max_size=2), st.lists(part, max_size=3), st.just(OK) | st.binary()).map(
        lambda made: made[0] + b"".join(made[1]) + SEPARATOR + made[2]
    )


def _broken_hello() -> st.SearchStrategy[bytes]:
    base = _requests()[0]
    begin = base.index(b"\r\n\r\n") + 4
    return st.tuples(st.integers(begin, len(base) - 1), st.binary(max_size=6)).map(
        lambda made: base[: made[0]] + made[1] + base[made[0] + len(made[1]) :]
    )
