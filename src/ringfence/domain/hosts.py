"""Names and addresses of the network: what a host may be called, and where it may never lead.

Pure, on plain values, so that the egress proxy's process decides by the very code that rules.py decides by.
The forbidden networks are an explicit list and not "what is not global": package registries of closed
networks live at documentation addresses, and a list can be read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ringfence.domain.decision import Allow, Decision, Deny, Reason, Source

LONGEST_NAME = 253
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")

Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

#: Where a name may not lead unless its rule says so, each with what it is.
FORBIDDEN: tuple[tuple[_Network, str], ...] = tuple(
    (ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, with the metadata service"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarks"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, with broadcast"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("::/96", "unspecified, loopback and v4-compatible"),
        ("::ffff:0:0/96", "v4-mapped"),
        ("::ffff:0:0:0/96", "v4-translated"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "local NAT64"),
        ("100::/64", "discard"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "protocol assignments, with ORCHID"),
        ("2002::/16", "6to4"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "unique local, with the metadata service"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        # What lies outside of 2000::/3 is nobody's on the public network, so that it can only be somebody's own.
        ("::/3", "not assigned"),
        ("4000::/2", "not assigned"),
        ("8000::/1", "not assigned"),
    )
)
#: What no rule can exempt: nothing that a sandbox may use lives there, and everything that it must not.
NEVER: tuple[_Network, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8", "100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.192/32", "224.0.0.0/4",
        "240.0.0.0/4", "::/128", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32",
        "2002::/16", "fd00:ec2::/32", "fe80::/10", "ff00::/8",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HostRule:
    """One way out: a name, or one leading wildcard label over a name, and a port."""

    name: str  # as reports say it: "network.setup.packages.example.internal:443"
    host: str
    port: int
    cidrs: tuple[str, ...] = ()  # networks in which this host may be although they are forbidden

    def covers(self, host: str, port: int) -> bool:
        """Whether it speaks of this destination. `host` has passed `name_fault`."""
        if port != self.port:
            return False
        if not self.host.startswith("*."):
            return host == self.host
        label, _, rest = host.partition(".")
        # An internationalised label can look like any other; under a wildcard nobody has looked at it.
        return bool(label) and rest == self.host[2:] and not label.startswith("xn--")


def name_fault(host: str) -> str | None:
    """Why this is no name that may be looked up; None when it is one. Names are compared in lower case."""
    if not host or len(host) > LONGEST_NAME:
        return "it is empty or too long for a name"
    if not host.isascii() or any(not "!" <= character <= "~" for character in host):
        return "it holds characters that no name has"
    if "@" in host:
        return "it holds user information"
    if any(character in host for character in ":[]%/\\?#"):
        return "it is an address or a part of a URL, and not a name"
    if host.endswith("."):
        return "it ends with a dot"
    labels = host.lower().split(".")
    # Resolvers take 127.1, 0x7f.1, 0177.0.0.1 and 2130706433 for addresses; no top-level domain is a number.
    if _NUMERIC.fullmatch(labels[-1]):
        return "it is an address in figures, and not a name"
    if not all(_LABEL.fullmatch(label) for label in labels):
        return "one of its labels is no label of a name"
    return None


def judge_host(rules: Sequence[HostRule], phase: str, host: str, port: int) -> HostRule | Deny:
    """The rule that lets this name be connected to, before anything is looked up; or the denial."""
    fault = name_fault(host)
    if fault:
        return _deny("network.host", Reason.MALFORMED, f"{shown(host)} is refused: {fault}")
    if not isinstance(port, int) or not 0 < port < 65536:
        return _deny("network.port", Reason.MALFORMED, f"port {port!r} does not exist")
    folded = host.lower()
    rule = next((rule for rule in rules if rule.covers(folded, port)), None)
    if rule is None:
        return _deny(f"network.{phase}", Reason.NOT_LISTED, f"{shown(folded)}:{port} is not listed for phase {phase}")
    return rule


def judge_addresses(rule: HostRule, addresses: Sequence[str]) -> Decision:
    """Whether a name that a rule allows may be connected to where it leads: every address counts, not the first."""
    if not addresses:
        return _deny("network.address", Reason.NOT_LISTED, f"{shown(rule.host)} leads nowhere")
    for text in addresses:
        fault = _address_fault(rule, text)
        if fault:
            return _deny("network.address", Reason.PROTECTED, fault)
    return Allow(rule.name)


def _address_fault(rule: HostRule, text: str) -> str | None:
    try:
        address = ip_address(text)
    except ValueError:
        return f"{shown(text)} is no address"
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return f"{shown(text)} is an address with a zone"
    forbidden = network_of(address)
    if forbidden is None:
        return None
    exempt = any(address in network for network in map(ip_network, rule.cidrs) if network.version == address.version)
    if exempt and not any(address in network for network in NEVER if network.version == address.version):
        return None
    return f"{shown(rule.host)} leads to {address}, which is {forbidden}"


def network_of(address: Address) -> str | None:
    """What the forbidden network is that an address lies in, or None."""
    return next((what for net, what in FORBIDDEN if net.version == address.version and address in net), None)


def shown(text: str) -> str:
    """Untrusted text for one line of a report: ASCII, quoted, short."""
    return ascii(text if len(text) <= 120 else text[:120] + "…")


def _deny(rule: str, reason: Reason, detail: str) -> Deny:
    return Deny(rule, reason, Source.EGRESS, detail)
