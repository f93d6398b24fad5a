"""The composition root: the only module that knows ports and adapters.

`reading` opens what commands look at; `Worker` is everything that carries runs.
"""

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ringfence import __version__, agents, points
from ringfence.adapters import place
from ringfence.adapters.artifacts.directory import DirectoryArtifacts
from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.adapters.code_hosts.local import LocalCodeHost
from ringfence.adapters.git import GitIntake, GitObjects, GitTransport
from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.adapters.signers.local_key import LocalKey
from ringfence.adapters.token_minters.local import LocalTokenMinter
from ringfence.adapters.trackers.folder import FolderTracker
from ringfence.broker.grants import BoundaryBroker, Keys
from ringfence.broker.leases import held
from ringfence.broker.redacting import LearningRedactor
from ringfence.broker.sources import SecretSources
from ringfence.child.process import Answer
from ringfence.domain.boundary import Boundary
from ringfence.domain.brief import Brief
from ringfence.domain.errors import ControlMissing, InputError, RingfenceError, RunStopped
from ringfence.domain.events import CancelRequested, Event, GrantAsked, GrantRevoked, from_json
from ringfence.domain.halt import Halt, covering
from ringfence.domain.parse import digest, parse
from ringfence.domain.run import RunState, RunView, fold
from ringfence.domain.ticket import TICKET_ID, Ticket
from ringfence.gateway.call import Call
from ringfence.keys import at_hand, sources_of
from ringfence.pipeline import retention
from ringfence.pipeline.archive import Archive
from ringfence.pipeline.orders import Orders
from ringfence.pipeline.ports import Places, Ports
from ringfence.pipeline.rooms import remove_tree
from ringfence.pipeline.run import close_given_up, execute, preview
from ringfence.ports.egress import Egress
from ringfence.ports.engine import Engine, Steps
from ringfence.ports.gateway import Gateway
from ringfence.ports.sandbox import Finding
from ringfence.settings import Settings

_RUN_ID = re.compile(r"^(.+)-r(\d+)$")


@dataclass(frozen=True, slots=True)
class Reading:
    """What commands that only look need: settings, boundary, log and content store, nothing that acts."""

    settings: Settings
    boundary: Boundary
    boundary_text: bytes
    places: Places
    redactor: LearningRedactor
    log: SqliteAuditLog
    artifacts: DirectoryArtifacts
    secrets: SecretSources
    clock: SystemClock

    def runs(self) -> tuple[str, ...]:
        """Runs of tickets, the newest first; previews and the doctor's grants are on the log too, under other names."""
        return tuple(run for run in self.log.runs() if _RUN_ID.match(run))

    def view(self, run: str) -> RunView:
        """What the log says of a run. Errors: `InputError` when there is none of that name."""
        found = self.events(run)
        if not found:
            raise InputError(f"there is no run {run!r}", mend="`ringfence runs` lists them")
        return fold(run, found)

    def events(self, run: str) -> tuple[Event, ...]:
        """The events of a run."""
        return tuple(from_json(record.event) for record in self.log.records(run))

    def cancel(self, run: str, by: str) -> bool:
        """Ask for the end of a run; False when it has ended already."""
        if self.view(run).state is RunState.ENDED:
            return False
        self.places.cancel(run).touch(mode=0o600)
        self.log.append(run, CancelRequested(by))
        return True


@contextmanager
def reading(settings: Settings) -> Iterator[Reading]:
    """Open what commands look at. Errors: `InputError` for a boundary that does not hold, `ControlMissing` else."""
    boundary, text = read_boundary(settings.worker.boundary)
    _require_location(settings.state, boundary)
    places = retention.prepare(settings.state)
    secrets, vault = sources_of(settings)
    patterns = [(pattern.name, pattern.pattern) for pattern in boundary.logs.redaction.patterns]
    redactor = LearningRedactor(at_hand(settings, secrets), patterns)
    clock = SystemClock()
    log = SqliteAuditLog(places.state / "audit.sqlite", clock=clock, redact=redactor.redact_text)
    artifacts = DirectoryArtifacts(places.state / "artifacts", redact=redactor.redact)
    try:
        yield Reading(settings, boundary, text, places, redactor, log, artifacts, secrets, clock)
    finally:
        if vault is not None:
            vault.shut()
        log.close()


@dataclass(frozen=True, slots=True)
class Worker:
    """Carries runs until it is closed."""

    reading: Reading
    ports: Ports
    engine: Engine
    resumed: tuple[str, ...]

    def submit(self, ticket_id: str) -> str:
        """Queue a run of a ticket, or find the one that has not ended; its id."""
        run = next_run(self.reading, ticket_id)
        self.engine.submit(run, ticket_id)
        return run

    def due(self) -> tuple[Ticket, ...]:
        """Approved tickets that no run has taken up as they stand now."""
        views = [self.reading.view(run) for run in self.reading.runs()]
        seen = {view.ticket_digest for view in views}
        halts = Orders(self.ports.places.state).halts()
        fresh = (ticket for ticket in self.ports.tracker.approved() if ticket.digest not in seen)
        return tuple(ticket for ticket in fresh if covering(halts, "", ticket.repository) is None)


@contextmanager
def working(settings: Settings) -> Iterator[Worker]:
    """Start a worker: its sandbox is probed first, what was cut off is resumed, and what was left is swept."""
    from ringfence.adapters.engines.dbos import DbosEngine  # a quarter of a second, which a halt must not wait for

    with ExitStack() as stack:
        look = stack.enter_context(reading(settings))
        sandboxes = make_sandboxes(settings)
        _refuse_broken(sandboxes.probe())
        keys = (look.secrets, look.redactor)
        gateway = stack.enter_context(points.gateway(look.boundary, keys, look.settings, _recorder(look)))
        egress = stack.enter_context(
            points.egress(look.boundary, look.settings, points.attempt_recorder(look.log), keys)
        )
        ports = _ports(look, sandboxes, gateway, egress)

        def carry(run: str, ticket: str, steps: Steps) -> str:
            return execute(run, ticket, steps, ports)

        if not place.is_taken(settings.state):  # before a run goes on that may use one
            retention.sweep_layers(ports.places, look.boundary, look.clock)
        engine = DbosEngine(settings.state, carry, concurrency=settings.worker.concurrency)
        resumed = tuple(engine.start())
        stack.callback(engine.close)
        for run in engine.given_up():
            close_given_up(run, ports)
        for run in retention.sweep_checkouts(ports.places, frozenset(engine.unfinished()), sandboxes):
            ports.broker.reclaim(run, last=True)
        yield Worker(look, ports, engine, resumed)


def submit_elsewhere(look: Reading, ticket_id: str) -> str | None:
    """Queue a run for the worker of another process; None when there is no such worker."""
    if not place.is_taken(look.settings.state):
        return None
    from ringfence.adapters.engines.dbos import submit_to_worker

    run = next_run(look, ticket_id)
    submit_to_worker(look.settings.state, run, ticket_id)
    return run


def next_run(look: Reading, ticket_id: str) -> str:
    """The id of the ticket's unfinished run, or of a new one: `<ticket>-r<number>`."""
    if not TICKET_ID.match(ticket_id):
        raise InputError(
            f"{ticket_id!r} is no ticket id", mend="ids are letters, digits, _ and -, at most 64, such as INV-7"
        )
    numbers = [0]
    for run in look.runs():
        match = _RUN_ID.match(run)
        if match and match[1] == ticket_id:
            if Orders(look.places.state).quarantined(run):
                raise RunStopped("quarantined", f"{run} is quarantined", mend=f"`ringfence release {run}` ends it")
            if look.view(run).state is not RunState.ENDED:
                return run
            numbers.append(int(match[2]))
    _require_no_halt(look, ticket_id)
    return f"{ticket_id}-r{max(numbers) + 1}"


def _require_no_halt(look: Reading, ticket_id: str) -> None:
    """No new run while a halt covers it. Errors: `RunStopped("halted")` with who, and why."""
    halts = Orders(look.places.state).halts()
    repository = FolderTracker(look.settings.tracker.path).ticket(ticket_id).repository if halts else ""
    if (halt := covering(halts, "", repository)) is not None:
        raise RunStopped("halted", f"no new run of {ticket_id}: {halt.line}", mend="`ringfence resume` lifts the halt")


def make_sandboxes(settings: Settings) -> BubblewrapSandboxes:
    """The sandboxes of this host."""
    return BubblewrapSandboxes(settings.state, uid_base=settings.sandbox.uid_base, uid_count=settings.sandbox.uid_count)


def sweep_now(look: Reading) -> retention.Removed:
    """Remove what the boundary no longer keeps. Trees of a worker that is at work are left to it."""
    places, boundary = look.places, look.boundary
    at_work = place.is_taken(look.settings.state)
    alive = frozenset(run for run in look.runs() if look.view(run).state is not RunState.ENDED)
    checkouts = () if at_work else retention.sweep_checkouts(places, alive, make_sandboxes(look.settings))
    for run in checkouts:
        _broker(look).reclaim(run, last=True)
    mirrors = () if at_work else retention.sweep_mirrors(places, boundary, look.clock)
    layers = () if at_work else retention.sweep_layers(places, boundary, look.clock)
    archive = Archive(places, look.log, look.artifacts, LocalKey(places.state / "keys"), look.clock)
    runs = archive.forget(boundary.logs)
    bodies, left = archive.remove_bodies(boundary.logs, digest(look.boundary_text))
    return retention.Removed(checkouts, mirrors, layers, runs, bodies, archive.collect(), left)


def revoke_grants(settings: Settings, wanted: Halt) -> tuple[int, tuple[str, ...]]:
    """Revoke what runs under a halt still have, when nobody carries them any more: how many, and what is left open.

    It comes after the killing, for it needs what a halt does without: the boundary, the log, and the host's answer.
    """
    closed, left = 0, []
    try:
        with reading(settings) as look:
            for run in look.log.runs():
                if not any(wanted.covers(run, asked.repository) for asked in _open_grants(look, run)):
                    continue
                closed += _broker(look).reclaim(run)
                left += [f"{asked.grant} of {run} could not be revoked" for asked in _open_grants(look, run)]
    except RingfenceError as error:
        left.append(f"which grants are left is not known: {error.what}")
    return closed, tuple(left)


def _open_grants(look: Reading, run: str) -> list[GrantAsked]:
    """What a run asked for and has not given back, by the log."""
    events = look.events(run)
    over = {event.grant for event in events if isinstance(event, GrantRevoked)}
    return [event for event in events if isinstance(event, GrantAsked) and event.grant not in over]


def brief_of(look: Reading, ticket_id: str) -> Brief:
    """The brief of a ticket, with read grants and nothing else: no sandbox, no gateway, no engine."""
    run = f"context-{look.clock.token(4)}"
    ports = _ports(look, make_sandboxes(look.settings), points.NoDoors(), points.NoDoors())
    try:
        return preview(run, ticket_id, ports)
    finally:
        remove_tree(look.places.run(run))
        ports.broker.reclaim(run, last=True)


def health(look: Reading) -> Iterator[tuple[str, Callable[[], str]]]:
    """Checks of what the settings and the boundary name, each to be tried by `doctor`."""

    def tracker() -> str:
        count = len(FolderTracker(look.settings.tracker.path).approved())
        return f"{look.settings.tracker.path}: {count} tickets wait"

    def code_host() -> str:
        ports = _ports(look, make_sandboxes(look.settings), points.NoDoors(), points.NoDoors())
        names = [repository.name for repository in look.boundary.repositories]
        for name in names:
            with ports.broker.grant(f"doctor-{look.clock.token(4)}", "checkout", name) as grant:
                ports.git.remote_ref(ports.code_host.git_url(name), "refs/heads/none", grant)
        return f"{look.settings.code_host.url}: {len(names)} repositories can be read"

    def gateway() -> str:
        with points.gateway(look.boundary, (look.secrets, look.redactor), look.settings, _recorder(look)) as running:
            names = ", ".join(route.name for route in look.boundary.models.routes)
            return f"process {running.pid} started and answered; routes: {names}"

    def sandbox() -> str:
        sandboxes = make_sandboxes(look.settings)
        findings = sandboxes.probe()
        _refuse_broken(findings)
        return f"{sandboxes.level}: {len(findings)} attempts, all refused"

    def state() -> str:
        return f"{look.places.state}, inside {look.boundary.checkout.location}"

    def secrets() -> str:
        names = look.secrets.names()
        with held(look.secrets, names) as opened:
            for secret in opened.values():
                look.redactor.learn(secret)
        short = look.redactor.too_short
        if short:
            raise ControlMissing(
                f"{len(short)} secrets cannot be redacted: {'; '.join(short)}", mend="use longer, random values"
            )
        return f"{len(names)} can be opened, all can be redacted"

    yield "state directory", state
    yield "secrets", secrets
    yield "tickets", tracker
    yield "code host", code_host
    yield "model gateway", gateway
    yield "egress proxy", lambda: points.egress_health(look.boundary, look.settings, (look.secrets, look.redactor))
    yield "sandbox", sandbox


def _ports(look: Reading, sandboxes: BubblewrapSandboxes, gateway: Gateway, egress: Egress) -> Ports:
    settings = look.settings
    return Ports(
        boundary=look.boundary,
        boundary_text=look.boundary_text,
        boundary_digest=digest(look.boundary_text),
        worker=f"{socket.gethostname()}/{os.getpid()}",
        version=__version__,
        places=look.places,
        tracker=FolderTracker(settings.tracker.path),
        code_host=LocalCodeHost(settings.code_host.url),
        git=GitTransport(look.places.state / "mirrors"),
        objects=GitObjects(),
        intake=GitIntake(),
        sandboxes=sandboxes,
        gateway=gateway,
        egress=egress,
        authorities=points.authorities(look.boundary, settings),
        agent=agents.agent(settings),
        log=look.log,
        artifacts=look.artifacts,
        signer=LocalKey(look.places.state / "keys"),
        broker=_broker(look),
        clock=look.clock,
        redact=look.redactor.redact_text,
        find_secrets=lambda content: tuple(finding.name for finding in look.redactor.find(content)),
    )


def _broker(look: Reading) -> BoundaryBroker:
    keys = Keys(look.secrets, LocalTokenMinter(look.settings.code_host.url), look.redactor.learn)
    return BoundaryBroker(look.boundary, keys, look.log, look.clock)


def _recorder(look: Reading) -> Callable[[Call], Answer | None]:
    return points.call_recorder(look.boundary, look.log, look.artifacts, look.redactor)


def read_boundary(path: Path) -> tuple[Boundary, bytes]:
    """A boundary that holds, and its text. Errors: `InputError` with every problem of it."""
    text = _boundary_bytes(path)
    return _boundary(text, path), text


def _boundary_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"the boundary document cannot be read: {error.strerror}",
            where=str(path),
            mend="`ringfence init` writes one; settings name it as worker.boundary",
        ) from None


def _boundary(text: bytes, path: Path) -> Boundary:
    parsed = parse(text.decode("utf-8", "replace"), source=path.name)
    if isinstance(parsed, Boundary):
        return parsed
    raise InputError(
        "the boundary document does not hold:\n" + "\n".join(f"  {problem}" for problem in parsed),
        where=str(path),
        mend=f"`ringfence boundary check {path}` shows the same list",
    )


def _require_location(state: Path, boundary: Boundary) -> None:
    """The boundary says where checkouts may be; a worker that keeps them elsewhere does not start."""
    location = Path(boundary.checkout.location)
    if not state.resolve().is_relative_to(location.resolve()):
        raise ControlMissing(
            "the worker's state directory lies outside the place that the boundary allows for checkouts",
            where=f"settings: {state}; boundary: {location}",
            mend="move the state directory, or have checkout.location changed by its owners",
        )


def _refuse_broken(findings: tuple[Finding, ...]) -> None:
    """No run is taken while an attack on our own sandbox succeeds."""
    broken = [finding for finding in findings if not finding.held]
    if broken:
        raise ControlMissing(
            "the sandbox does not hold on this host: " + "; ".join(f"{f.name} ({f.detail})" for f in broken),
            mend="`ringfence doctor` shows every attempt; no run is taken before each of them is refused",
        )
