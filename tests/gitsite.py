"""The git side of a worker in one directory, all real: repository, mirror, intake, rooms, log and content store.

An attempt goes through the work stage itself; the agent is a shell script that runs in the sandbox instead of a model's
turns. There is no code host and no engine here; tests/worksite.py has those.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any

from hosting import Server, run_git
from ringfence.adapters.artifacts.directory import DirectoryArtifacts
from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.adapters.git import GitIntake, GitObjects, GitTransport
from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.domain.boundary import Boundary
from ringfence.domain.budget import Spent
from ringfence.domain.chain import first_break
from ringfence.domain.checks import Report
from ringfence.domain.errors import RunStopped
from ringfence.domain.events import CommandRan, Event, PatchRefused, from_json
from ringfence.domain.parse import parse
from ringfence.domain.patch import FileChange, Patch
from ringfence.domain.redaction import Redactor
from ringfence.pipeline.exits import Exits
from ringfence.pipeline.rooms import Room, Rooms, Source
from ringfence.pipeline.stages import validation, work
from ringfence.points import NoDoors
from ringfence.ports.agent import AgentReport, AgentTask, Launch
from ringfence.ports.broker import Grant, Secret
from ringfence.ports.gateway import DoorPolicy
from worksite import FILES, REPOSITORY, Worksite

RUN = "T-1-r1"
CANARY = "rfw_canary0a41b7c9d2e5f6"
#: What a planted command says when it runs anywhere; on the host it also leaves a file, which no sandbox can reach.
MARK = "PLANTED-COMMAND-RAN"


class ShellAgent:
    """An agent that is a script."""

    name = "shell"
    version = "1"
    hidden = ()

    def __init__(self, script: str) -> None:
        self._script = script

    def launch(self, _task: AgentTask) -> Launch:
        return Launch(("/bin/sh", "-c", self._script))

    def watch(self) -> Callable[[bytes], int]:
        return lambda _piece: 1

    def report(self, _output: bytes) -> AgentReport:
        return AgentReport("finished", 1, "")


class NobodyHome:
    """A gateway for agents that ask no model: the door is closed at once."""

    @contextmanager
    def open(self, listener: socket, _policy: DoorPolicy) -> "Iterator[NobodyHome]":
        listener.close()
        yield self

    def alive(self) -> bool:
        return True

    def denied(self) -> str | None:
        return None


class WatchedRooms(Rooms):
    """Rooms that show each tree once more before it is removed."""

    before_removal: Callable[[Room], None] = staticmethod(lambda _room: None)

    def remove(self, room: Room) -> None:
        self.before_removal(room)
        super().remove(room)


@dataclass
class GitSite:
    """Everything under `root`. `ran` is a path on the host that only a command executed on the host can make."""

    root: Path
    boundary: Boundary
    origin: Path
    mirror: Path
    intake: Path
    base: str
    sandboxes: BubblewrapSandboxes
    log: SqliteAuditLog
    artifacts: DirectoryArtifacts
    redactor: Redactor
    rooms: WatchedRooms
    stop: list[str] = field(default_factory=list)  # a reason in here ends what runs
    objects: GitObjects = field(default_factory=GitObjects)

    @property
    def ran(self) -> Path:
        return self.root / "ran"

    @property
    def planted(self) -> str:
        """A shell line for attackers: it leaves a file on the host, or says inside that it ran."""
        return f"echo x >> {self.ran}; echo {MARK} >&2"

    @property
    def source(self) -> Source:
        return Source(self.mirror, self.base)

    def tree(self, number: int = 1) -> Path:
        """Where the tree of an attempt is on the host, which no attacker can know."""
        return self.root / "state" / "runs" / RUN / f"agent-{number}"

    def attempt(self, script: str, *, number: int = 1, earlier: Patch | None = None) -> Patch:
        """The work stage with this script as the agent. Errors: `RunStopped`."""
        source = self.source
        if earlier is not None:
            source = Source(self.mirror, earlier.commit, GitIntake().pack(self.intake, earlier.commit, self.base))
        bench = work.Bench(
            self.boundary, self.rooms, ShellAgent(script), NobodyHome(), self.objects, GitIntake(), self.log,
            self.artifacts, lambda content: tuple(finding.name for finding in self.redactor.find(content)),
            SystemClock(),
        )  # fmt: skip
        message = "Change\n\nRingfence-Ticket: T-1\n"
        task = work.Assignment(
            RUN, number, REPOSITORY, source, self.base, "brief", message, 1_800_000_000, (), Spent()
        )  # fmt: skip
        return work.attempt(task, bench, self.intake)

    def validate(self, patch: Patch) -> Report:
        """The validation stage on the candidate's tree."""
        pack = GitIntake().pack(self.intake, patch.commit, self.base)
        source = Source(self.mirror, patch.commit, pack)
        return validation.validate(
            RUN, source, patch.tree, self.rooms, self.log, self.artifacts, side="patch", attempt=patch.attempt
        )

    def refused(self, script: str) -> PatchRefused:
        """The work stage refuses what this script left: the refusal, read back from the log."""
        try:
            patch = self.attempt(script)
        except RunStopped as stop:
            assert stop.reason == "patch_refused", stop
            return self.last(PatchRefused)
        raise AssertionError(f"taken: {self.changes(patch.commit)}")

    def stopped(self, script: str) -> RunStopped:
        """The work stage ends the run: its reason."""
        try:
            patch = self.attempt(script)
        except RunStopped as stop:
            return stop
        raise AssertionError(f"taken: {self.changes(patch.commit)}")

    def inside(self, room: Room, script: str, role: str = "agent") -> str:
        """Run a script in a room as an agent would; what it printed."""
        outcome, digest = self.rooms.run(self.rooms.spec(role, ("/bin/sh", "-c", script), room, 60.0))
        text = self.artifacts.get(digest).decode("utf-8", "replace")
        assert (outcome.exit_code, outcome.stopped, outcome.processes_left) == (0, None, 0), text
        return text

    def collect(self, room: Room, ref: str = "refs/quarantine/1") -> dict[str, FileChange]:
        """Take a room in, and say what is changed in it."""
        self.rooms.collect(room, GitIntake(), self.intake, parent=self.base, ref=ref)
        return self.changes(ref)

    def changes(self, rev: str) -> dict[str, FileChange]:
        return {change.path: change for change in self.objects.changes(self.intake, self.base, rev)}

    def content(self, change: FileChange) -> bytes:
        return self.objects.blob(self.intake, change.blob)

    @property
    def events(self) -> tuple[Event, ...]:
        records = self.log.records(RUN)
        assert first_break(records, RUN) is None
        return tuple(from_json(record.event) for record in records)

    def last(self, kind: type[Any]) -> Any:
        return [event for event in self.events if isinstance(event, kind)][-1]

    def said(self, role: str) -> str:
        """What the last command of a role printed."""
        ran = [event for event in self.events if isinstance(event, CommandRan) and event.role == role]
        return self.artifacts.get(ran[-1].output).decode("utf-8", "replace")

    def naive(self, tree: Path, *argv: str, stdin: str = "") -> None:
        """What a careless worker would do: git on the host, in the tree that the agent wrote."""
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_TERMINAL_PROMPT": "0"}
        environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(self.mirror / "objects")  # as the sandbox has them
        who = ("-c", "user.name=w", "-c", "user.email=w@example.internal", "-c", "safe.directory=*")
        subprocess.run(
            ["git", *who, "-c", "protocol.file.allow=always", *argv], cwd=tree, env=environment, input=stdin.encode(),
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    def assert_nothing_ran(self) -> None:
        """No planted command ran on the host, nor in the sandbox that read the tree."""
        assert not self.ran.exists()
        assert MARK not in self.said("collect")

    def assert_no_canary(self) -> None:
        """The canary is in no file, no git object and no record of the worker, but for the secret's own file."""
        needle = CANARY.encode()
        for path in (self.root / "state").rglob("*"):
            if path.is_file() and not path.is_symlink() and path.parent.name != "secrets":
                assert needle not in path.read_bytes(), path
        for repository in (self.mirror, self.intake):
            assert needle not in all_objects(repository), repository


def all_objects(repository: Path) -> bytes:
    """Every object of a bare repository, inflated."""
    done = subprocess.run(
        ["git", f"--git-dir={repository}", "cat-file", "--batch", "--batch-all-objects", "--unordered"],
        capture_output=True, check=True, timeout=60, env={"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1"},
    )  # fmt: skip
    return done.stdout


@contextmanager
def git_site(
    root: Path,
    files: Mapping[str, str] | None = None,
    *,
    boundary: Mapping[str, Any] | None = None,
    submodule: str = "",
) -> Iterator[GitSite]:
    """A repository with these files (and an entry for a submodule) and a worker that is about to work on it."""
    origin, state = root / "origin", root / "state"
    for path, text in (files or FILES).items():
        (origin / path).parent.mkdir(parents=True, exist_ok=True)
        (origin / path).write_text(text)
    run_git(origin, "init", "-q")
    run_git(origin, "add", "-A")
    if submodule:
        run_git(origin, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},{submodule}")
    run_git(origin, "commit", "-qm", "base")
    document = parse(
        Worksite(root, Server(root)).boundary({"commands.agents": [{"name": "shell"}], **(boundary or {})}).read_text(),
        source="boundary.yaml",
    )
    assert isinstance(document, Boundary), document
    (state / "runs" / RUN).mkdir(parents=True)
    for path in (state, state / "runs"):
        path.chmod(0o700)
    (state / "secrets").mkdir(mode=0o700)
    (state / "secrets" / "token").write_text(CANARY)
    transport = GitTransport(state / "mirrors", protocols="file")
    grant = Grant("g1", "checkout", REPOSITORY, "worker", Secret(CANARY))
    mirror = transport.refresh_mirror(REPOSITORY, f"file://{origin}", grant)
    base = run_git(origin, "rev-parse", "HEAD").stdout.strip()
    intake = transport.make_intake(state / "runs" / RUN / "intake.git", mirror, base)
    redactor = Redactor([CANARY.encode()])
    log = SqliteAuditLog(state / "audit.sqlite", clock=SystemClock(), redact=redactor.redact_text)
    artifacts = DirectoryArtifacts(state / "artifacts", redact=redactor.redact)
    sandboxes = BubblewrapSandboxes(state)
    reasons: list[str] = []
    rooms = WatchedRooms(
        RUN, document, REPOSITORY, place=state / "runs" / RUN, sandboxes=sandboxes, log=log, artifacts=artifacts,
        exits=Exits(RUN, document, NoDoors(), log, b""), stop=lambda: reasons[0] if reasons else None,
        paused=lambda: False,
    )  # fmt: skip
    yield GitSite(
        root, document, origin, mirror, intake, base, sandboxes, log, artifacts, redactor, rooms, reasons
    )  # fmt: skip
    log.close()
    assert sandboxes.reclaim(RUN) == 0
    shutil.rmtree(state / "runs", ignore_errors=True)
