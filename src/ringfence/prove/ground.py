"""The proving ground: a state directory of its own, the worker's real parts over it, and a repository to work on.

The boundary is the one under proof, but for the upstream of its model routes, which is a recorded script of ours:
no provider is called and no credential of the operator is opened. Nothing of the operator's state is touched.
"""

import json
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ringfence import points
from ringfence.adapters.artifacts.directory import DirectoryArtifacts
from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.adapters.git import GitIntake, GitObjects, environment
from ringfence.adapters.process import run
from ringfence.broker.redacting import LearningRedactor
from ringfence.domain.boundary import Boundary, NetworkLimits, RepositoryCommands, SandboxLimits
from ringfence.domain.errors import ControlMissing
from ringfence.domain.events import EgressDecided, from_json
from ringfence.pipeline import retention
from ringfence.pipeline.exits import Exits
from ringfence.pipeline.ports import Places
from ringfence.pipeline.rooms import Room, Rooms, Source, remove_tree
from ringfence.ports.broker import Secret
from ringfence.ports.egress import Egress
from ringfence.ports.sandbox import Finding, HeldSandbox, Mount, Outcome, Sandboxes, SandboxSpec
from ringfence.prove import inside
from ringfence.prove.acting import acting_as
from ringfence.prove.strange import Beacons
from ringfence.settings import Settings

RUN = "prove"
#: Whose sandboxes each phase of the network section is tried by.
ROLES = {"setup": "setup", "agent": "agent", "validation": "checks:patch"}
_PROGRAM = "/ringfence/prove.py"
_STRAY = "ringfence/prove"
_FILES = {
    "value.txt": "1\n",
    "test_value.py": "import unittest\n\n\nclass Value(unittest.TestCase):\n"
    "    def test_value(self):\n        with open('value.txt') as f:\n            self.assertEqual(f.read(), '1\\n')\n",
    "test_value.sh": 'test "$(cat value.txt)" = 1 && echo passed\n',
}


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt inside ended, and what it reported; `came` is None when it never got that far."""

    outcome: Outcome
    came: Any
    digest: str  # of the redacted output, in the content store

    @property
    def end(self) -> str:
        """How it ended, for evidence."""
        last = self.outcome.output.decode(errors="replace").strip().splitlines()[-1:]
        why = self.outcome.stopped or f"exit code {self.outcome.exit_code}"
        return why if self.outcome.exit_code == 0 else f"{why}: {' '.join(last)[:200]}"


@dataclass(frozen=True, slots=True)
class Ground:
    """Everything that attempts are made with."""

    declared: Boundary  # as it stands in the document
    boundary: Boundary  # with our upstream, and with room for the attempts of the proof in a run's network budget
    settings: Settings
    places: Places
    sandboxes: Sandboxes
    log: SqliteAuditLog
    artifacts: DirectoryArtifacts
    redactor: LearningRedactor
    canary: str
    mirror: Path
    base: str
    repository: str
    findings: list[Finding]  # of the worker's own probe, once it was asked
    beacons: Beacons | None
    no_beacons: str  # why there are none

    @property
    def commands(self) -> RepositoryCommands:
        """Those of the repository that sandboxes are made for."""
        return self.boundary.commands.repositories[self.repository]

    @property
    def source(self) -> Source:
        """The base commit of the ground's own repository."""
        return Source(self.mirror, self.base)

    def rooms(self, repository: str = "", egress: Egress | None = None) -> Rooms:
        """Rooms as a run of this repository has them."""
        doors, mine = egress or points.NoDoors(), repository or self.repository
        exits = Exits(RUN, self.boundary, doors, self.log, self._authorities(), mine)
        # Without a proxy a sandbox is looked at as it is without its ways out.
        if egress is None:
            silent = self.boundary.network.model_copy(update={"setup": (), "agent": (), "validation": ()})
            exits = replace(exits, boundary=self.boundary.model_copy(update={"network": silent}))
        return Rooms(
            RUN, self.boundary, mine, place=self.places.run(RUN), sandboxes=self.sandboxes,
            log=self.log, artifacts=self.artifacts, exits=exits, stop=lambda: None, paused=lambda: False,
        )  # fmt: skip

    def attack(
        self,
        attempt: Callable[[inside.Given], Any],
        given: inside.Given,
        *,
        how: "How | None" = None,
        room: Room | None = None,
    ) -> Answer:
        """Make one attempt of inside.py in a sandbox as this boundary has it."""
        how = how or How()
        mine = room or self.empty_room()
        python, mounts = interpreter()
        argv = (python, "-I", "-S", _PROGRAM, attempt.__name__, json.dumps(given))
        rooms = (self.acting(how.command, argv) if how.command else self).rooms(how.repository, how.egress)
        spec = rooms.spec(how.role, argv, mine, how.seconds)
        seen = {mount.target for mount in spec.mounts}
        spec = replace(
            spec,
            mounts=(*spec.mounts, *how.mounts, *(mount for mount in mounts if mount.target not in seen)),
            files={**spec.files, _PROGRAM: Path(inside.__file__).read_bytes()},
            limits=how.limits or spec.limits,
            doors=(*spec.doors, *how.doors),
        )
        try:
            outcome, digest = rooms.run(spec, held=how.held)
        finally:
            if room is None:
                remove_tree(mine.path)
        return Answer(outcome, _came(outcome), digest)

    def acting(self, command: str, argv: tuple[str, ...]) -> "Ground":
        """A ground on which `argv` is a declared command, so that the network rules of that command are for it."""
        boundary, repository = acting_as(self.boundary, command, argv)
        return replace(self, boundary=boundary, repository=repository)

    def empty_room(self) -> Room:
        """A tree without a repository."""
        path = self.places.run(RUN) / f"room-{secrets.token_hex(6)}"
        path.mkdir(parents=True, mode=0o755)
        self.sandboxes.own(RUN, path)
        return Room(path, self.source, b"")

    def first(self) -> SandboxSpec:
        """A sandbox of this boundary in which an interpreter starts and ends."""
        python, mounts = interpreter()
        spec = self.rooms().spec("checks:base", (python, "-I", "-S", "-c", "pass"), self.empty_room(), 30.0)
        seen = {mount.target for mount in spec.mounts}
        return replace(spec, mounts=(*spec.mounts, *(mount for mount in mounts if mount.target not in seen)))

    def probe(self) -> list[Finding]:
        """What the worker's own attack on its sandbox finds; made once."""
        if not self.findings:
            self.findings.extend(self.sandboxes.probe())
        return self.findings

    def limits(self, **changes: int) -> SandboxLimits:
        """The boundary's limits with some of them smaller."""
        return self.boundary.limits.sandbox.model_copy(update=changes)

    def kept(self) -> Iterator[tuple[str, bytes]]:
        """Every byte that the log and the content store have on disk."""
        for path in self.places.state.rglob("*"):
            if path.is_file() and ("artifacts" in path.parts or path.name.startswith("audit.sqlite")):
                yield path.name, path.read_bytes()

    def decided(self, before: int) -> list[EgressDecided]:
        """What the proxy decided since there were so many records."""
        events = [from_json(record.event) for record in self.log.records(RUN)[before:]]
        return [event for event in events if isinstance(event, EgressDecided)]

    def trees(self) -> tuple[str, ...]:
        """Where sandboxes of the ground's repository see toolchains, and the interpreter of the attempts."""
        chains = self.boundary.commands.toolchains
        targets = [chains[name].target for name in self.commands.toolchains]
        return tuple(dict.fromkeys([*targets, *(mount.target for mount in interpreter()[1])]))

    def _authorities(self) -> bytes:
        return points.authorities(self.boundary, self.settings)


@dataclass(frozen=True, slots=True)
class How:
    """What is different about the sandbox of one attempt."""

    role: str = "agent"
    seconds: float = 60.0
    repository: str = ""
    command: str = ""  # which the attempt passes for, as network rules call it
    limits: SandboxLimits | None = None
    mounts: tuple[Mount, ...] = ()
    doors: tuple[int, ...] = ()
    held: Callable[[HeldSandbox], Callable[[], str | None]] | None = None
    egress: Egress | None = None


def interpreter() -> tuple[str, tuple[Mount, ...]]:
    """This very interpreter, with the trees it lives in."""
    python = Path(sys.executable).resolve()
    trees = [Path("/usr")]
    if not python.is_relative_to("/usr"):
        trees.append(Path(sys.base_prefix).resolve())
    return str(python), tuple(Mount(tree, str(tree)) for tree in trees)


def _came(outcome: Outcome) -> Any:
    for line in reversed(outcome.output.splitlines()):
        if line.startswith(b'{"came":'):
            return json.loads(line)["came"]
    return None


@contextmanager
def place_for(boundary: Boundary) -> Iterator[tuple[Path, str]]:
    """A directory of our own where the boundary allows checkouts, else a temporary one; and a word about it."""
    location = Path(boundary.checkout.location)
    try:
        made = Path(tempfile.mkdtemp(prefix="ringfence-prove-", dir=location))
        said = f"{made}, inside checkout.location"
    except OSError as error:
        made = Path(tempfile.mkdtemp(prefix="ringfence-prove-"))
        said = f"{made}; not inside checkout.location {location}, which cannot be written here: {error.strerror}"
    try:
        yield made, said
    finally:
        remove_tree(made)


@contextmanager
def ground(
    boundary: Boundary, settings: Settings, sandboxes: Sandboxes, beacons: Beacons | None, no_beacons: str
) -> Iterator[Ground]:
    """Everything set out; gone on leaving. Errors: `ControlMissing` when no sandbox can be made here."""
    canary = f"canary{secrets.token_hex(24)}"
    places = retention.prepare(settings.state)
    patterns = [(pattern.name, pattern.pattern) for pattern in boundary.logs.redaction.patterns]
    redactor = LearningRedactor([Secret(canary)], patterns)
    mirror, base = _repository(places.state / "mirrors" / "prove.git")
    provable, repository = _provable(boundary, places.state / "replay.json")
    with ExitStack() as stack:
        log = SqliteAuditLog(places.state / "audit.sqlite", clock=SystemClock(), redact=redactor.redact_text)
        stack.callback(log.close)
        stack.callback(sandboxes.reclaim, RUN)
        made = Ground(
            boundary, provable, settings, places, sandboxes, log,
            DirectoryArtifacts(places.state / "artifacts", redact=redactor.redact),
            redactor, canary, mirror, base, repository, [], beacons, no_beacons,
        )  # fmt: skip
        with sandboxes.hold(made.first()) as held:
            outcome = held.run()
        if outcome.exit_code != 0:
            said = outcome.output.decode(errors="replace")[-300:]
            raise ControlMissing(
                f"no command runs in a sandbox of this host: {outcome.stopped or outcome.exit_code} {said}",
                mend="`ringfence doctor` shows what is missing",
            )
        yield made


def _provable(boundary: Boundary, script: Path) -> tuple[Boundary, str]:
    """The boundary with our upstream behind its routes; and the repository that sandboxes are made for."""
    turns = [{"say": "provably"}]
    script.write_text(json.dumps({"version": 1, "conversations": [{"name": "prove", "turns": turns}]}))
    ours = {"provider": "replay", "endpoint": str(script), "credential": None}
    routes = tuple(route.model_copy(update=ours) for route in boundary.models.routes)
    models = boundary.models.model_copy(update={"routes": routes})
    commands = boundary.commands
    if not commands.repositories:  # a pilot that only observes: a sandbox without any toolchain of the boundary
        alone = RepositoryCommands(toolchains=(), path=("/usr/bin",), checks=())
        commands = commands.model_copy(update={"repositories": {_STRAY: alone}})
    roomy = NetworkLimits.model_validate({"requests": 1 << 20, "sent": "1024GiB", "received": "1024GiB"})
    limits = boundary.limits.model_copy(update={"network": roomy})
    changed = boundary.model_copy(update={"models": models, "commands": commands, "limits": limits})
    return changed, next(iter(changed.commands.repositories))


def _repository(path: Path) -> tuple[Path, str]:
    """A bare repository of one commit, made by host-side git as the worker's mirrors are."""
    told = environment("none")
    stream = b"commit refs/heads/main\ncommitter prove <prove@localhost> 1000000000 +0000\ndata 4\nbase\n"
    for name, text in _FILES.items():
        stream += f"M 100644 inline {name}\ndata {len(text.encode())}\n{text}\n".encode()
    for words, given in (
        (["git", "init", "-q", "--bare", "--template=", "-b", "main", str(path)], b""),
        (["git", f"--git-dir={path}", "fast-import", "--quiet"], stream),
    ):
        done = run(words, environment=told, stdin=given)
        if done.exit_code != 0:
            raise ControlMissing(f"git made no repository: {done.stderr.decode(errors='replace')[-300:]}")
    (path / "objects" / "info").mkdir(exist_ok=True)
    base = GitObjects().resolve(path, "refs/heads/main")
    assert base is not None
    return path, base


def objects() -> tuple[GitObjects, GitIntake]:
    """Host-side git."""
    return GitObjects(), GitIntake()


def whoami() -> str:
    """Who proves."""
    return "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
