"""Names and addresses: what may be looked up, and where it may lead. Attack ids are those of the catalogue."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.domain.decision import Allow, Deny
from ringfence.domain.hosts import FORBIDDEN, HostRule, judge_addresses, judge_host, name_fault

RULES = (
    HostRule("exact", "packages.example.internal", 443),
    HostRule("wild", "*.cdn.example.internal", 443),
    HostRule("plain", "apt.example.internal", 80),
    HostRule("db", "db.example.internal", 5432, ("10.9.8.0/24",)),
)


@pytest.mark.parametrize(
    ("host", "port", "rule"),
    [
        ("packages.example.internal", 443, "exact"),
        ("PACKAGES.Example.Internal", 443, "exact"),
        ("a.cdn.example.internal", 443, "wild"),
        ("apt.example.internal", 80, "plain"),
    ],
)
def test_a_listed_host_is_allowed_by_its_rule(host: str, port: int, rule: str) -> None:
    judged = judge_host(RULES, "setup", host, port)
    assert isinstance(judged, HostRule) and judged.name == rule


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("other.example.internal", 443),  # default deny
        ("packages.example.internal", 22),  # D03
        ("packages.example.internal", 80),
        ("packages.example.internal", 0),
        ("packages.example.internal", 65536 + 443),
        ("a.packages.example.internal", 443),
        ("packages.example.internal.evil.example", 443),
        ("xcdn.example.internal", 443),
        ("cdn.example.internal", 443),  # the wildcard is one label, not none
        ("a.b.cdn.example.internal", 443),  # and not two
        ("xn--80ak6aa92e.cdn.example.internal", 443),  # what nobody looked at
        ("*.cdn.example.internal", 443),
        ("", 443),
    ],
)
def test_what_is_not_listed_is_denied(host: str, port: int) -> None:
    assert isinstance(judge_host(RULES, "setup", host, port), Deny)


@pytest.mark.parametrize(
    "spelling",
    [
        # D02, D09: addresses in every spelling that some resolver takes.
        "127.0.0.1", "127.1", "0177.0.0.1", "0x7f000001", "0x7f.1", "2130706433", "0", "10.1.2.3", "169.254.169.254",
        "0xa9fea9fe", "2852039166", "169.254.43518", "::1", "[::1]", "::ffff:127.0.0.1", "fd00:ec2::254", "1.2.3.0x4",
        "evil.0x7f", "a.1", "0x", "1e3.0",
        # Forms that two readers read differently.
        "packages.example.internal.", "user@packages.example.internal", "packages.example.internal@evil.example",
        "packages.example.internal:443", "packages.example.internal/x", "packages.example.internal%00.evil.example",
        "packages.example.internal\x00.evil.example", "packages.example.internal\r\n", "packages .example.internal",
        "packages.example.internal#", "packages.example.internal?", "packages\\example.internal", ".", "..", "a..b",
        "-a.example.internal", "a-.example.internal", "é.example.internal", "packages。example。internal",
        "\u212a.example.internal", "a" * 64 + ".example.internal", "a." * 130 + "internal",
    ],
)  # fmt: skip
def test_no_other_spelling_is_a_name(spelling: str) -> None:
    assert name_fault(spelling) is not None
    rules = (HostRule("everything", spelling, 443), HostRule("wild", "*." + spelling.partition(".")[2], 443))
    assert isinstance(judge_host(rules, "setup", spelling, 443), Deny)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.7.7", "100.64.0.1",
        "169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "198.18.0.1",
        "224.0.0.251", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:10.1.2.3",
        "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::1", "2001::1",
        "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "100::1", "not an address",
        "::1:0:0", "b8::9", "2001:2::1", "4000::1", "8000::1", "fbff::1",
    ],
)  # fmt: skip
def test_a_name_that_leads_there_is_denied(address: str) -> None:
    assert isinstance(judge_addresses(RULES[0], [address]), Deny)
    # Every address counts, wherever it stands.
    assert isinstance(judge_addresses(RULES[0], ["203.0.113.9", address]), Deny)
    assert isinstance(judge_addresses(RULES[0], [address, "203.0.113.9"]), Deny)


@pytest.mark.parametrize("address", ["192.0.2.1", "198.51.100.7", "203.0.113.9", "2001:db8::9", "8.8.4.4", "2606::1"])
def test_public_and_documentation_addresses_may_be_reached(address: str) -> None:
    assert judge_addresses(RULES[0], [address]) == Allow("exact")


def test_a_rule_exempts_its_own_networks_and_no_others() -> None:
    assert judge_addresses(RULES[3], ["10.9.8.7"]) == Allow("db")
    assert isinstance(judge_addresses(RULES[3], ["10.9.9.7"]), Deny)
    assert isinstance(judge_addresses(RULES[0], ["10.9.8.7"]), Deny)
    assert isinstance(judge_addresses(RULES[3], ["10.9.8.7", "10.9.9.7"]), Deny)
    assert isinstance(judge_addresses(RULES[3], []), Deny)


@pytest.mark.parametrize("network", ["169.254.0.0/16", "0.0.0.0/0", "::/0"])
def test_no_exemption_opens_the_metadata_service(network: str) -> None:
    rule = HostRule("careless", "db.example.internal", 80, (network,))
    for address in ("169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "224.0.0.1"):
        assert isinstance(judge_addresses(rule, [address]), Deny)


@given(st.text(max_size=80), st.integers(-5, 70000))
def test_only_listed_spellings_are_ever_allowed(host: str, port: int) -> None:
    judged = judge_host(RULES, "setup", host, port)
    if isinstance(judged, HostRule):
        folded = host.lower()
        assert port == judged.port
        assert folded == judged.host or folded.partition(".")[2] == judged.host.removeprefix("*.")


@given(st.ip_addresses())
def test_forbidden_is_what_the_list_says(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    listed = any(net.version == address.version and address in net for net, _ in FORBIDDEN)
    assert isinstance(judge_addresses(RULES[0], [str(address)]), Deny) == listed
