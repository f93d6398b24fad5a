"""The egress proxy by the real thing: its process, real sockets, in a network where everything forbidden answers.

Attack ids (D…) are those of the threat catalogue. No trap is ever connected to: the fixture asserts it after
each test. What is denied is on record with its rule before the sandbox reads the refusal.
"""

import os
import signal
import socket
import ssl
import threading
import time
from dataclasses import replace

import pytest
from world import GOOD, METADATA, OTHER, POLICY, PRIVATE, PUBLIC, TRAPS, TRAPS_6, Client, World, client, everything

from ringfence.domain.errors import ControlMissing
from ringfence.domain.hosts import HostRule
from waiting import until

OTHER_RUN = replace(POLICY, run="run-2", door="setup@9")


def test_an_allowed_host_is_reached_by_tls_from_end_to_end(door: Client, network: World) -> None:
    assert door.fetch().endswith(b"hello")
    assert [(one.address, one.name) for one in network.served] == [(PUBLIC, GOOD)]
    until(lambda: len(network.attempts) >= 2)
    asked, ended = network.attempts
    assert (asked.moment, asked.host, asked.address) == ("asked", GOOD, "")
    assert (ended.moment, ended.decision, ended.rule, ended.address) == ("ended", "allow", "good", PUBLIC)
    assert ended.sent > 200 and ended.received > 500 and ended.seconds > 0
    assert (ended.run, ended.role, ended.phase, ended.command) == ("run-1", "setup", "setup", "install")
    assert door.door.denied() is None


def test_a_wildcard_covers_one_label(door: Client, network: World) -> None:
    assert door.fetch("a.cdn.example.internal").endswith(b"hello")
    assert b"403" in door.refused("a.b.cdn.example.internal")
    assert b"403" in door.refused("cdn.example.internal")


def test_a_plain_request_is_passed_on_without_what_is_for_the_proxy(door: Client, network: World) -> None:
    answer = door.plain(headers="Proxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\nX-A: b\r\n")
    assert answer.endswith(b"\r\n\r\nhello")
    (seen,) = network.served
    assert seen.content.startswith(b"GET /x HTTP/1.1\r\n")
    assert b"proxy" not in seen.content.lower()
    assert b"x-a: b\r\n" in seen.content.lower()
    assert (network.only.method, network.only.path, network.only.status) == ("GET", "/x", 200)


def test_a_query_is_passed_on_and_not_recorded(door: Client, network: World) -> None:
    door.plain(f"http://{GOOD}/x?secret=1")
    assert network.served[0].content.startswith(b"GET /x?secret=1 ")
    assert network.only.path == "/x"


def test_several_plain_requests_share_a_connection(door: Client, network: World) -> None:
    one = f"GET http://{GOOD}/%d HTTP/1.1\r\nHost: {GOOD}\r\n\r\n"
    with door.connect() as sock:
        sock.sendall(((one % 1) + (one % 2)).encode())
        received = b""
        while received.count(b"hello") < 2:
            piece = sock.recv(65536)
            assert piece, received
            received += piece
    assert [seen.content.split()[1] for seen in network.served] == [b"/1", b"/2"]


def test_an_unlisted_host_is_denied_and_recorded_with_its_rule(door: Client, network: World) -> None:
    said = door.refused(OTHER)
    assert said.startswith(b"HTTP/1.1 403 ")
    assert b"x-ringfence-rule: network.setup" in said
    assert (network.only.decision, network.only.rule, network.only.host) == ("deny", "network.setup", OTHER)
    assert "not_listed" in network.only.reason
    assert b" 403 " in door.plain(f"http://{OTHER}/", host=OTHER)
    assert network.served == []


@pytest.mark.parametrize("address", [PRIVATE, METADATA, "127.0.0.1", PUBLIC, "[fd00:ec2::254]", "[::1]"])
def test_d02_raw_addresses_are_refused(door: Client, network: World, address: str) -> None:
    assert b" 400 " in door.refused(address)
    assert b" 400 " in door.plain(f"http://{address}/", host=address)
    assert {one.decision for one in network.ended()} == {"deny"}


@pytest.mark.parametrize("port", [22, 25, 80 + 8000, 8443, 3128, 1])
def test_d03_other_ports_are_refused(door: Client, network: World, port: int) -> None:
    assert b" 403 " in door.refused(GOOD, port)
    assert b" 403 " in door.plain(f"http://{GOOD}:{port}/", host=f"{GOOD}:{port}")


@pytest.mark.parametrize("port", ["0", "65979", "+443", "443x", "", "0443", "4_43", "٤٤٣", "1e2"])
def test_d03_odd_ports_are_no_ports(door: Client, network: World, port: str) -> None:
    said = door.raw(f"CONNECT {GOOD}:{port} HTTP/1.1\r\nHost: {GOOD}:{port}\r\n\r\n".encode())
    assert b" 400 " in said


def test_d06_a_hello_for_another_host_is_refused(door: Client, network: World) -> None:
    with pytest.raises(ssl.SSLError, match="access denied"):
        door.fetch(sni=OTHER)
    assert (network.only.decision, network.only.rule) == ("deny", "network.sni")
    assert all(seen.content == b"" and seen.name is None for seen in network.served), "nothing was sent upstream"


def test_d06_a_hello_without_a_name_is_refused(door: Client, network: World) -> None:
    with pytest.raises(ssl.SSLError, match="access denied"):
        door.fetch(sni="")
    assert network.only.rule == "network.sni"


def test_d06_a_host_header_of_another_host_is_refused(door: Client, network: World) -> None:
    assert b" 400 " in door.plain(host=OTHER)
    assert b" 400 " in door.plain(host=f"{GOOD}:8080")
    assert b" 400 " in door.plain(headers=f"Host: {OTHER}\r\n")
    assert b" 400 " in door.raw(f"CONNECT {GOOD}:443 HTTP/1.1\r\nHost: {OTHER}:443\r\n\r\n".encode())
    assert network.served == []


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-x\r\n", b"\x00" * 300, b"\x80\x2e\x01\x00\x02"]
)
def test_what_is_not_tls_is_not_let_through_a_tunnel(door: Client, network: World, sent: bytes) -> None:
    head, sock = door.tunnel(GOOD)
    with sock:
        assert b" 200 " in head
        sock.sendall(sent)
        everything(sock)
    assert (network.only.decision, network.only.rule) == ("deny", "network.tls")
    assert all(seen.content == b"" for seen in network.served)


@pytest.mark.parametrize(
    "target",
    [
        # D07 and kin: bytes that end a name for one reader and not for another.
        f"{GOOD}%00.evil.example:443", f"{GOOD}\x00.evil.example:443", f"{GOOD}\t.evil.example:443", f"{GOOD}.:443",
        f"x@{GOOD}:443", f"{GOOD}:443@evil.example:443", f"{GOOD}#@evil.example:443", f"{GOOD}/..:443", f" {GOOD}:443",
        f"{GOOD}\xa0:443", f"{GOOD}:443:443", "é.example.internal:443", f"{'a' * 300}.example.internal:443",
        f"{GOOD}", ":443", "*.cdn.example.internal:443", f"http://{GOOD}/",
    ],
)  # fmt: skip
def test_d07_odd_names_are_refused(door: Client, network: World, target: str) -> None:
    said = door.raw(f"CONNECT {target} HTTP/1.1\r\nHost: {GOOD}:443\r\n\r\n".encode("latin-1"))
    assert said[9:12] == b"400"
    assert network.served == []
    assert network.only.decision == "deny"


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "0", "0177.0.0.1", "0xa9fea9fe", "10.66051"])
def test_d09_numeric_spellings_are_refused(door: Client, network: World, host: str) -> None:
    assert b" 400 " in door.refused(host)
    assert b" 400 " in door.plain(f"http://{host}/", host=host)


def test_d09_a_public_name_of_a_private_address_leads_nowhere(network: World) -> None:
    name = "10.1.2.3.cdn.example.internal"
    with client(network, names={"astray.example.internal": (PRIVATE,)}) as door:
        assert b" 403 " in door.refused(name)
        assert b" 403 " in door.refused("astray.example.internal")
    assert [one.rule for one in network.ended()] == ["network.setup", "network.address"]


def test_d11_a_name_that_is_denied_is_never_looked_up(network: World) -> None:
    """A label can carry a secret to whoever answers for the domain: only names that are allowed are looked up."""
    with client(network) as door:
        door.refused("c2VjcmV0LWxhYmVs.evil.example")
    assert [one.moment for one in network.attempts] == ["denied"], "a lookup is asked for first"


def test_d11_labels_below_a_wildcard_are_counted(network: World) -> None:
    names = {f"l{n}.cdn.example.internal": (PRIVATE,) for n in range(70)}
    with client(network, names=names) as door:
        for name in names:
            door.refused(name)
    rules = [one.rule for one in network.ended()]
    assert rules == ["network.address"] * 64 + ["network.names"] * 6


@pytest.mark.parametrize("address", [*TRAPS, *TRAPS_6, "0.0.0.0", "::", f"::ffff:{PRIVATE}", f"::ffff:{METADATA}"])
def test_d13_a_listed_name_that_leads_astray_is_denied(network: World, address: str) -> None:
    for found in ((address,), ("203.0.113.9", address), (address, "203.0.113.9")):
        with client(network, names={"astray.example.internal": found}) as door:
            assert b" 403 " in door.refused("astray.example.internal")
            assert b" 403 " in door.plain("http://astray.example.internal/", host="astray.example.internal")
    assert {(one.decision, one.rule) for one in network.ended()} == {("deny", "network.address")}
    assert network.served == []


@pytest.mark.parametrize("name", ["metadata", "metadata.google.internal", "instance-data", "localhost", "kubernetes"])
def test_d13_names_of_metadata_services_are_refused(door: Client, network: World, name: str) -> None:
    assert b" 403 " in door.refused(name)
    assert b" 403 " in door.plain(f"http://{name}/latest/meta-data", host=name)


def test_d14_a_redirect_is_followed_through_the_same_rules(door: Client, network: World) -> None:
    network.answer = f"HTTP/1.1 302 Found\r\nlocation: http://{METADATA}/x\r\ncontent-length: 0\r\n\r\n".encode()
    answer = door.plain()
    assert b" 302 " in answer
    location = answer.split(b"location: ")[1].split(b"\r\n")[0].decode()
    assert b" 400 " in door.plain(location, host=METADATA)
    network.answer = network.answer.replace(METADATA.encode(), OTHER.encode())
    assert b" 403 " in door.plain(f"http://{OTHER}/x", host=OTHER)


def test_a_service_may_be_where_its_rule_says_and_nowhere_else(network: World) -> None:
    service = HostRule("private", "db.example.internal", 8080, (f"{PRIVATE}/32",))
    with client(network) as door:
        assert b"hello" in door.plain("http://db.example.internal:8080/", host="db.example.internal:8080")
    with client(network, names={"db.example.internal": ("10.1.2.4",)}) as door:
        assert b" 403 " in door.plain("http://db.example.internal:8080/", host="db.example.internal:8080")
    with client(network, service=service) as door:
        assert b"hello" in door.raw(b"any protocol\r\n\r\n"), "its own door speaks no proxy"
    assert network.served[-1].content == b"any protocol\r\n\r\n"
    assert network.ended()[-1].method == "TCP"


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "h2c, websocket"])
def test_d21_no_protocol_is_switched_to(door: Client, network: World, upgrade: str) -> None:
    assert b" 400 " in door.plain(headers=f"Upgrade: {upgrade}\r\nConnection: Upgrade\r\n")
    assert network.served == []


def test_d21_an_offer_of_http_2_is_not_passed_on(door: Client, network: World) -> None:
    sent = f"GET http://{GOOD}/x HTTP/1.1\r\nHost: {GOOD}\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
    assert b" 200 " in door.raw((sent + "Connection: Upgrade, HTTP2-Settings, close\r\n\r\n").encode())
    assert b"h2c" not in network.served[0].content
    assert b"settings" not in network.served[0].content.lower()


def test_d21_http_2_is_not_spoken_to_the_proxy(door: Client, network: World) -> None:
    assert b" 400 " in door.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked, identity\r\n", "Transfer-Encoding: xchunked\r\n", "Content-Length: +4\r\n",
        "Transfer-Encoding : chunked\r\n", "Content-Length: 4\r\nX: y\r\n\x00: z\r\n",
    ],
)  # fmt: skip
def test_a_request_cannot_hide_another_one(door: Client, network: World, framing: str) -> None:
    hidden = f"0\r\n\r\nGET http://{OTHER}/ HTTP/1.1\r\nHost: {OTHER}\r\n\r\n"
    said = door.raw(f"POST http://{GOOD}/x HTTP/1.1\r\nHost: {GOOD}\r\n{framing}\r\n{hidden}".encode())
    assert OTHER.encode() not in b"".join(seen.content for seen in network.served)
    assert said[9:12] in (b"400", b"501")


def test_a_body_is_passed_on_and_counted(door: Client, network: World) -> None:
    door.plain(body=b"b" * 100_000)
    assert network.served[0].content.endswith(b"b" * 100_000)
    assert network.only.sent > 100_000


def test_limits_end_what_goes_beyond_them(network: World) -> None:
    with client(network, sent=10_000) as door:
        door.plain(body=b"b" * 50_000)
        assert b" 403 " in door.plain()
    assert [one.rule for one in network.ended()] == ["limits.network.sent"] * 2
    network.attempts.clear()
    network.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n" + b"a" * 50_000
    with client(network, received=20_000) as door:
        assert len(door.plain()) < 30_000
        with pytest.raises(AssertionError, match="403"):
            door.fetch()
    assert [one.rule for one in network.ended()] == ["limits.network.received"] * 2
    network.attempts.clear()
    with client(network, requests=2) as door:
        assert [b" 403 " in door.plain()[:20] for _ in range(3)] == [False, False, True]
    assert network.ended()[-1].rule == "limits.network.requests"


def test_an_allow_that_cannot_be_recorded_is_a_deny(network: World) -> None:
    network.refuse = lambda attempt: attempt.moment == "asked"
    with client(network) as door:
        assert b" 403 " in door.refused(GOOD)
        assert network.served == []
        assert door.door.denied() == "not_recorded"
        assert b" 403 " in door.refused(GOOD)


def test_a_host_that_is_allowed_and_not_there_is_no_denial(network: World) -> None:
    with client(network) as door:
        assert b" 403 " in door.refused("nowhere.example.internal")
    with client(network, names={"nowhere.example.internal": ("203.0.113.200",)}) as door:
        said = door.refused("nowhere.example.internal")
    assert said[9:12] in (b"502", b"504")
    assert network.ended()[-1].decision == "allow"
    assert "not_reached" in network.ended()[-1].reason


def test_a_peer_that_says_nothing_does_not_starve_others(network: World) -> None:
    """Slow and stuck connections of one run, more than it may have, and another run goes on."""
    with client(network) as slow:
        stuck = [slow.connect() for _ in range(100)]
        for sock in stuck[:50]:
            sock.sendall(b"CONNECT ")
        with client(network, door="setup@2", run="run-2") as other:
            began = time.monotonic()
            assert other.fetch().endswith(b"hello")
            assert time.monotonic() - began < 5
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            slow.proxy.open(listener, OTHER_RUN) as _door,
        ):
            began = time.monotonic()
            assert Client(listener.getsockname()[1], network, slow.door, slow.proxy).fetch().endswith(b"hello")
            assert time.monotonic() - began < 5
        for sock in stuck:
            sock.close()


def test_an_idle_connection_is_ended(network: World) -> None:
    with client(network, idle_timeout=0.5, service=HostRule("silent", "silent.example.internal", 8081)) as door:
        assert door.raw(b"x") == b""
    assert network.only.reason == "idle"


def test_closing_a_door_ends_what_goes_through_it(network: World) -> None:
    with client(network) as door:
        head, sock = door.tunnel(GOOD)
        assert b" 200 " in head
    with sock:
        assert everything(sock) == b""
    assert [one.moment for one in network.attempts] == ["asked", "ended"]


def test_d27_a_killed_proxy_lets_nothing_through_and_says_so(network: World) -> None:
    with client(network) as door:
        head, sock = door.tunnel(GOOD)
        assert b" 200 " in head
        os.kill(door.proxy.pid or 0, signal.SIGKILL)
        with sock:
            assert everything(sock) == b""
        until(lambda: door.door.denied() is not None)
        assert door.door.denied() == "egress_dead"
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            pytest.raises(ControlMissing, match="egress proxy is not running"),
            door.proxy.open(listener, OTHER_RUN),
        ):
            pass
        network.attempts.clear()


def test_d27_a_hung_proxy_is_ended_and_says_so(network: World) -> None:
    with client(network, patience=1.0) as door:
        os.kill(door.proxy.pid or 0, signal.SIGSTOP)
        until(lambda: door.door.denied() is not None)
        assert door.door.denied() == "egress_dead"


def test_many_connections_at_once_all_come_through(door: Client, network: World) -> None:
    got: list[bool] = []
    threads = [threading.Thread(target=lambda: got.append(door.fetch().endswith(b"hello"))) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [True] * 30
