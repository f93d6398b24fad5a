"""Claims of the section `network` about real registries: a real package, by the host's own client, through the proxy.

Made in the host's own network, because the registry lives there; only for a host that the boundary names as a registry
and that this host's own package client is configured with, so that nobody is asked who would not be asked anyway.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ringfence import points
from ringfence.adapters.process import run
from ringfence.domain.boundary import NetworkRule
from ringfence.domain.events import EgressDecided, from_json
from ringfence.domain.hosts import HostRule
from ringfence.domain.rules import host_rules
from ringfence.ports.egress import Egress
from ringfence.prove.claim import Claim, Result, broken, holds, untestable
from ringfence.prove.ground import RUN, Ground, interpreter

_PACKAGE = "iniconfig==2.0.0"  # small, pure, without dependencies
_SECONDS = 90.0


def rules(ground_phase_rules: tuple[NetworkRule, ...]) -> tuple[NetworkRule, ...]:
    """Those of a phase that are registries."""
    return tuple(rule for rule in ground_phase_rules if rule.purpose == "registry")


def claims(ground: Ground) -> Iterator[Claim]:
    """One for each registry of set-up."""
    for rule in rules(ground.boundary.network_rules("setup")):
        statement = f"setup installs a real package from {rule.host}:{rule.port}"
        yield Claim("network", statement, partial(_install, ground, rule), benign=True)


def configured() -> str:
    """The index that this host's own pip asks: what it is configured with, else its own default; or nothing."""
    python = interpreter()[0]
    told = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(Path.home())}
    own = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    for words in (("-m", "pip", "config", "get", "global.index-url"), ("-c", own)):
        done = run([python, *words], environment=told, timeout=30.0)
        if done.exit_code == 0 and done.stdout.strip():
            return done.stdout.decode(errors="replace").strip()
    return ""


@contextmanager
def _proxy(ground: Ground) -> Iterator[Egress]:
    with points.egress(ground.boundary, ground.settings, points.attempt_recorder(ground.log)) as running:
        yield running


def _install(ground: Ground, rule: NetworkRule) -> Result:
    index = configured()
    parts = urlsplit(index)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    mine = [one for one in host_rules(ground.boundary, "setup") if one.host == rule.host and one.port == rule.port]
    if not parts.hostname or not any(one.covers(parts.hostname, port) for one in mine):
        return untestable("this host's own package client (pip) is not configured with this host")
    return _through(ground, index, mine[0])


def _through(ground: Ground, index: str, rule: HostRule) -> Result:
    room = ground.empty_room()
    before = len(ground.log.records(RUN))
    argv = ("python3", "-m", "pip", "install", "--no-deps", "--no-cache-dir", "--disable-pip-version-check",
            "--retries", "0", "--index-url", index, "--target", "/workspace/site", _PACKAGE)  # fmt: skip
    with _proxy(ground) as running:
        rooms = ground.rooms(egress=running)
        outcome, _ = rooms.run(rooms.spec("setup", argv, room, _SECONDS))
    made = (room.path / "site" / "iniconfig").is_dir()
    rooms.remove(room)
    events = [from_json(record.event) for record in ground.log.records(RUN)[before:]]
    decided = [event for event in events if isinstance(event, EgressDecided)]
    denied = sorted({event.destination for event in decided if event.decision == "deny"})
    got = sum(event.received for event in decided if event.decision == "allow")
    said = " ".join(outcome.output.decode(errors="replace").split())[-300:]
    if made and outcome.exit_code == 0:
        return holds(f"{_PACKAGE} installed by pip in a sandbox, {got} bytes through the proxy by {rule.name}")
    if b"No module named pip" in outcome.output or b"not found" in outcome.output[:200]:
        return untestable(f"the toolchains of {ground.repository} have no pip: {said}")
    return broken(f"pip ended with {outcome.stopped or outcome.exit_code}; denied: {denied or 'nothing'}; {said}")
