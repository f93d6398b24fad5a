"""Group D: a sandbox's network holds its doors and nothing else. Ids are those of the threat catalogue.

Targets are listeners of these tests: on the host's loopback, or (as root) in a network of their own in which
metadata, private and public addresses answer the worker. Each is shown to answer outside the sandbox first.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from caging import STRANGE_ADDRESSES, STRANGE_ADDRESSES_6, STRANGE_PORTS, Attempt, Cage

Attack = Callable[..., Attempt]
CONNECT = f"""
V4, V6, PORTS = {STRANGE_ADDRESSES!r}, {STRANGE_ADDRESSES_6!r}, {STRANGE_PORTS!r}
def connect(address, port, kind=socket.SOCK_STREAM):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as s:
        s.settimeout(2)
        s.connect((address, port))
        s.send(b"secret-label.example.internal")
        return s.recv(100) if kind == socket.SOCK_STREAM else "sent"
"""


@pytest.fixture
def host_listener() -> Iterator[tuple[int, list[str]]]:
    """A listener on the host's loopback that answers, and who came."""
    came: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0]:
            pass  # it answers on the host

        def serve() -> None:
            while True:
                try:
                    connection, who = listener.accept()
                except OSError:
                    return
                came.append(str(who))
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield port, came
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert came == []


def test_d01_no_variable_and_no_client_option_finds_a_way_around(
    cage: Cage, host_listener: tuple[int, list[str]]
) -> None:
    port, _ = host_listener
    cage.attack(
        f"""
import urllib.request
def fetch(url, proxies):
    return urllib.request.build_opener(urllib.request.ProxyHandler(proxies)).open(url, timeout=2).read()
url = "http://127.0.0.1:{port}/"
attempt("no proxy", lambda: fetch(url, {{}}))
attempt("the host as proxy", lambda: fetch("http://allowed.example.internal/", {{"http": url}}))
lines = [f"curl -sf -m 2 --noproxy '*' {{url}}", f"curl -sf -m 2 --connect-to ::127.0.0.1:{port} http://a.example.internal/",
         f"curl -sf -m 2 --resolve a.example.internal:{port}:127.0.0.1 http://a.example.internal:{port}/",
         f"curl -sf -m 2 -x socks5h://127.0.0.1:{port} http://a.example.internal/"]
for line in lines:
    attempt(line, lambda: sh("unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy; " + line))
""",
        environment={"NO_PROXY": "*", "no_proxy": "*", "ALL_PROXY": f"http://127.0.0.1:{port}"},
    )


def test_d02_raw_addresses_over_tcp(strange_network: Attack) -> None:
    strange_network(CONNECT + "for a in V4 + V6:\n    attempt(a, lambda: connect(a, 443))")


def test_d02_connect_request_to_an_address_has_nobody_to_ask(cage: Cage) -> None:
    cage.attack("""
def tunnel(target):
    with socket.create_connection(("127.0.0.1", 3128), 2) as s:
        s.sendall(f"CONNECT {target} HTTP/1.1\\r\\n\\r\\n".encode()); return s.recv(100)
for target in ("10.1.2.3:443", "[fd00::1]:443", "allowed.example.internal:443"):
    attempt(target, lambda: tunnel(target))
""")


def test_d03_other_ports(strange_network: Attack) -> None:
    strange_network(CONNECT + "for p in PORTS:\n    attempt(p, lambda: connect(V4[1], p))")


def test_d04_host_gateway_and_its_aliases(
    cage: Cage, host_listener: tuple[int, list[str]], strange_network: Attack
) -> None:
    strange_network(
        CONNECT
        + """
for p in PORTS:
    attempt(p, lambda: connect("172.17.0.1", p))
for name in ("host.docker.internal", "gateway.docker.internal", "host.containers.internal", "kubernetes.default.svc"):
    attempt(name, lambda: socket.create_connection((name, 8080), 2))
"""
    )


def test_d04_services_on_the_hosts_loopback(cage: Cage, host_listener: tuple[int, list[str]]) -> None:
    port, _ = host_listener
    cage.attack(f"""
for name in ("127.0.0.1", "localhost", "sandbox", "0.0.0.0", "127.0.0.2", "::1"):
    attempt(name, lambda: socket.create_connection((name, {port}), 2))
""")


def test_d09_numeric_spellings_lead_to_the_sandbox_itself(cage: Cage, host_listener: tuple[int, list[str]]) -> None:
    port, _ = host_listener
    cage.attack(f"""
for name in ("127.1", "0x7f000001", "2130706433", "0", "0177.0.0.1", "::ffff:127.0.0.1", "127.0.0.1.nip.io",
             "0x7f.1", "[::]", "localhost."):
    attempt(name, lambda: socket.create_connection((name, {port}), 2))
""")


def test_d11_names_are_asked_of_nobody(strange_network: Attack) -> None:
    strange_network(
        CONNECT
        + """
for label in ("secret-label.example.internal", "a.localhost.example.internal", "metadata.google.internal"):
    attempt(label, lambda: socket.getaddrinfo(label, 443))
for a in V4 + V6:
    attempt("resolver " + a, lambda: connect(a, 53, socket.SOCK_DGRAM))
    attempt("resolver by tcp " + a, lambda: connect(a, 53))
attempt("resolv.conf", lambda: open("/etc/resolv.conf", "w"))
attempt("getent", lambda: sh("getent hosts secret-label.example.internal"))
"""
    )


def test_d12_names_over_https(strange_network: Attack) -> None:
    strange_network(
        CONNECT
        + """
import urllib.request
for a in V4:
    attempt(a, lambda: urllib.request.urlopen(f"https://{a}/dns-query?name=secret-label", timeout=2))
"""
    )


def test_d13_metadata_service(strange_network: Attack) -> None:
    strange_network(
        CONNECT
        + """
for a in ("169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"):
    attempt(a, lambda: connect(a, 80))
for name in ("0xa9fea9fe", "2852039166", "169.254.43518", "metadata", "metadata.google.internal", "instance-data"):
    attempt(name, lambda: socket.create_connection((name, 80), 2))
"""
    )


def test_d15_other_protocols(strange_network: Attack) -> None:
    strange_network(
        CONNECT
        + """
for a in V4 + V6:
    attempt("quic " + a, lambda: connect(a, 443, socket.SOCK_DGRAM))
for family, protocol in ((socket.AF_INET, 1), (socket.AF_INET6, 58)):
    target = V4[0] if protocol == 1 else V6[0]
    attempt("ping", lambda: socket.socket(family, socket.SOCK_DGRAM, protocol).connect((target, 0)))
    attempt("raw", lambda: socket.socket(family, socket.SOCK_RAW, protocol))
attempt("sctp", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).connect((V4[1], 443)))
attempt("broadcast", lambda: connect("255.255.255.255", 443, socket.SOCK_DGRAM))
attempt("multicast", lambda: connect("224.0.0.251", 5353, socket.SOCK_DGRAM))
"""
    )


def test_d19_network_cannot_be_changed_from_inside(cage: Cage) -> None:
    cage.attack("""
for line in ("ip route add default dev lo", "ip link add d0 type dummy", "ip addr add 10.9.9.9/32 dev lo",
             "ip link set lo down", "iptables -F", "nft flush ruleset", "ip netns add x"):
    attempt(line, lambda: sh("PATH=$PATH:/usr/sbin:/sbin " + line))
import fcntl, struct
plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
attempt("ioctl", lambda: fcntl.ioctl(plain, 0x8914, struct.pack("16sH14s", b"lo", 0, b"")))
attempt("forward", lambda: open("/proc/sys/net/ipv4/ip_forward", "w"))
attempt("netfilter", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12))
""")


def test_d25_a_listener_inside_is_not_reachable_from_outside(cage: Cage) -> None:
    program = """
import socket, time
s = socket.create_server(("0.0.0.0", 48217)); u = socket.create_server(("::", 48218), family=socket.AF_INET6)
open("/workspace/ready", "w").close(); s.settimeout(1.5)
try:
    s.accept(); print("GOT a visitor")
except TimeoutError:
    print("nobody came")
"""
    reached: list[str] = []

    def knock() -> None:
        deadline = time.monotonic() + 10
        while not (cage.tree / "ready").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        for address, port in (("127.0.0.1", 48217), ("::1", 48218), ("127.0.0.1", 48218)):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family) as attempt:
                if attempt.connect_ex((address, port)) == 0:
                    reached.append(address)

    thread = threading.Thread(target=knock)
    thread.start()
    attempt = cage.run(cage.spec("/usr/bin/env", "python3", "-I", "-S", "-c", program))
    thread.join()
    assert attempt.text == "nobody came\n"
    assert attempt.event.exit_code == 0
    assert reached == []


def test_d25_a_door_is_the_only_listener_that_leads_out(cage: Cage) -> None:
    """A guest cannot take a door's place either: the address is in use before its first instruction."""
    cage.attack(
        """
attempt("same port", lambda: socket.create_server(("127.0.0.1", 3128)))
attempt("every address", lambda: socket.create_server(("0.0.0.0", 3128), reuse_port=True))
""",
        doors=(3128,),
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="as root the attacks on strange networks run themselves")
def test_as_an_ordinary_user_the_network_is_empty_too(cage: Cage) -> None:
    cage.attack("""
print([name for _, name in socket.if_nameindex()], open("/proc/net/route").read().count(chr(10)))
attempt("route", lambda: socket.create_connection(("127.0.0.1", 1), 2))
if [name for _, name in socket.if_nameindex()] != ["lo"]:
    print("GOT an interface")
""")
