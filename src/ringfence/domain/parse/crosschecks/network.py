"""Network rules: each names one host as narrowly as it can be named, and leads nowhere that no rule may lead."""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from ringfence.domain.boundary import Boundary, NetworkRule
from ringfence.domain.globs import is_broad
from ringfence.domain.hosts import FORBIDDEN, NEVER, name_fault
from ringfence.domain.parse.crosschecks.check import CrossCheck, quoted, repeated
from ringfence.domain.parse.problem import Finding, Steps
from ringfence.domain.web_paths import pattern_fault

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
#: Headers that mean something else to whoever reads a request.
_NOT_A_CREDENTIAL = frozenset((
    "host", "connection", "content-length", "transfer-encoding", "upgrade", "expect", "te", "trailer", "cookie",
    "proxy-authorization", "content-encoding", "content-type",
))  # fmt: skip
#: Ports inside a sandbox that are taken: the proxy's and the gateway's.
TAKEN_PORTS = (3128, 8321)


def _network(boundary: Boundary) -> Iterator[Finding]:
    served: dict[int, str] = {}  # in all phases: the doors are the same everywhere
    for phase in _PHASES:
        rules = boundary.network_rules(phase)
        seen: dict[tuple[str, int], list[NetworkRule]] = {}
        for place, rule in enumerate(rules):
            steps: Steps = ("network", phase, place)
            yield from _host(rule, (*steps, "host"))
            yield from _cidrs(rule, (*steps, "cidrs"))
            yield from _asked(rule, steps)
            yield from _credential(boundary, rule, steps)
            yield from _commands(boundary, phase, rule, steps)
            yield from _beside(rule, seen.setdefault((rule.host, rule.port), []), phase, steps)
            seen[rule.host, rule.port].append(rule)
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


def _asked(rule: NetworkRule, steps: Steps) -> Iterator[Finding]:
    """Methods, paths and credentials are judged where requests are read, and nowhere else."""
    for key, given in (("methods", rule.methods), ("paths", rule.paths), ("credential", rule.credential)):
        if given and not rule.inspect:
            what = f"`{key}` without `inspect: true`: inside a tunnel nobody sees what is asked for"
            yield Finding((*steps, key), what, f"write `inspect: true`, or remove `{key}`")
    if rule.inspect and rule.purpose == "service":
        what = "a service's own door is passed on as it is, and cannot be inspected"
        yield Finding((*steps, "inspect"), what, "write another purpose, or remove `inspect`")
    yield from repeated(rule.methods, (*steps, "methods"))
    for place, pattern in enumerate(rule.paths):
        fault = pattern_fault(pattern)
        if fault:
            mend = "write a path such as /simple/** or /upload/*"
            yield Finding((*steps, "paths", place), f"{pattern!a} is no path: {fault}", mend)


def _credential(boundary: Boundary, rule: NetworkRule, steps: Steps) -> Iterator[Finding]:
    put = rule.credential
    if put is None:
        return
    use = boundary.secret(put.secret)
    here = (*steps, "credential")
    if use is None or use.purpose != "registry":
        what = f"{put.secret!a} is no secret with purpose `registry`"
        yield Finding((*here, "secret"), what, "list it in `secrets` with that purpose")
    if rule.host.startswith("*."):
        yield Finding(here, f"{rule.host!a}: a credential is for one host", "name the host without a wildcard")
    if not rule.methods or not rule.paths or any(is_broad(pattern) for pattern in rule.paths):
        what = "a credential for everything of a host is over-broad: whoever is inside could use all that it can do"
        yield Finding(here, what, "write the `methods` and `paths` that need it")
    for key, given, scheme in (("username", put.username, "basic"), ("header", put.header, "header")):
        if (given is not None) != (put.scheme == scheme):
            what = f"`{key}` belongs to `scheme: {scheme}`, and is needed there"
            yield Finding(here, what, f"write `{key}` with `scheme: {scheme}` alone")
    if put.header is not None and put.header.lower() in _NOT_A_CREDENTIAL:
        yield Finding((*here, "header"), f"{put.header!a} is no place for a credential", "name another header")


def _commands(boundary: Boundary, phase: str, rule: NetworkRule, steps: Steps) -> Iterator[Finding]:
    if phase == "agent" and rule.commands:
        yield Finding((*steps, "commands"), "an agent is one command", "remove `commands`")
        return
    declared = boundary.commands.repositories.values()
    if phase == "setup":
        known = {" ".join(argv) for commands in declared for argv in commands.setup}
    else:
        known = {check.name for commands in declared for check in commands.checks}
    for place, name in enumerate(rule.commands):
        if name not in known:
            kind = "set-up command" if phase == "setup" else "check"
            what = f"{name!a} is no {kind} of any repository"
            yield Finding(
                (*steps, "commands", place), what, f"write one of: {quoted(sorted(known)) or 'there is none'}"
            )


def _beside(rule: NetworkRule, others: list[NetworkRule], phase: str, steps: Steps) -> Iterator[Finding]:
    """Several rules for one host: only where requests are read can they differ."""
    where = f"{rule.host!a}:{rule.port}"
    if any(other.inspect != rule.inspect for other in others):
        what = f"{where} is inspected by one rule of phase {phase} and not by another, which would let everything pass"
        yield Finding((*steps, "inspect"), what, "write `inspect: true` in all of them, or in none")
    elif any(other.cidrs != rule.cidrs for other in others):
        yield Finding(steps, f"{where} is in other networks by another rule of phase {phase}", "write the same `cidrs`")
    elif any(_alike(other, rule) for other in others):
        yield Finding(steps, f"{where} is listed twice in phase {phase}", "keep one of them")


def _alike(one: NetworkRule, other: NetworkRule) -> bool:
    """Whether nothing says which of two rules is meant."""
    differ = (one.methods, one.paths) != (other.methods, other.paths) if one.inspect else False
    return not differ and bool(set(one.commands) & set(other.commands) or not one.commands or not other.commands)


CHECKS = (CrossCheck(("network", "secrets", "commands"), _network),)
