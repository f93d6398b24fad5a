"""Claims of the section `network`: what sandboxes of each phase reach, in a network where everything answers.

Names of the boundary are led to beacons of ours, so that the real proxy decides and connects and no host of the
boundary is ever aimed at.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from typing import Any

from ringfence import points
from ringfence.domain.boundary import Boundary, NetworkRule
from ringfence.domain.events import EgressDecided, from_json
from ringfence.domain.hosts import NEVER
from ringfence.domain.run import fold
from ringfence.pipeline.exits import PROXY
from ringfence.ports.egress import Egress
from ringfence.prove import inside
from ringfence.prove.claim import Claim, Result, Verdict, broken, holds, judged, untestable
from ringfence.prove.ground import ROLES, RUN, Ground, How
from ringfence.prove.sections import fetching, inspected
from ringfence.prove.sections.commands import probed
from ringfence.prove.strange import ADDRESSES, METADATA, PORTS, PRIVATE, PUBLIC, TOKEN, Beacons

_UNLISTED = "unlisted.prove.example.internal"
_HOME = "203.0.113.77"
_UNCOUNTED = "every rule inspects or is for single commands, and is claimed by itself"


def addresses(boundary: Boundary) -> tuple[str, ...]:
    """Everything that answers: the forbidden addresses, and those that the boundary's hosts are led to."""
    return tuple(dict.fromkeys([*ADDRESSES, *(_address(rule) for rule in _rules(boundary))]))


def listeners(boundary: Boundary) -> set[tuple[str, int]]:
    """Where a beacon listens."""
    ports = {*PORTS, *(rule.port for rule in _rules(boundary))}
    fixed = {(address, port) for address in ADDRESSES for port in ports}
    return fixed | {(_address(rule), port) for rule in _rules(boundary) for port in (rule.port, _other(rule.port))}


def claims(ground: Ground) -> Iterator[Claim]:
    """The claims, in the order in which people ask."""
    yield Claim("network", "the forbidden addresses answer outside of a sandbox", lambda: _answers(ground), benign=True)
    yield from probed(ground, "network")
    for phase in ROLES:
        rules = ground.boundary.network_rules(phase)
        shown = ", ".join(f"{rule.host}:{rule.port}" for rule in rules) or "nothing"
        yield Claim("network", f"{phase} reaches {shown} and no address by itself",
                    partial(_direct, ground, phase))  # fmt: skip
        if not _rules(ground.boundary):  # then there is no proxy, and nothing to ask of it
            continue
        yield Claim("network", f"the proxy lets nothing else out during {phase}",
                    partial(_others, ground, phase))  # fmt: skip
        for rule in _rules(ground.boundary):
            if rule.purpose == "service" and rule not in rules:
                yield Claim("network", f"the door of {rule.host}:{rule.port} leads nowhere during {phase}",
                            partial(_shut, ground, phase, rule))  # fmt: skip
        if rules:
            yield Claim("network", f"a host of {phase} that leads to a forbidden address is refused",
                        partial(_led_astray, ground, phase))  # fmt: skip
        for rule in rules:
            yield from _own(ground, phase, rule)
    if _rules(ground.boundary):
        limits = ground.declared.limits.network
        yield Claim("network", f"a run is let out at most {limits.requests} times", partial(_budget, ground))
    yield from inspected.claims(ground)
    yield from fetching.claims(ground)


def _own(ground: Ground, phase: str, rule: NetworkRule) -> Iterator[Claim]:
    """What a rule opens, and for whom; what can be asked of an inspected host is claimed elsewhere."""
    where = f"{rule.host}:{rule.port}"
    if rule.inspect:
        return
    for command in rule.commands or ("",):
        who = f"{command} ({phase})" if command else phase
        yield Claim("network", f"{who} reaches {where}", partial(_allowed, ground, phase, rule, command), benign=True)
    if rule.commands:
        yield Claim("network", f"no other command of {phase} reaches {where}", partial(_elses, ground, phase, rule))


def _rules(boundary: Boundary) -> tuple[NetworkRule, ...]:
    return tuple(rule for phase in ROLES for rule in boundary.network_rules(phase))


def _name(rule: NetworkRule) -> str:
    return rule.host.replace("*", "prove", 1)


def _other(port: int) -> int:
    return 8443 if port != 8443 else 9443


def _address(rule: NetworkRule) -> str:
    """Where the rule's host is in our network: in the first of its own ranges, or at a public address."""
    for text in rule.cidrs:
        network = ip_network(text)
        if not any(network.version == never.version and network.overlaps(never) for never in NEVER):
            return str(network[1] if network.num_addresses > 2 else network[0])
    return _HOME


@contextmanager
def _proxy(ground: Ground, leading: dict[str, list[str]]) -> Iterator[Egress]:
    """The real proxy in a process of its own, whose names lead to beacons."""
    egress = ground.settings.egress.model_copy(update={"hosts": leading})
    settings = ground.settings.model_copy(update={"egress": egress})
    with points.egress(ground.boundary, settings, points.attempt_recorder(ground.log)) as running:
        yield running


def _home(ground: Ground) -> dict[str, list[str]]:
    return {_UNLISTED: [PUBLIC], **{_name(rule): [_address(rule)] for rule in _rules(ground.boundary)}}


def _answers(ground: Ground) -> Result:
    if ground.beacons is None:
        return untestable(ground.no_beacons)
    count = ground.beacons.answer()
    shown = ", ".join(addresses(ground.boundary))
    return holds(f"{count} listeners at {shown} answer the prover; whatever reaches one is seen")


def _direct(ground: Ground, phase: str) -> Result:
    if ground.beacons is None:
        return untestable(ground.no_beacons)
    ground.beacons.came()
    names = ("metadata.google.internal", "host.docker.internal", "kubernetes.default.svc", _UNLISTED)
    given = {"targets": [*ground.beacons.targets, ("127.0.0.2", 80, "tcp")], "names": names}
    with _proxy(ground, _home(ground)) as running:
        answer = ground.attack(inside.reach, given, how=How(ROLES[phase], egress=running, seconds=600.0))
    came = ground.beacons.came()
    if answer.came is None:
        return broken(f"the attempts did not end: {answer.end}")
    reached = [*answer.came["reached"], *(f"{address} port {port} {kind}" for address, port, kind in came)]
    where = ", ".join(dict.fromkeys(one.partition(" ")[0] for one in sorted(reached)))
    return judged(not reached, f"{answer.came['tried']} tried, reached: {where or 'none'}")


def _asked(ground: Ground, phase: str) -> list[dict[str, Any]]:
    """What a sandbox of this phase has no rule for."""
    rules = ground.boundary.network_rules(phase)
    listed = {(_name(rule), rule.port) for rule in rules}
    asked = [(_UNLISTED, 443), (METADATA, 80), (PRIVATE, 443), ("[fd00:ec2::254]", 80), ("localhost", 80)]
    for rule in rules:
        name = _name(rule)
        asked += [(name, _other(rule.port)), (f"{name}.", rule.port), (f"sub.{name}", rule.port)]
        asked += [(f"user@{name}", rule.port), (f"{name}.{_UNLISTED}", rule.port)]
    asked += [(_name(rule), rule.port) for rule in _rules(ground.boundary)]
    wrong = [{"host": name, "number": port, "sni": _UNLISTED} for name, port in sorted(listed)]
    return wrong + [
        {"host": n, "number": p, "sni": n.strip("[].")} for n, p in dict.fromkeys(asked) if (n, p) not in listed
    ]


def _through(ground: Ground, phase: str, leading: dict[str, list[str]], asked: list[dict[str, Any]]) -> Result:
    """Ask the real proxy for what it must refuse: nothing comes back, nobody is reached, each is on the log."""
    if ground.beacons is None:
        return untestable(ground.no_beacons)
    ground.beacons.came()
    before = len(ground.log.records(RUN))
    with _proxy(ground, leading) as running:
        given = {"proxy": PROXY, "asked": asked}
        answer = ground.attack(inside.proxy, given, how=How(ROLES[phase], egress=running, seconds=600.0))
    came = {(address, port) for address, port, _ in ground.beacons.came()}
    own = {(address, rule.port) for rule in ground.boundary.network_rules(phase) for address in (_address(rule),)}
    if answer.came is None:
        return broken(f"the attempts did not end: {answer.end}")
    got = [one["host"] for one, said in zip(asked, answer.came, strict=True) if TOKEN.decode() in said["got"]]
    denied = _denied(ground, before)
    # A tunnel with a wrong name in its hello is refused after the host that the rule names was connected to.
    astray = sorted(came - own)
    if got or astray or len(denied) < len(asked):
        return broken(f"got {got}, reached {astray}, {len(denied)} of {len(asked)} denials on the log")
    rules = ", ".join(sorted({event.rule for event in denied}))
    return holds(f"{len(asked)} asked of the real proxy, {len(denied)} denied and on the log by {rules}; none reached")


def _others(ground: Ground, phase: str) -> Result:
    if ground.beacons is None:
        return _others_nearby(ground, phase)
    return _through(ground, phase, _home(ground), _asked(ground, phase))


def _others_nearby(ground: Ground, phase: str) -> Result:
    """Without a network of our own: every destination would lead to one listener of ours, on this host's loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    names = {_name(rule) for rule in _rules(ground.boundary)}
    spelled = ("localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]", _UNLISTED)
    wrong = [way for name in sorted(names) for way in (name, f"{name}.", f"sub.{name}", f"user@{name}")]
    leading = {name.strip("."): ["127.0.0.1"] for name in (*wrong, _UNLISTED) if "@" not in name}
    asked = [{"host": host, "number": port, "sni": host.strip("[].")} for host in (*spelled, *wrong)]
    beacons = Beacons([("127.0.0.1", port)])
    try:
        beacons.answer()
        result = _through(replace(ground, beacons=beacons), phase, leading, asked)
    finally:
        beacons.close()
    return Result(result.verdict, f"{result.evidence}; by this host's loopback alone, for more {ground.no_beacons}")


def _led_astray(ground: Ground, phase: str) -> Result:
    rules = ground.boundary.network_rules(phase)
    names = {_name(rule): rule for rule in rules}
    leading = {name: [METADATA] if rule.cidrs else [_HOME, PRIVATE] for name, rule in names.items()}
    asked = [{"host": name, "number": rule.port, "sni": name} for name, rule in names.items()]
    return _through(ground, phase, leading, asked)


def _allowed(ground: Ground, phase: str, rule: NetworkRule, command: str) -> Result:
    if ground.beacons is None:
        return untestable(ground.no_beacons)
    ground.beacons.came()
    name, how = _name(rule), None
    with _proxy(ground, _home(ground)) as running:
        how = How(ROLES[phase], egress=running, command=command)
        asked = {"host": name, "number": rule.port, "sni": name}
        answer = ground.attack(inside.proxy, {"proxy": PROXY, "asked": [asked]}, how=how)
        tunnel = (answer.came or [{"status": answer.end, "got": ""}])[0]
        said, got = tunnel["status"], tunnel["got"].encode() == TOKEN
        if got and rule.purpose == "service":
            direct = ground.attack(inside.talk, {"host": name, "port": rule.port}, how=how)
            got, said = direct.came == TOKEN.decode(), f"{said}; by its own name and port: {direct.came or direct.end}"
    where = f"a stand-in at {_address(rule)} in our network, not the host itself"
    return judged(got, f"{where} answered through the proxy: {said}" if got else f"no answer through the proxy: {said}")


def _elses(ground: Ground, phase: str, rule: NetworkRule) -> Result:
    """A command that the rule does not name, by the proxy and by the door that a service has."""
    asked = {"host": _name(rule), "number": rule.port, "sni": _name(rule)}
    result = _through(ground, phase, _home(ground), [asked])
    if result.verdict is not Verdict.HOLDS or rule.purpose != "service":
        return result
    door = _shut(ground, phase, rule)
    return Result(door.verdict, f"{result.evidence}; at its own door: {door.evidence}")


def _shut(ground: Ground, phase: str, rule: NetworkRule) -> Result:
    """A service's own door is there in every phase, so that an attempt is on record; it leads out in its own only."""
    if ground.beacons is None:
        return untestable(ground.no_beacons)
    ground.beacons.came()
    before = len(ground.log.records(RUN))
    with _proxy(ground, _home(ground)) as running:
        given = {"host": _name(rule), "port": rule.port}
        answer = ground.attack(inside.talk, given, how=How(ROLES[phase], egress=running))
    denied = _denied(ground, before)
    reached = ground.beacons.came()
    good = not answer.came and not reached and bool(denied)
    return judged(
        good, f"got {answer.came or 'nothing'}, reached {reached or 'nobody'}, {len(denied)} denials on the log"
    )


def _budget(ground: Ground) -> Result:
    """With one connection left, the second is refused: counted from the log, as in a run that goes on after a crash."""
    if ground.beacons is None:
        return untestable(ground.no_beacons)
    rule = next((rule for rule in _rules(ground.boundary) if not (rule.inspect or rule.commands)), None)
    if rule is None:
        return untestable(_UNCOUNTED)
    phase = next(phase for phase in ROLES if rule in ground.boundary.network_rules(phase))
    records = (from_json(record.event) for record in ground.log.records(RUN))
    left = fold(RUN, records).spent.connections + 1
    network = ground.boundary.limits.network.model_copy(update={"requests": left})
    limits = ground.boundary.limits.model_copy(update={"network": network})
    poor = replace(ground, boundary=ground.boundary.model_copy(update={"limits": limits}))
    one = {"host": _name(rule), "number": rule.port, "sni": _name(rule)}
    before = len(ground.log.records(RUN))
    with _proxy(ground, _home(ground)) as running:
        given = {"proxy": PROXY, "asked": [one, one]}
        answer = poor.attack(inside.proxy, given, how=How(ROLES[phase], egress=running))
    got = [said["got"] == TOKEN.decode() for said in answer.came or []]
    rules = {event.rule for event in _denied(ground, before)}
    return judged(
        got == [True, False], f"with 1 left, of 2 connections: {got}; denied by {', '.join(rules) or 'nothing'}"
    )


def _denied(ground: Ground, before: int) -> list[EgressDecided]:
    return [event for event in ground.decided(before) if event.decision == "deny"]
