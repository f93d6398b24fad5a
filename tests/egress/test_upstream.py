"""Out by the proxy of the operator's own network: a small real one, which sees names and is asked for tunnels."""

import base64
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from world import GOOD, METADATA, OTHER, PRIVATE, PUBLIC, World, client, listen

from ringfence.domain.hosts import HostRule
from ringfence.egress.process import UpstreamProxy
from ringfence.ports.broker import Secret

PLACE = ("10.1.2.3", 3129)  # in the operator's own network, where no sandbox may go
NAMES = {"proxy.example.internal": (PLACE[0],)}
CREDENTIAL = "worker:pr0xy-Zm4TqL9x"
UPSTREAM = UpstreamProxy("proxy.example.internal", PLACE[1], Secret(CREDENTIAL))


@dataclass
class Corporate:
    """What the proxy was asked."""

    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"
    asked: list[bytes] = field(default_factory=list)


@contextmanager
def corporate() -> Iterator[Corporate]:
    """A proxy that opens tunnels to the one public address of the network, whatever name is asked for."""
    seen = Corporate()

    def serve(connection: socket.socket) -> None:
        with connection:
            head = b""
            while b"\r\n\r\n" not in head and (piece := connection.recv(1)):
                head += piece
            seen.asked.append(head)
            connection.sendall(seen.answer)
            port = re.match(rb"CONNECT [^:]+:(\d+) ", head)
            if not seen.answer.startswith(b"HTTP/1.1 200") or port is None:
                return
            with socket.create_connection((PUBLIC, int(port[1])), 20) as server:
                back = threading.Thread(target=_copy, args=(server, connection))
                back.start()
                _copy(connection, server)
                back.join()

    with ExitStack() as stack:
        listen(stack, *PLACE, serve)
        yield seen


def _copy(source: socket.socket, goal: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            goal.sendall(piece)
        goal.shutdown(socket.SHUT_WR)
    except OSError:
        return


def test_everything_goes_out_by_the_upstream_proxy(network: World) -> None:
    with corporate() as seen, client(network, names=NAMES, upstream=UPSTREAM) as door:
        assert door.fetch().endswith(b"hello")
        assert door.plain().endswith(b"hello")
    assert [head.split(b"\r\n")[0] for head in seen.asked] == [
        f"CONNECT {GOOD}:{port} HTTP/1.1".encode() for port in (443, 80)
    ]
    put = b"proxy-authorization: Basic " + base64.b64encode(CREDENTIAL.encode())
    assert all(put in head for head in seen.asked)
    assert not any(b"roxy" in server.content for server in network.served), "the credential is for the upstream alone"
    assert {one.address for one in network.ended()} == {PLACE[0]}


def test_an_inspected_host_is_verified_through_the_upstream_proxy(network: World) -> None:
    rule = HostRule("read", GOOD, 443, inspect=True)
    with corporate(), client(network, names=NAMES, upstream=UPSTREAM, secrets={}, rules=(rule,)) as door:
        assert door.inspected() == (200, b"hello")
    assert network.served[0].name == GOOD


@pytest.mark.parametrize("address", [PRIVATE, METADATA])
def test_d13_a_name_that_leads_astray_from_here_is_not_asked_of_the_upstream_proxy(
    network: World, address: str
) -> None:
    names = {**NAMES, "astray.example.internal": (address,)}
    with corporate() as seen, client(network, names=names, upstream=UPSTREAM) as door:
        assert b" 403 " in door.refused("astray.example.internal")
        assert b" 403 " in door.refused(OTHER)
        assert b" 400 " in door.refused(METADATA)
    assert seen.asked == []


def test_the_operators_own_hosts_are_reached_directly(network: World) -> None:
    with corporate() as seen, client(network, names=NAMES, upstream=UPSTREAM) as door:
        assert b"hello" in door.plain("http://db.example.internal:8080/", host="db.example.internal:8080")
    assert seen.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"",
    ],
)
def test_an_upstream_proxy_that_refuses_is_said(network: World, answer: bytes) -> None:
    with corporate() as seen, client(network, names=NAMES, upstream=UPSTREAM) as door:
        seen.answer = answer
        assert door.refused(GOOD)[9:12] == b"502"
    assert "upstream proxy" in network.only.reason
    assert network.served == []


def test_an_upstream_proxy_that_is_not_there_lets_nothing_out_directly(network: World) -> None:
    gone = UpstreamProxy("proxy.example.internal", 3999)
    with client(network, names={"proxy.example.internal": (PUBLIC,)}, upstream=gone) as door:
        assert door.refused(GOOD)[9:12] in (b"502", b"504")
    assert network.served == []


def test_the_upstream_proxys_credential_may_not_leave_either(network: World) -> None:
    rule = HostRule("read", GOOD, 443, inspect=True)
    with corporate(), client(network, names=NAMES, upstream=UPSTREAM, secrets={}, rules=(rule,)) as door:
        assert door.inspected(target=f"/?{CREDENTIAL}")[0] == 403
        assert door.door is not None
    assert [one.rule for one in network.ended() if one.method == "GET"] == ["network.content_scan"]
