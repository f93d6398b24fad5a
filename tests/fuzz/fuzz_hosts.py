"""The host matcher against an oracle that was written another way: by the standard library, letters and sets.

Input: lines of a host, a port, the host of a further rule, and addresses (text, or # and hex digits).
"""

import socket
import string
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address, ip_network

from hypothesis import strategies as st

from ringfence.domain.decision import Allow, Deny
from ringfence.domain.hosts import HostRule, judge_addresses, judge_host

LISTED = {("packages.example.internal", 443), ("packages.example.internal", 80), ("db.example.internal", 8080)}
WILD = {(".cdn.example.internal", 443)}
RULES = (
    *(HostRule(f"listed.{host}:{port}", host, port) for host, port in sorted(LISTED)),
    HostRule("wild", "*.cdn.example.internal", 443),
)
EXEMPT = HostRule("exempt", "db.example.internal", 8080, ("10.1.2.3/32", "fd12::/16", "0.0.0.0/0", "::/0"))
#: Examples in documents; registries of closed networks live there, so that they are no forbidden place here.
EXAMPLES = tuple(map(ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")))
ENDS, MIDDLES = set(string.ascii_letters + string.digits), set(string.ascii_letters + string.digits + "-_")


def is_name(host: str) -> bool:
    """Whether it is a name and nothing that some resolver takes for an address."""
    labels = host.split(".")
    if not 0 < len(host) < 254 or not all(0 < len(label) < 64 and set(label) <= MIDDLES for label in labels):
        return False
    if not all({label[0], label[-1]} <= ENDS for label in labels) or labels[-1].isdigit():
        return False
    if labels[-1][:2].lower() == "0x" and set(labels[-1][2:]) <= set(string.hexdigits):
        return False
    try:
        socket.inet_aton(host)
    except OSError:
        return True
    return False


def is_listed(host: str, port: int, more: str = "") -> bool:
    """Whether somebody who reads the rules would say that this may be reached. `more` is one more name, for 443."""
    name = host.lower()
    if not is_name(host):
        return False
    for wild, its_port in WILD:
        first = name.removesuffix(wild)
        if name.endswith(wild) and port == its_port and "." not in first and first[:4] != "xn--" and first:
            return True
    return (name, port) in LISTED or (name == more and port == 443)


def is_outside(text: str) -> bool:
    """Whether the standard library takes it for an address that everybody may be at."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and (
        address.scope_id or address.ipv4_mapped or address.sixtofour or address.teredo or address.is_site_local
    ):
        return False
    if any(address in network for network in EXAMPLES if network.version == address.version):
        return True
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_link_local)


def is_never(text: str) -> bool:
    """Whether no rule at all may exempt it."""
    address = ip_address(text)
    known = text in ("168.63.129.16", "100.100.100.200")
    mapped = isinstance(address, IPv6Address) and (address.ipv4_mapped or address.sixtofour or address.teredo)
    return bool(known or mapped or address.is_multicast or address.is_link_local or address.is_unspecified)


def judge(content: bytes) -> None:
    """One round; an assertion that fails is a wrong answer."""
    host, port_text, more, *addresses = [
        line.decode("utf-8", "surrogateescape") for line in (content + b"\n\n").split(b"\n")
    ]
    port = int(port_text) if port_text.isascii() and port_text.isdigit() and len(port_text) < 8 else 443
    more = more if is_name(more) and more == more.lower() else ""
    rules = (*RULES, HostRule("more", more, 443)) if more else RULES
    judged = judge_host(rules, "setup", host, port)
    assert isinstance(judged, HostRule) == is_listed(host, port, more), (host, port, judged)
    if isinstance(judged, Deny):
        assert judged.detail.isprintable() and judged.detail.isascii(), judged
    for text in filter(None, addresses[:8]):
        _judge_address(_address(text))


def _judge_address(text: str) -> None:
    if isinstance(judge_addresses(RULES[0], [text]), Allow):
        assert is_outside(text), text
    if isinstance(judge_addresses(EXEMPT, [text]), Allow):
        assert not is_never(text), text
    assert isinstance(judge_addresses(RULES[0], ["203.0.113.9", text, "10.1.2.3"]), Deny), text


def _address(text: str) -> str:
    """An address from figures, so that random bytes soon are addresses; anything else as it is."""
    figures = text[1:]
    if text[:1] != "#" or not figures or set(figures) - set(string.hexdigits) or len(figures) > 32:
        return text
    return str(ip_address(bytes.fromhex(figures.rjust(32 if len(figures) > 8 else 8, "0"))))


def seeds() -> Iterator[bytes]:
    """Where a fuzzer begins."""
    places = "10.0.0.1 127.0.0.1 ::1 fe80::1%1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1:: #a9fea9fe 2001:db8::9"
    for host in (
        "packages.example.internal", "a.cdn.example.internal", "a.b.cdn.example.internal", "127.1", "0x7f.1", "0",
        "2130706433", "xn--a.cdn.example.internal", "packages.example.internal.", "a@packages.example.internal",
        "PACKAGES.example.internal", "[::1]", "more.example.internal", "1.2.3.0x",
    ):  # fmt: skip
        lines = (host, "443", "more.example.internal", *places.split())
        yield "\n".join(lines).encode()


def inputs() -> st.SearchStrategy[bytes]:
    """Inputs for hypothesis: pieces of names that mean something, put together in every way."""
    piece = st.sampled_from(
        ["packages", "example", "internal", "cdn", ".", "..", "*", "a", "xn--", "0x", "7f", "127", "1", "0", "255", "-",
         "_", "@", ":", "[", "]", "%", "/", "\\", "#", "?", "\x00", "\r", "\u200b", "é", "．", "Ⓐ", "\u212a", "ı"]
    )  # fmt: skip
    host = st.lists(piece | st.text(max_size=3), max_size=12).map("".join) | st.sampled_from(
        [".".join(name) for name, _ in ((one.split("."), 0) for one, _ in sorted(LISTED))]
    )
    address = st.ip_addresses().map(str) | st.text(alphabet="0123456789abcdef.:x%", max_size=24) | st.binary(
        max_size=16
    ).map(lambda raw: "#" + raw.hex())  # fmt: skip
    port = st.sampled_from(["443", "80", "22", "0", "65536", "8080"])
    return st.tuples(host, port, host, st.lists(address, max_size=4)).map(
        lambda made: "\n".join((*made[:3], *made[3])).encode("utf-8", "surrogateescape")
    )
