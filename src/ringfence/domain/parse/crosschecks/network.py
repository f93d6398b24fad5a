"""Network rules: each names one host as narrowly as it can be named, and leads nowhere that no rule may lead."""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from ringfence.domain.boundary import Boundary, NetworkRule
from ringfence.domain.hosts import FORBIDDEN, NEVER, name_fault
from ringfence.domain.parse.crosschecks.check import NOT_ENFORCED, CrossCheck
from ringfence.domain.parse.problem import Finding, Steps

_PHASES = ("setup", "agent", "validation")
#: Suffixes below which anybody can have a name: a wildcard there is a way out to whoever wants one.
_ANYBODYS = (
    "amazonaws.com", "appspot.com", "azureedge.net", "azurewebsites.net", "blob.core.windows.net", "cloudfront.net",
    "firebaseapp.com", "fly.dev", "github.io", "gitlab.io", "herokuapp.com", "netlify.app", "ngrok.io", "pages.dev",
    "run.app", "vercel.app", "web.app", "workers.dev",
)  # fmt: skip
#: Second-level labels that stand for a public suffix in many countries: `*.co.uk` is as broad as `*.com`.
_SECOND_LEVEL = frozenset(("ac", "co", "com", "edu", "gov", "net", "or", "org"))
_LOCAL = ("localhost", "metadata", "metadata.google.internal", "instance-data")
#: Ports inside a sandbox that are taken: the proxy's and the gateway's.
TAKEN_PORTS = (3128, 8321)


def _network(boundary: Boundary) -> Iterator[Finding]:
    served: dict[int, str] = {}  # in all phases: the doors are the same everywhere
    for phase in _PHASES:
        rules = boundary.network_rules(phase)
        seen: set[tuple[str, int]] = set()
        for place, rule in enumerate(rules):
            steps: Steps = ("network", phase, place)
            yield from _host(rule, (*steps, "host"))
            yield from _cidrs(rule, (*steps, "cidrs"))
            if rule.inspect:
                mend = "write `inspect: false`; a rule then allows every method and path of the host"
                yield Finding((*steps, "inspect"), f"opening TLS is {NOT_ENFORCED}", mend)
            if (rule.host, rule.port) in seen:
                yield Finding(steps, f"{rule.host!a}:{rule.port} is listed twice in phase {phase}", "keep one of them")
            seen.add((rule.host, rule.port))
            if rule.purpose == "service":
                yield from _service(rule, served.get(rule.port), steps)
                served.setdefault(rule.port, rule.host)


def _host(rule: NetworkRule, steps: Steps) -> Iterator[Finding]:
    wild = rule.host.startswith("*.")
    name = rule.host.removeprefix("*.")
    fault = name_fault(name)
    if rule.host == "*" or name in ("", "*"):
        yield Finding(steps, f"{rule.host!a} is over-broad: it is every host", "name the hosts that are needed")
    elif fault:
        mend = "write a name such as packages.example.internal, or *.example.internal for one label before it"
        yield Finding(steps, f"{rule.host!a} is no host: {fault}", mend)
    elif name != name.lower():
        yield Finding(steps, f"{rule.host!a} is not written in lower case", f"write {rule.host.lower()}")
    elif name in _LOCAL or name.endswith(".localhost"):
        yield Finding(steps, f"{rule.host!a} is the worker itself or a metadata service", "remove this rule")
    elif wild:
        yield from _wildcard(rule, name, steps)


def _wildcard(rule: NetworkRule, name: str, steps: Steps) -> Iterator[Finding]:
    labels = name.split(".")
    suffix = len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _SECOND_LEVEL
    if len(labels) < 2 or suffix:
        what = f"{rule.host!a} is over-broad: everybody's names end like this"
        yield Finding(steps, what, "write the organisation's own domain after the wildcard, or each host")
    elif any(name == anybodys or name.endswith(f".{anybodys}") for anybodys in _ANYBODYS):
        what = f"{rule.host!a} is over-broad: anybody can have a name there, and so a place to send code to"
        yield Finding(steps, what, "name each host that is needed")
    elif rule.purpose == "service":
        yield Finding(steps, f"{rule.host!a}: a service is one host", "name it without a wildcard")
    elif rule.cidrs:
        what = f"{rule.host!a} with `cidrs` would let any name of the domain lead into a private network"
        yield Finding(steps, what, "name the host that is there")


def _cidrs(rule: NetworkRule, steps: Steps) -> Iterator[Finding]:
    for place, text in enumerate(rule.cidrs):
        try:
            network = ip_network(text)
        except ValueError:
            mend = "write a network such as 10.20.0.0/24, without host bits"
            yield Finding((*steps, place), f"{text!a} is no network", mend)
            continue
        fault = _network_fault(network)
        if fault:
            yield Finding((*steps, place), f"{text} {fault[0]}", fault[1])


def _network_fault(network: IPv4Network | IPv6Network) -> tuple[str, str] | None:
    same = [other for other in NEVER if other.version == network.version]
    if any(network.overlaps(other) for other in same):
        return "holds addresses that no rule opens (link-local, metadata, multicast, translated)", "leave them out"
    if network.prefixlen < (16 if network.version == 4 else 48):
        return "is over-broad", "name the network of the one host; at most a /16 (IPv6: /48)"
    if network.is_loopback and network.prefixlen != network.max_prefixlen:
        return "is more than one loopback address: the worker's own services are there", "write the one address"
    if not any(network.version == other.version and network.overlaps(other) for other, _ in FORBIDDEN):
        return "needs no exemption: its addresses may be reached anyhow", "remove it"
    return None


def _service(rule: NetworkRule, other: str | None, steps: Steps) -> Iterator[Finding]:
    if rule.port in TAKEN_PORTS:
        mend = "have the service listen on another port, or give it the purpose `registry` if it is reached by https"
        yield Finding((*steps, "port"), f"port {rule.port} is taken inside sandboxes", mend)
    if other is not None and other != rule.host:
        what = f"{rule.host!a} and {other!a} would have the same door, port {rule.port}"
        yield Finding((*steps, "port"), what, "a service's door has its port; have one of them listen elsewhere")


CHECKS = (CrossCheck(("network",), _network),)
