"""Claims of the section `network` about hosts whose requests are read: methods, paths, spellings, credentials.

The host's name leads to a host of the proof's own that answers everything and remembers what it was asked. The proxy
verifies its certificate as it would the real one's, and the sandbox trusts its own authority alone.
"""

import http.server
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from ringfence import points
from ringfence.domain.boundary import NetworkRule
from ringfence.domain.hosts import METHODS
from ringfence.pipeline.exits import PROXY
from ringfence.prove import inside
from ringfence.prove.claim import Claim, Result, broken, holds, untestable
from ringfence.prove.ground import ROLES, RUN, Ground, How
from ringfence.prove.host import ADDRESS, serving

_ANSWER = b"ringfence-host"
_NEVER = ("TRACE", "PROPFIND")
_UNLISTED = "/~unlisted"
_OWN = "Basic cHJvdmU6cHJvdmU="


@dataclass(frozen=True, slots=True)
class _Saw:
    """A request as the host got it."""

    method: str
    path: str
    credentials: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Way:
    """Who asks, and by which rule; `command` is as network rules call it, empty for one that none names."""

    phase: str
    rule: NetworkRule
    command: str = ""


def claims(ground: Ground) -> Iterator[Claim]:
    """What each rule lets pass, and what none of those for a host does."""
    for phase in ROLES:
        rules = [rule for rule in ground.declared.network_rules(phase) if rule.inspect]
        for rule in rules:
            (method, path), where = _allowed(rule), f"{rule.host}:{rule.port}"
            for command in rule.commands or ("",):
                who = f"{command} ({phase})" if command else phase
                yield Claim("network", f"{who} may {method} {path} of {where}",
                            partial(_passes, ground, _Way(phase, rule, command)), benign=True)  # fmt: skip
        for (host, port), same in groupby(sorted(rules, key=_where), _where):
            beside = tuple(same)
            first = _Way(phase, beside[0], next(iter(beside[0].commands), ""))
            for what, asked in _forbidden(beside).items():
                yield Claim("network", f"{phase} is refused {what} at {host}:{port}",
                            partial(_refused, ground, first, asked))  # fmt: skip
            if all(rule.commands for rule in beside):
                yield Claim("network", f"no other command of {phase} may ask {host}:{port}",
                            partial(_refused, ground, replace(first, command=""), [_asked(beside[0])]))  # fmt: skip


def _where(rule: NetworkRule) -> tuple[str, int]:
    return rule.host, rule.port


def _name(rule: NetworkRule) -> str:
    return rule.host.replace("*", "prove", 1)


def _allowed(rule: NetworkRule) -> tuple[str, str]:
    """A method and a path that the rule is for."""
    method = "GET" if not rule.methods or "GET" in rule.methods else rule.methods[0]
    pattern = rule.paths[0] if rule.paths else "/prove"
    return method, pattern.replace("**", "prove/this").replace("*", "prove")


def _asked(rule: NetworkRule, **changes: Any) -> dict[str, Any]:
    method, path = _allowed(rule)
    return {"host": _name(rule), "number": rule.port, "method": method, "target": path, "headers": {}, **changes}


def _forbidden(rules: Sequence[NetworkRule]) -> dict[str, list[dict[str, Any]]]:
    """What no rule for this host lets be asked, each differing in one thing from what the first of them does."""
    rule = rules[0]
    path = _allowed(rule)[1]
    listed = {method for one in rules for method in one.methods or METHODS}
    methods = [*_NEVER, *(method for method in METHODS if method not in listed)]
    found = {"other methods": [_asked(rule, method=method) for method in methods]}
    if all(one.paths and not any("*" in pattern.split("/")[1] for pattern in one.paths) for one in rules):
        found["other paths"] = [_asked(rule, target=one) for one in (_UNLISTED, f"{_UNLISTED}{path}", f"/~{path[1:]}")]
    stem = path.rstrip("/")
    spelled = (f"{stem}/../prove", f"{stem}/%2e%2e/prove", f"{stem}/..;/prove", f"{stem}/%252e%252e/prove",
               f"{stem}/%5c../prove", f"{stem}//prove", f"/{path}", f"{stem}%00")  # fmt: skip
    found["paths that can be read in two ways"] = [_asked(rule, target=target) for target in spelled]
    put = {one.credential.header for one in rules if one.credential is not None and one.credential.header}
    headers = [{"Authorization": _OWN}, *({name: "prove"} for name in sorted(put))]
    found["a credential of its own"] = [_asked(rule, headers=one) for one in headers]
    found["another host's name in a request"] = [_asked(rule, headers={"Host": f"unlisted.{_name(rule)}"})]
    return found


def _passes(ground: Ground, way: _Way) -> Result:
    if ground.beacons is None:
        return untestable(ground.no_beacons)
    asked, put = _asked(way.rule), way.rule.credential
    before = len(ground.log.records(RUN))
    answers, end, saw = _answers(ground, way, [asked])
    wanted = ("allow", asked["method"], asked["target"], 200)
    rules = {one.rule for one in ground.decided(before) if (one.decision, one.method, one.path, one.status) == wanted}
    seen = [(one.method, one.path) for one in saw] == [(asked["method"], asked["target"])]
    # What is put on comes from the proxy: nobody inside has it, and here it is made up.
    if seen and rules and answers[0]["status"] == 200 and bool(saw[0].credentials) == (put is not None):
        said = f", {put.secret} put on by the proxy" if put is not None else ""
        return holds(f"a host of ours at {ADDRESS} was asked and answered, by {', '.join(sorted(rules))}{said}")
    return broken(f"{answers or end}; the host saw {saw or 'nothing'}; allowed on the log by {rules or 'nothing'}")


def _refused(ground: Ground, way: _Way, asked: list[dict[str, Any]]) -> Result:
    if ground.beacons is None:
        return untestable(ground.no_beacons)
    before = len(ground.log.records(RUN))
    answers, end, saw = _answers(ground, way, asked)
    denied = [one for one in ground.decided(before) if one.decision == "deny"]
    if saw or len(answers) != len(asked) or len(denied) < len(asked):
        shown = ", ".join(f"{one.method} {one.path}" for one in saw) or "nothing"
        return broken(f"the host saw {shown}; {len(denied)} of {len(asked)} denials on the log; {end}")
    rules = ", ".join(sorted({one.rule for one in denied}))
    return holds(f"{len(asked)} asked, {len(denied)} denied and on the log by {rules}; the host saw none of them")


def _answers(ground: Ground, way: _Way, asked: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str, list[_Saw]]:
    """Ask from a sandbox: what was answered, how that ended, and what the host saw."""
    name = _name(way.rule)
    with _host(ground, way.rule) as (trusted, saw):
        egress = ground.settings.egress.model_copy(update={"hosts": {name: [ADDRESS]}, "authorities": trusted})
        mine = replace(ground, settings=ground.settings.model_copy(update={"egress": egress}))
        with points.egress(mine.boundary, mine.settings, points.attempt_recorder(mine.log)) as running:
            how = How(ROLES[way.phase], egress=running, command=way.command, seconds=120.0)
            answer = mine.attack(inside.request, {"proxy": PROXY, "asked": asked}, how=how)
    return answer.came or [], answer.end, saw


@contextmanager
def _host(ground: Ground, rule: NetworkRule) -> Iterator[tuple[Path, list[_Saw]]]:
    """A host that answers every method: whom to trust, and what it was asked."""
    saw: list[_Saw] = []
    put = ["Authorization", *([rule.credential.header] if rule.credential and rule.credential.header else [])]

    class Answering(http.server.BaseHTTPRequestHandler):
        """Answers the same to everything."""

        def answer(self) -> None:
            """Remember what was asked, and answer."""
            found = (self.headers.get(name, "") for name in put)
            saw.append(_Saw(self.command, self.path, tuple(value for value in found if value)))
            self.send_response(200)
            self.send_header("Content-Length", str(len(_ANSWER)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(_ANSWER)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    for method in (*METHODS, *_NEVER):
        setattr(Answering, f"do_{method}", Answering.answer)
    with serving(Answering, _name(rule), rule.port, ground.places.state / "host") as trusted:
        yield trusted, saw
