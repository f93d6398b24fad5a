"""Conversations with hosts whose TLS ends in the proxy, as playbooks: both sides by TLS, and not a single socket."""

import ssl
import time
from dataclasses import replace
from pathlib import Path

import pytest
from world import GOOD, OTHER, POLICY, PUBLIC, certificate

from ringfence.domain.hosts import Credential, HostRule
from ringfence.domain.leaks import Leaks
from ringfence.egress import conversation as c
from ringfence.egress.authority import Authority, outward
from ringfence.egress.door import Door, Holdings, Meter
from ringfence.egress.exchange import Exchange

TOKEN = "rft-7Kq2vXw9LmPz4TbN"
RULE = HostRule(
    "read", GOOD, 443, inspect=True, methods=("GET",), paths=("/x/**",), credential=Credential("t", "bearer")
)
CONNECT = f"CONNECT {GOOD}:443 HTTP/1.1\r\nHost: {GOOD}:443\r\n\r\n".encode()


class End:
    """One end of TLS in memory: bytes in, bytes out, and what it understood."""

    def __init__(self, context: ssl.SSLContext, name: str | None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=name is None, server_hostname=name)
        self.heard = b""

    def take(self, content: bytes, say: bytes = b"") -> bytes:
        """Take bytes; what to send back, after the handshake with `say`."""
        self.incoming.write(content)
        try:
            self.tls.do_handshake()
            while piece := self.tls.read(65536):
                self.heard += piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            return self.outgoing.read()
        if say and self.tls.version():
            self.tls.write(say)
        return self.outgoing.read()


class Play:
    """Both ends of one tunnel, and everything that was commanded."""

    def __init__(self, folder: Path, *rules: HostRule, trusted: bool = True, names: tuple[str, ...] = (GOOD,)) -> None:
        authority, chain = certificate(folder, names)
        if not trusted:
            (folder / "other").mkdir()
            authority, _ = certificate(folder / "other", names)
        self.authority = Authority(time.time(), 600.0)
        inside = ssl.create_default_context(cadata=self.authority.certificate)
        at_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        at_server.load_cert_chain(chain)
        self.client, self.server = End(inside, GOOD), End(at_server, None)
        holdings = Holdings(outward(authority.read_text()), {"t": TOKEN}, Leaks({"t": TOKEN.encode()}))
        policy = replace(POLICY, rules=rules or (RULE,))
        self.told: list[str] = []
        self.door = Door(policy, Meter(9, 1 << 20, 1 << 20), self.told.append, holdings, self.authority)
        self.commands: list[c.Command] = []

    def run(self, request: bytes, answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") -> None:
        steps = Exchange(self.door, lambda: 0.0).run()
        connect, waiting, back, answered, asked = [CONNECT], b"", b"", 0, False
        try:
            command = next(steps)
            while True:
                self.commands.append(command)
                reply: c.Reply = c.Left()
                match command:
                    case c.Record():
                        reply = c.Acknowledged(True)
                    case c.Look():
                        reply = c.Found((PUBLIC,))
                    case c.Dial():
                        reply = c.Connected(PUBLIC)
                    case c.LookThrough():
                        found = command.scanner.feed(command.content)
                        reply = c.Seen(command.scanner.finish() if command.final else found)
                    case c.Say():
                        reply = c.Went()
                        waiting += b"" if command.content.startswith(b"HTTP/1.1 ") else command.content
                    case c.Hear():
                        if connect:
                            reply = c.Piece(connect.pop())
                        else:
                            content = self.client.take(waiting, b"" if asked else request)
                            waiting, asked = b"", asked or (self.client.tls.version() is not None and bool(content))
                            reply = c.Piece(content) if content else c.Left()
                    case c.SayServer():
                        reply = c.Went()
                        back += self.server.take(command.content)
                        while answered < self.server.heard.count(b"\r\n\r\n"):
                            answered, back = answered + 1, back + self.server.take(b"", answer)
                    case c.HearServer():
                        reply, back = (c.Piece(back) if back else c.TimedOut()), b""
                command = steps.send(reply)
        except StopIteration:
            self.client.take(waiting)

    def records(self) -> list[tuple[str, str, str]]:
        found = [command.attempt for command in self.commands if isinstance(command, c.Record)]
        return [(one.moment, one.method, one.rule) for one in found]


def test_the_way_of_one_inspected_request(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.run(f"GET /x/y HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode())
    assert play.records() == [
        ("asked", "CONNECT", "read"),
        ("asked", "GET", "read"),
        ("ended", "GET", "read"),
        ("ended", "CONNECT", "read"),
    ]
    assert play.server.heard.startswith(b"GET /x/y HTTP/1.1\r\n")
    assert f"authorization: Bearer {TOKEN}".encode() in play.server.heard
    assert play.client.heard.endswith(b"ok")
    assert TOKEN.encode() not in play.client.heard


def test_the_server_is_asked_nothing_before_it_is_on_record(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.run(f"GET /x/y HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode())
    kinds = [type(command).__name__ for command in play.commands]
    asked = [n for n, command in enumerate(play.commands) if isinstance(command, c.Record)]
    looked = kinds.index("LookThrough")
    said = [n for n, kind in enumerate(kinds) if kind == "SayServer"]
    assert asked[1] < looked < said[-1], "recorded, looked through, and only then said"


@pytest.mark.parametrize(
    ("request_", "rule"),
    [
        (f"POST /x/y HTTP/1.1\r\nHost: {GOOD}\r\ncontent-length: 0\r\n\r\n", "read"),
        (f"GET /z HTTP/1.1\r\nHost: {GOOD}\r\n\r\n", "read"),
        (f"GET /x/../z HTTP/1.1\r\nHost: {GOOD}\r\n\r\n", "network.path"),
        (f"GET /x/y HTTP/1.1\r\nHost: {OTHER}\r\n\r\n", "network.request"),
        ("GET /x/y HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "network.request"),
        (f"GET https://{GOOD}/x/y HTTP/1.1\r\nHost: {GOOD}\r\n\r\n", "network.request"),
        (f"GET /x/y HTTP/1.0\r\nHost: {GOOD}\r\n\r\n", "network.request"),
        ("\x16\x03\x01 no request\r\n\r\n", "network.request"),
        (f"GET /x/y HTTP/1.1\r\nHost: {GOOD}\r\nX-A: {TOKEN}\r\n\r\n", "network.content_scan"),
        (f"GET /x/y HTTP/1.1\r\nHost: {GOOD}\r\nAuthorization: Bearer z\r\n\r\n", "network.credential"),
    ],
)
def test_what_is_denied_inside_a_tunnel_says_nothing_to_the_server(tmp_path: Path, request_: str, rule: str) -> None:
    play = Play(tmp_path)
    play.run(request_.encode("latin-1"))
    assert play.server.heard == b""
    assert [rule_ for moment, _, rule_ in play.records() if moment == "denied"] in ([rule], ["network.host"])
    assert play.client.heard[:12] in (b"HTTP/1.1 403", b"HTTP/1.1 400")
    assert play.told == (["leak"] if rule == "network.content_scan" else [])


@pytest.mark.parametrize("wrong", [{"trusted": False}, {"names": (OTHER,)}])
def test_a_server_whose_certificate_does_not_hold_hears_nothing(tmp_path: Path, wrong: dict[str, object]) -> None:
    play = Play(tmp_path, **wrong)  # type: ignore[arg-type]
    play.run(f"GET /x/y HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode())
    assert play.server.heard == b""
    assert play.records()[-1] == ("denied", "CONNECT", "network.certificate")
    assert play.client.heard.startswith(b"HTTP/1.1 403")


def test_two_requests_go_over_one_connection_to_the_server(tmp_path: Path) -> None:
    play = Play(tmp_path)
    one = f"GET /x/1 HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode()
    play.run(one + one.replace(b"/x/1", b"/x/2"), b"HTTP/1.1 204 No Content\r\n\r\n")
    assert play.server.heard.count(b"GET /x/") == 2
    assert sum(isinstance(command, c.Dial) for command in play.commands) == 1


def test_an_answer_that_nobody_asked_for_is_not_the_answer_to_the_next_request(tmp_path: Path) -> None:
    play = Play(tmp_path)
    one = f"GET /x/1 HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode()
    play.run(one + one.replace(b"/x/1", b"/x/2"), b"HTTP/1.1 204 No Content\r\n\r\n" * 2)
    assert play.server.heard.count(b"GET /x/") == 1
    assert play.client.heard.count(b"HTTP/1.1 ") == 1
