"""Claims of the section `network` about real registries: a real package, by the host's own client, through the proxy.

Made in the host's own network, because the registry lives there; only for a host that the boundary names as a registry
and that one of this host's own package clients (pip, npm, apt) is configured with, so that nobody is asked who would
not be asked anyway.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ringfence import points
from ringfence.adapters.process import run
from ringfence.domain.boundary import NetworkRule
from ringfence.domain.hosts import HostRule
from ringfence.domain.rules import host_rules
from ringfence.ports.egress import Egress
from ringfence.prove.claim import Claim, Result, broken, holds, untestable
from ringfence.prove.ground import RUN, Ground, interpreter

_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class _Client:
    """One package client: where this host's own one gets packages, what it is told inside, and what is there then."""

    name: str
    place: Callable[[], str]  # an address, or nothing
    argv: Callable[[str], tuple[str, ...]]
    package: str  # small and without dependencies
    made: str


def rules(ground_phase_rules: tuple[NetworkRule, ...]) -> tuple[NetworkRule, ...]:
    """Those of a phase that are registries."""
    return tuple(rule for rule in ground_phase_rules if rule.purpose == "registry")


def claims(ground: Ground) -> Iterator[Claim]:
    """One for each registry of set-up and each client that this host has configured with it."""
    for rule in rules(ground.boundary.network_rules("setup")):
        mine = [one for one in host_rules(ground.boundary, "setup") if one.host == rule.host and one.port == rule.port]
        found = {client: place for client, place in places().items() if any(_covers(one, place) for one in mine)}
        for client, place in found.items():
            statement = f"setup gets a real package from {rule.host}:{rule.port} with {client.name}"
            # A rule for single commands is for them alone: the client passes for the first of them.
            acting = ground.acting(rule.commands[0], client.argv(place)) if rule.commands else ground
            yield Claim("network", statement, partial(_through, acting, client, place, mine[0]), benign=True)
        if not found:
            statement = f"setup gets a real package from {rule.host}:{rule.port}"
            reason = "none of this host's own package clients (pip, npm, apt) is configured with this host"
            yield Claim("network", statement, partial(untestable, reason), benign=True)


def places() -> dict[_Client, str]:
    """Where this host's own clients get packages from: those that are there and are configured with an address."""
    return {client: place for client in _CLIENTS if (place := client.place())}


def _covers(rule: HostRule, place: str) -> bool:
    parts = urlsplit(place)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return bool(parts.hostname) and rule.covers(str(parts.hostname), port)


def _said(*argv: str) -> str:
    """What a program of this host says; nothing when it is not there or fails."""
    told = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(Path.home())}
    done = run(list(argv), environment=told, timeout=30.0)
    return done.stdout.decode(errors="replace").strip() if done.exit_code == 0 else ""


def configured() -> str:
    """The index that this host's own pip asks: what it is configured with, else its own default; or nothing."""
    python = interpreter()[0]
    own = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    return _said(python, "-m", "pip", "config", "get", "global.index-url") or _said(python, "-c", own)


def _npm() -> str:
    return _said("npm", "config", "get", "registry") if shutil.which("npm") else ""


def _apt() -> str:
    """The list of a release at the first plain site: what is under it is signed, so apt needs no TLS for it."""
    if not Path(_APT_HELPER).is_file():
        return ""
    found = re.search(r"^(http://\S+) (\S+)$", _said("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)"), re.M)
    return f"{found[1].rstrip('/')}/dists/{found[2]}/Release" if found else ""


@contextmanager
def _proxy(ground: Ground) -> Iterator[Egress]:
    with points.egress(ground.boundary, ground.settings, points.attempt_recorder(ground.log)) as running:
        yield running


def _through(ground: Ground, client: _Client, place: str, rule: HostRule) -> Result:
    room = ground.empty_room()
    before = len(ground.log.records(RUN))
    with _proxy(ground) as running:
        rooms = ground.rooms(egress=running)
        outcome, _ = rooms.run(rooms.spec("setup", client.argv(place), room, _SECONDS))
    made = (room.path / client.made).exists()
    rooms.remove(room)
    decided = ground.decided(before)
    denied = sorted({event.destination for event in decided if event.decision == "deny"})
    got = sum(event.received for event in decided if event.decision == "allow")
    said = " ".join(outcome.output.decode(errors="replace").split())[-300:]
    if made and outcome.exit_code == 0:
        return holds(f"{client.package} by {client.name} in a sandbox, {got} bytes through the proxy by {rule.name}")
    if b"No module named pip" in outcome.output or b"not found" in outcome.output[:200] or outcome.exit_code == 127:
        return untestable(f"the toolchains of {ground.repository} have no {client.name}: {said}")
    return broken(
        f"{client.name} ended with {outcome.stopped or outcome.exit_code}; denied: {denied or 'nothing'}; {said}"
    )


def _pip_words(place: str) -> tuple[str, ...]:
    return ("python3", "-m", "pip", "install", "--no-deps", "--no-cache-dir", "--disable-pip-version-check",
            "--retries", "0", "--index-url", place, "--target", "/workspace/site", "iniconfig==2.0.0")  # fmt: skip


def _npm_words(place: str) -> tuple[str, ...]:
    return ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries", "0",
            "--registry", place, "left-pad@1.3.0")  # fmt: skip


def _apt_words(place: str) -> tuple[str, ...]:
    return (_APT_HELPER, "download-file", place, "/workspace/Release")


_APT_HELPER = "/usr/lib/apt/apt-helper"
_CLIENTS = (
    _Client("pip", configured, _pip_words, "iniconfig==2.0.0", "site/iniconfig"),
    _Client("npm", _npm, _npm_words, "left-pad@1.3.0", "node_modules/left-pad/index.js"),
    _Client("apt", _apt, _apt_words, "the list of a release", "Release"),
)
