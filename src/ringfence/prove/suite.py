"""The whole proof: a ground is set out, every claim of every section is tried, and all of it is taken away."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ringfence.domain.boundary import Boundary
from ringfence.domain.errors import InputError
from ringfence.domain.parse import digest
from ringfence.ports.sandbox import Sandboxes
from ringfence.prove import strange
from ringfence.prove.claim import Claim, Proof, Result, Verdict, judged, tried
from ringfence.prove.ground import Ground, ground, place_for, whoami
from ringfence.prove.host import ADDRESS
from ringfence.prove.level import LEVELS, level_of, reaches
from ringfence.prove.sections import (
    approval,
    branches,
    checkout,
    commands,
    limits,
    logs,
    models,
    network,
    registries,
    repositories,
    secrets,
    tickets,
)
from ringfence.settings import (
    CodeHostSettings,
    EgressSettings,
    SandboxSettings,
    Settings,
    TrackerSettings,
    WorkerSettings,
)
from ringfence.wiring import make_sandboxes

Claims = Callable[[Ground], Iterator[Claim]]
#: In the order of the document.
SECTIONS: dict[str, Claims] = {
    "checkout": checkout.claims,
    "repositories": repositories.claims,
    "branches": branches.claims,
    "commands": commands.claims,
    "network": network.claims,
    "logs": logs.claims,
    "models": models.claims,
    "secrets": secrets.claims,
    "tickets": tickets.claims,
    "limits": limits.claims,
    "approval": approval.claims,
}


@dataclass(frozen=True, slots=True)
class Report:
    """What was tried and what became of it."""

    boundary: str
    digest: str
    level: str  # of the sandboxes
    proved_by: str
    place: str
    network: str
    proofs: tuple[Proof, ...]
    seconds: float

    def count(self, verdict: Verdict, *, benign: bool) -> int:
        """How many claims of one kind ended so."""
        return sum(proof.verdict is verdict and proof.benign is benign for proof in self.proofs)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many claims of each kind ended how."""
        kinds = {"containment": False, "allowed": True}
        return {
            kind: {verdict.value: self.count(verdict, benign=benign) for verdict in Verdict}
            for kind, benign in kinds.items()
        }

    @property
    def summary(self) -> tuple[str, ...]:
        """The counts in words: what must be stopped and what must work, side by side."""
        words = {"containment": ("must be stopped", "got through"), "allowed": ("must work", "was blocked")}
        lines = []
        for kind, count in self.counts.items():
            what, wrong = words[kind]
            stands, fell, untested = count["holds"], count["broken"], count["not testable here"]
            lines.append(f"{what}: {stands} of {stands + fell} hold, {fell} {wrong}, {untested} not testable here")
        return tuple(lines)

    @property
    def exit_code(self) -> int:
        """Of the command: 1 when anything is broken."""
        return 1 if self.broken else 0

    @property
    def broken(self) -> bool:
        """Whether anything is."""
        return any(proof.verdict is Verdict.BROKEN for proof in self.proofs)


def prove(
    boundary: Boundary,
    text: bytes,
    sandbox: SandboxSettings | None = None,
    egress: EgressSettings | None = None,
    *,
    sections: Sequence[str] = (),
    level: str = "",
    make: Callable[[Settings], Sandboxes] = make_sandboxes,
    see: Callable[[Proof], None] = lambda _proof: None,
) -> Report:
    """Try everything, or some sections. Errors: `ControlMissing` when it cannot be tried at all on this host."""
    unknown = [name for name in sections if name not in SECTIONS]
    if unknown:
        raise InputError(f"there is no section {unknown[0]!r}", mend=f"sections are {', '.join(SECTIONS)}")
    if level and level not in LEVELS:
        raise InputError(f"there is no level {level!r}", mend=f"levels are {', '.join(LEVELS)}, from the least up")
    chosen = tuple(SECTIONS[name] for name in SECTIONS if name in sections or not sections)
    if level:
        chosen = (lambda made: iter((_level(made, level),)), *chosen)
    began = time.monotonic()
    why = strange.why_not()
    with place_for(boundary) as (place, said):
        settings = settings_at(place, sandbox or SandboxSettings(), egress or EgressSettings())
        sandboxes = make(settings)

        def work() -> tuple[Proof, ...]:
            return _all(boundary, settings, sandboxes, chosen, why, see)

        proofs = work() if why else strange.elsewhere(work, (*network.addresses(boundary), ADDRESS))
        if network.claims in chosen:
            proofs += _registries(boundary, settings, sandboxes, see)
        level = sandboxes.level
    where = why or f"a network of its own, in which {len(network.addresses(boundary))} addresses answered"
    seconds = round(time.monotonic() - began, 1)
    return Report(boundary.name, digest(text), level, whoami(), said, where, proofs, seconds)


def _all(
    boundary: Boundary,
    settings: Settings,
    sandboxes: Sandboxes,
    chosen: tuple[Claims, ...],
    why: str,
    see: Callable[[Proof], None],
) -> tuple[Proof, ...]:
    proofs = []
    with ExitStack() as stack:
        beacons = None
        if not why:
            beacons = strange.Beacons(network.listeners(boundary))
            stack.callback(beacons.close)
        made = stack.enter_context(ground(boundary, settings, sandboxes, beacons, why))
        for claims in chosen:
            for claim in claims(made):
                proofs.append(tried(claim))
                see(proofs[-1])
    return tuple(proofs)


def _level(made: Ground, wanted: str) -> Claim:
    """That sandboxes of this host are worth what was asked for."""

    def attempt() -> Result:
        with made.sandboxes.hold(made.first()) as held:
            controls = held.controls
            held.run()
        level = level_of(controls)
        return judged(reaches(level, wanted), f"it is {level or 'not even confined'}: {', '.join(controls)}")

    return Claim("commands", f"sandboxes of this host are {wanted} or better: {LEVELS[wanted]}", attempt)


def _registries(
    boundary: Boundary, settings: Settings, sandboxes: Sandboxes, see: Callable[[Proof], None]
) -> tuple[Proof, ...]:
    """What only the host's own network can show; nothing is set out when no registry is named."""
    if not registries.rules(boundary.network_rules("setup")):
        return ()
    elsewhere = settings.worker.model_copy(update={"state": settings.worker.state.parent / "registries"})
    settings = settings.model_copy(update={"worker": elsewhere})
    proofs = []
    with ground(boundary, settings, sandboxes, None, "") as made:
        for claim in registries.claims(made):
            proofs.append(tried(claim))
            see(proofs[-1])
    return tuple(proofs)


def settings_at(place: Path, sandbox: SandboxSettings, egress: EgressSettings) -> Settings:
    """Settings of the ground: no tracker, no code host and no secret of the operator's is in them."""
    return Settings(
        worker=WorkerSettings(state=place / "state", boundary=place / "boundary.yaml"),
        tracker=TrackerSettings(kind="folder", path=place / "tickets"),
        code_host=CodeHostSettings(kind="local", url="http://127.0.0.1:9"),
        sandbox=sandbox,
        egress=egress,
    )
