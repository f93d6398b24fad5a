"""Hosts whose TLS ends in the proxy: what may be asked of them, what is put on, and what must not leave."""

import base64
import gzip
import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from world import GOOD, OTHER, POLICY, Client, World, certificate, client, everything

from ringfence.domain.errors import ControlMissing
from ringfence.domain.hosts import Credential, HostRule
from waiting import until

TOKEN, KEY, CANARY = "rft-7Kq2vXw9LmPz4TbN", "k3y-Zt8RwQn5YcVh2JdS", "pw-Mx6GfUe1AoBi3HsL"
READ = HostRule("read", GOOD, 443, inspect=True, methods=("GET", "HEAD"), paths=("/simple/**", "/x"),
                credential=Credential("token", "bearer"))  # fmt: skip
UPLOAD = HostRule("upload", GOOD, 443, inspect=True, methods=("POST", "PUT"), paths=("/upload/*",))
FREE = HostRule("free", OTHER, 443, inspect=True)
BASIC = base64.b64encode(f"ci:{TOKEN}".encode()).decode()
SECRETS = {"token": TOKEN, "key": KEY, "password": CANARY}


@contextmanager
def inspecting(network: World, *rules: HostRule, **more: object) -> Iterator[Client]:
    with client(network, secrets=SECRETS, rules=rules or (READ, UPLOAD, FREE), **more) as made:  # type: ignore[arg-type]
        yield made


def requests(network: World) -> list[tuple[str, str, str, str]]:
    """What became of each request inside a tunnel."""
    return [(one.method, one.path, one.decision, one.rule) for one in network.ended() if one.method != "CONNECT"]


def test_a_request_is_read_judged_passed_on_and_recorded(network: World) -> None:
    with inspecting(network) as door:
        assert door.inspected(target="/simple/pkg/?a=1") == (200, b"hello")
    seen = network.served[0]
    assert seen.name == GOOD, "the server is told its name by TLS"
    assert seen.content.startswith(b"GET /simple/pkg/?a=1 HTTP/1.1\r\nhost: " + GOOD.encode() + b"\r\n")
    inner = next(one for one in network.ended() if one.method == "GET")
    assert (inner.decision, inner.rule, inner.path, inner.status) == ("allow", "read", "/simple/pkg/", 200)
    assert inner.sent > 50
    assert inner.received > 5
    tunnel = next(one for one in network.ended() if one.method == "CONNECT")
    assert (tunnel.decision, tunnel.sent, tunnel.received) == ("allow", 0, 0)


def test_the_certificate_is_for_this_sandbox_and_this_host_alone(network: World) -> None:
    with inspecting(network) as one, inspecting(network, door="setup@2", run="run-2") as other:
        assert one.authority != other.authority
        with one.opened() as tls:
            shown = tls.getpeercert()
        assert shown is not None
        assert shown["subjectAltName"] == (("DNS", GOOD),)
        _, sock = one.tunnel(GOOD)
        with sock, pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context(cadata=other.authority).wrap_socket(sock, server_hostname=GOOD)
        _, sock = one.tunnel(GOOD)
        with sock, pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context(cafile=str(network.authority)).wrap_socket(sock, server_hostname=GOOD)
    assert network.served == [] or all(seen.content == b"" for seen in network.served)


def test_an_authority_opens_one_door_and_is_gone_with_it(network: World) -> None:
    with inspecting(network) as door:
        again = door.authority
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            pytest.raises(ControlMissing, match="authority of this sandbox is gone"),
            door.proxy.open(listener, replace(POLICY, door="setup@3", authority=again)),
        ):
            pass


def test_a_door_without_an_authority_opens_no_tls(network: World) -> None:
    with client(network, rules=(replace(READ, credential=None),)) as door:
        _, sock = door.tunnel(GOOD)
        with sock, pytest.raises(ssl.SSLError):
            ssl.create_default_context(cafile=str(network.authority)).wrap_socket(sock, server_hostname=GOOD)
    assert network.ended()[-1].rule == "network.tls"
    assert all(seen.content == b"" for seen in network.served)


def test_a_server_that_is_not_who_it_should_be_is_asked_nothing(network: World, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger, _ = certificate(tmp_path / "other", (GOOD,))
    network.authority.write_bytes(stranger.read_bytes())
    with inspecting(network) as door:
        status, said = door.inspected()
    assert status == 403
    assert b"certificate" in said
    assert network.only.rule == "network.certificate"
    assert all(seen.content == b"" for seen in network.served)


def test_a_server_with_another_name_is_asked_nothing(network: World) -> None:
    alias = "alias.cdn.example.internal"
    rule = HostRule("alias", alias, 443, inspect=True)
    with inspecting(network, rule, names={alias: ("203.0.113.9",)}) as door:
        status, said = door.inspected(alias)
    assert (status, network.only.rule) == (403, "network.certificate")
    assert b"mismatch" in said.lower()


@pytest.mark.parametrize(
    ("method", "target", "rule"),
    [
        ("POST", "/simple/pkg/", "read"),
        ("DELETE", "/upload/a", "read"),
        ("GET", "/upload/a", "read"),
        ("GET", "/", "read"),
        ("GET", "/simple/../admin", "network.path"),
        ("GET", "/simple/%2e%2e/admin", "network.path"),
        ("GET", "/simple/..%2fadmin", "network.path"),
        ("GET", "/simple/..;/admin", "network.path"),
        ("GET", "/simple/%252e%252e/admin", "network.path"),
        ("GET", "/simple/..\\admin", "network.path"),
        ("GET", "/simple/%5cadmin", "network.path"),
        ("GET", "/simple//admin", "network.path"),
        ("GET", "/simple/%00", "network.path"),
        ("GET", "/simple/%zz", "network.path"),
        ("TRACE", "/simple/pkg", "network.method"),
        ("PROPFIND", "/simple/pkg", "network.method"),
    ],
)
def test_what_is_not_listed_of_a_host_is_refused(network: World, method: str, target: str, rule: str) -> None:
    with inspecting(network) as door:
        status, _ = door.inspected(method=method, target=target)
    assert status in (400, 403)
    assert requests(network) == [(method, target.partition("?")[0], "deny", rule)]
    assert all(seen.content == b"" for seen in network.served)


@pytest.mark.parametrize("target", ["https://" + GOOD + "/x", "http://evil.example/", "*", GOOD + ":443", "x"])
def test_inside_a_tunnel_only_a_path_is_asked_for(network: World, target: str) -> None:
    with inspecting(network) as door:
        assert door.inspected(target=target)[0] == 400
    assert network.ended()[0].rule == "network.request"


def test_d06_a_host_header_of_another_host_is_refused_inside_tls(network: World) -> None:
    for named in (OTHER, f"{GOOD}:8443", f"{GOOD}.", "127.0.0.1", ""):
        with inspecting(network) as door:
            assert door.inspected(named=named or " ")[0] == 400
    with inspecting(network) as door:
        assert door.inspected(headers=(("Host", OTHER),))[0] == 400
    assert {one.decision for one in network.ended() if one.method != "CONNECT"} == {"deny"}
    assert all(seen.content == b"" for seen in network.served)


def test_d21_http_2_is_not_offered_and_not_spoken_inside_tls(network: World) -> None:
    with inspecting(network) as door:
        with door.opened(alpn=("h2", "http/1.1")) as tls:
            assert tls.selected_alpn_protocol() == "http/1.1"
        with door.opened(alpn=("h2",)) as tls:
            assert tls.selected_alpn_protocol() is None
            tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert b"HTTP/1.1 400" in everything(tls)
    assert all(seen.content == b"" for seen in network.served)


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "TLS/1.3", "anything"])
def test_d21_no_protocol_is_switched_to_inside_tls(network: World, upgrade: str) -> None:
    with inspecting(network) as door:
        assert door.inspected(headers=(("Upgrade", upgrade),))[0] == 400
    assert all(seen.content == b"" for seen in network.served)


@pytest.mark.parametrize(
    ("put", "header"),
    [
        (Credential("token", "bearer"), f"authorization: Bearer {TOKEN}"),
        (Credential("token", "basic", username="ci"), f"authorization: Basic {BASIC}"),
        (Credential("key", "header", header="X-Api-Key"), f"x-api-key: {KEY}"),
    ],
)  # fmt: skip
def test_the_proxy_puts_on_the_credential_that_the_sandbox_never_has(
    network: World, put: Credential, header: str
) -> None:
    rule = HostRule("read", GOOD, 443, inspect=True, methods=("GET",), paths=("/x",), credential=put)
    with inspecting(network, rule) as door:
        assert door.inspected()[0] == 200
    assert header.encode() in network.served[0].content
    assert [one.credential for one in network.ended() if one.method == "GET"] == [put.secret]


def test_a_credential_is_bound_to_host_method_and_path(network: World) -> None:
    with inspecting(network) as door:
        door.inspected(method="POST", target="/upload/a", body=b"content")
        door.inspected(OTHER, target="/x")
        door.inspected(method="HEAD", target="/x")
    contents = {seen.content.split()[0]: seen.content for seen in network.served}
    assert b"authorization" not in contents[b"POST"]
    assert b"authorization" not in contents[b"GET"]
    assert b"authorization: Bearer" in contents[b"HEAD"]


def test_a_credential_is_never_put_on_a_plain_request(network: World) -> None:
    plain = replace(READ, name="plain", port=80)
    with inspecting(network, plain) as door:
        assert b" 403 " in door.plain()
    assert network.only.rule == "network.credential"
    assert all(seen.content == b"" for seen in network.served)


@pytest.mark.parametrize(
    ("headers", "rule"),
    [
        ((("Authorization", f"Bearer {TOKEN}"),), "network.content_scan"),
        ((("Authorization", f"Basic {BASIC}"),), "network.content_scan"),
        ((("X-Other", f"{TOKEN} {KEY}"),), "network.content_scan"),
        ((("Authorization", f"Bearer {TOKEN}, Bearer {KEY}"),), "network.content_scan"),
        ((("Proxy-Authorization", f"Basic {BASIC}"),), "network.content_scan"),
        ((("Cookie", f"session={KEY}"),), "network.content_scan"),
        ((("Authorization", "Bearer somebody-elses-token"),), "network.credential"),
        ((("AUTHORIZATION", "Basic c29tZWJvZHk6ZWxzZQ=="),), "network.credential"),
    ],
)
def test_d29_a_request_that_brings_a_credential_gets_none_and_goes_nowhere(
    network: World, headers: tuple[tuple[str, str], ...], rule: str
) -> None:
    for host, target in ((GOOD, "/x"), (OTHER, "/x")):
        network.attempts.clear()
        with inspecting(network, on_leak="deny") as door:
            status, said = door.inspected(host, target=target, headers=headers)
            assert status == 403
            assert door.door.denied() is None
        assert [one.rule for one in network.ended() if one.method == "GET"] == [rule]
        assert not any(value.encode() in said for value in SECRETS.values())
    assert all(seen.content == b"" for seen in network.served)
    assert not any(value in repr(network.attempts) for value in SECRETS.values()), "never the value"


def test_d29_a_cookie_is_left_out(network: World) -> None:
    with inspecting(network) as door:
        assert door.inspected(headers=(("Cookie", "a=b"),))[0] == 200
    assert b"cookie" not in network.served[0].content.lower()


def _multipart(name: str, content: bytes) -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--b--\r\n"


NESTED = base64.b64encode(gzip.compress(json.dumps({"env": TOKEN}).encode())).decode()
#: method, target, headers, body: each with a secret in it somewhere.
LEAKING = {
    "in the path": ("GET", f"/x/{TOKEN}", (), None),
    "in the query": ("GET", f"/x?q={TOKEN}", (), None),
    "in the query, escaped": ("GET", "/x?q=" + "".join(f"%{ord(one):02x}" for one in TOKEN), (), None),
    "in the query, base64": ("GET", "/x?q=" + base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("="), (), None),
    "in a header": ("GET", "/x", (("X-Note", f"see {KEY}"),), None),
    "in the name of a header": ("GET", "/x", ((KEY, "1"),), None),
    "in a header, hex": ("GET", "/x", (("X-Note", KEY.encode().hex()),), None),
    "in a body": ("POST", "/x", (), f"note={CANARY}".encode()),
    "in a body, JSON": ("POST", "/x", (), json.dumps({"files": [{"content": f"a\n{KEY}\n"}]}).encode()),
    "in a body, gzip": ("POST", "/x", (("Content-Encoding", "gzip"),), gzip.compress(b"x" * 900 + TOKEN.encode())),
    "in a body, gzip inside base64": ("POST", "/x", (), json.dumps({"f": NESTED}).encode()),
    "in a multipart file name": ("POST", "/x", (), _multipart(f"{TOKEN}.txt", b"nothing")),
    "in a multipart file": ("POST", "/x", (), _multipart("a.gz", gzip.compress(TOKEN.encode()))),
    "late in a long body": ("POST", "/x", (), b"z" * 200_000 + CANARY.encode() + b"z" * 20_000),
}


@pytest.mark.parametrize("way", LEAKING)
def test_d22_d24_an_allowed_host_is_no_drop_box_for_what_the_proxy_knows(network: World, way: str) -> None:
    method, target, headers, body = LEAKING[way]
    with inspecting(network, on_leak="deny") as door:
        status, _ = door.inspected(OTHER, method=method, target=target, headers=headers, body=body)
    assert status in (0, 403)
    denied = [one for one in network.ended() if one.method == method]
    assert [(one.decision, one.rule) for one in denied] == [("deny", "network.content_scan")]
    assert all(seen.content == b"" for seen in network.served), "not a byte of it left"


def test_d24_a_secret_in_chunks_is_found(network: World) -> None:
    body = b"".join(b"1\r\n" + bytes((byte,)) + b"\r\n" for byte in b"x" + TOKEN.encode() + b"y") + b"0\r\n\r\n"
    with inspecting(network, on_leak="deny") as door, door.opened(OTHER) as tls:
        tls.sendall(f"POST /x HTTP/1.1\r\nHost: {OTHER}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for at in range(len(body)):
            tls.sendall(body[at : at + 1])
        assert b"403" in everything(tls)[:20]
    assert all(seen.content == b"" for seen in network.served)


def test_of_a_large_body_what_comes_near_a_secret_stays_here(network: World) -> None:
    body = b"z" * 900_000 + TOKEN.encode() + b"z" * 1000
    with inspecting(network, on_leak="deny") as door:
        door.inspected(OTHER, method="POST", target="/x", body=body)
    until(lambda: len(network.served[0].content) >= 300_000)
    assert len(network.served[0].content) < 900_000 - 200_000
    assert requests(network)[-1][2:] == ("deny", "network.content_scan")


@pytest.mark.parametrize("packing", ["br", "zstd", "deflate", "compress", "gzip, gzip", "aes128gcm"])
def test_d24_a_body_that_cannot_be_looked_through_is_refused(network: World, packing: str) -> None:
    with inspecting(network) as door:
        packed = (("Content-Encoding", packing),)
        status, _ = door.inspected(OTHER, method="POST", body=b"\x0b\x02\x80abc\x03", headers=packed)
    assert status == 400
    assert requests(network)[-1][3] == "network.content_scan"
    assert all(seen.content == b"" for seen in network.served)


def test_large_ordinary_bodies_pass_whole(network: World) -> None:
    body = os.urandom(700_000)
    with inspecting(network) as door:
        assert door.inspected(OTHER, method="PUT", body=body, target="/a/b") == (200, b"hello")
    assert network.served[0].content.endswith(body)


def test_a_leak_ends_the_door_when_the_boundary_says_so(network: World) -> None:
    with inspecting(network) as door:
        assert door.inspected(OTHER, target=f"/?{TOKEN}")[0] == 403
        until(lambda: door.door.denied() is not None)
        assert door.door.denied() == "leak"
        assert b"403" in door.refused(OTHER)


def test_each_request_in_a_tunnel_is_counted(network: World) -> None:
    with inspecting(network, requests=2) as door:
        assert door.inspected(OTHER)[0] == 200
        assert b" 403 " in door.refused(OTHER)
    assert network.ended()[-1].rule == "limits.network.requests"


def test_d27_a_killed_proxy_takes_its_inspected_connections_with_it(network: World) -> None:
    with inspecting(network) as door, door.opened(OTHER) as tls:
        os.kill(door.proxy.pid or 0, signal.SIGKILL)
        with pytest.raises((ssl.SSLError, OSError)):
            tls.sendall(b"GET / HTTP/1.1\r\n")
            if tls.recv(100) == b"":
                raise ConnectionResetError
