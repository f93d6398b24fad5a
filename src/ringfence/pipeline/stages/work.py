"""Work: the agent changes a tree inside a sandbox whose only door is the gateway, and the tree is taken in.

The stage holds no secret and no grant. What the agent says about itself is recorded and decides nothing;
the objects that were taken in decide.
"""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ringfence.domain.boundary import Boundary
from ringfence.domain.budget import Spent
from ringfence.domain.decision import Deny
from ringfence.domain.errors import RunStopped
from ringfence.domain.events import AgentEnded, ModelCalled, PatchProduced, PatchRefused
from ringfence.domain.patch import FileChange, Patch
from ringfence.domain.rules import judge_patch, may_work
from ringfence.pipeline.doors import DoorPlan
from ringfence.pipeline.doors import policy as door_policy
from ringfence.pipeline.rooms import Room, Rooms, Source
from ringfence.pipeline.steering import Steering
from ringfence.ports.agent import Agent, AgentReport, AgentTask
from ringfence.ports.artifacts import Artifacts
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.clock import Clock
from ringfence.ports.gateway import Gateway, OpenDoor
from ringfence.ports.intake import Intake
from ringfence.ports.objects import Authorship, Objects
from ringfence.ports.sandbox import HeldSandbox, Mount

#: Where agents find the gateway on the loopback address of their own network namespace.
DOOR = 8321


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one attempt is about."""

    run: str
    attempt: int
    repository: str
    source: Source  # what the agent's tree is made of
    start: str  # the parent of the candidate commit
    brief: str
    message: str  # of the candidate commit
    when: int  # of the candidate commit, seconds since the epoch
    context: tuple[tuple[str, Room], ...]  # read-only repositories beside the tree
    spent: Spent


@dataclass(frozen=True, slots=True)
class Bench:
    """The ports that work is given: no code host, no broker, no secrets."""

    boundary: Boundary
    rooms: Rooms
    agent: Agent
    gateway: Gateway
    objects: Objects
    intake: Intake
    log: AuditLog
    artifacts: Artifacts
    find_secrets: Callable[[bytes], tuple[str, ...]]
    clock: Clock


def attempt(task: Assignment, bench: Bench, intake_path: Path) -> Patch:
    """Let the agent work once and take its tree in as a candidate commit. Errors: `RunStopped` with the reason."""
    _require_approved(bench)
    room = bench.rooms.ready(f"agent-{task.attempt}", task.source)
    steering = _steering(task, bench, intake_path)
    try:
        room = bench.rooms.hide(room, bench.agent.hidden)
        steering.record(task.source.commit, room.taken)
        nothing = _run_agent(task, bench, room)
        ref = f"refs/quarantine/{task.attempt}"
        bench.rooms.collect(room, bench.intake, intake_path, parent=task.start, ref=ref)
    finally:
        bench.rooms.remove(room)
    patch = _candidate(task, bench, intake_path, ref, nothing)
    changes = bench.objects.changes(intake_path, task.start, patch.tree)
    steering.recheck(task.start, patch.tree, changes, room.taken)
    return patch


def _steering(task: Assignment, bench: Bench, intake: Path) -> Steering:
    listed = bench.boundary.repository(task.repository)
    instructions = listed.instructions if listed else ()
    return Steering(task.run, task.attempt, bench.agent, instructions, intake, bench.objects, bench.log)


def _require_approved(bench: Bench) -> None:
    decision = may_work(bench.boundary, bench.agent.name)
    if isinstance(decision, Deny):
        raise RunStopped(
            "agent_not_approved",
            f"the boundary does not let this agent work (rule {decision.rule})",
            where=decision.detail,
            mend="have the agent added to commands.agents, or name another one in the settings",
        )


def _run_agent(task: Assignment, bench: Bench, room: Room) -> RunStopped:
    """Let it work; why the run stops should there be nothing to take in. Errors: `RunStopped`."""
    limits = bench.boundary.limits
    plan = DoorPlan(task.run, f"agent/{task.attempt}", task.repository, task.spent)
    policy = door_policy(plan, bench.boundary, bench.log, bench.clock)
    seconds = max(1.0, policy.seconds or 0.0)
    launch = bench.agent.launch(
        AgentTask(
            brief=task.brief,
            model=policy.model,
            door=f"http://127.0.0.1:{DOOR}",
            turns=limits.run.turns,
            seconds=seconds,
            permissions=next(u.permissions for u in bench.boundary.commands.agents if u.name == bench.agent.name),
        )
    )
    spec = bench.rooms.spec("agent", launch.argv, room, seconds)
    beside = tuple(Mount(other.path, f"/context/{name}") for name, other in task.context)
    spec = replace(
        spec,
        environment={**spec.environment, **launch.environment},
        files={**spec.files, **launch.files},
        mounts=(*spec.mounts, *launch.mounts, *beside),
        doors=(*spec.doors, DOOR),
    )
    opened: list[OpenDoor] = []
    turns = _Turns(bench.agent, limits.run.turns)
    with ExitStack() as doors:

        def open_door(sandbox: HeldSandbox) -> Callable[[], str | None]:
            opened.append(doors.enter_context(bench.gateway.open(sandbox.doors[DOOR], policy)))
            return lambda: opened[0].denied() or turns.spent()

        outcome, digest = bench.rooms.run(spec, held=open_door, output=turns.take)
        denied = opened[0].denied()
    report = bench.agent.report(bench.artifacts.get(digest))
    _record_end(task, bench, outcome.stopped or report.outcome, report)
    if denied is not None:
        # A final no of the gateway ends the run, however the agent took it.
        raise RunStopped(denied, "the model gateway said no for good", where=report.message[:500])
    return _ended(outcome.stopped, report, _unanswered(bench.log, task.run, plan.door))


def _ended(stopped: str | None, report: AgentReport, unanswered: str) -> RunStopped:
    """Why a run stops whose agent left nothing. Raises it when the agent's end is one that leaves nothing to judge.

    A model that did not answer is the reason, rather than what the agent made of that; what the worker itself
    ended, it ended for its own reason.
    """
    said = report.message[:500]
    if stopped is not None and stopped != "turns":
        beside = f"{said}; the model's last answer: {unanswered}" if unanswered else said
        raise RunStopped(f"agent_{stopped}", f"the agent ended with {stopped!r}", where=beside.strip("; "))
    outcome = stopped or report.outcome
    if unanswered:
        nothing = RunStopped(unanswered, "the model did not answer the agent's last request", where=said)
    elif outcome == "turns":
        nothing = RunStopped("turns_spent", "the agent used up its turns and left the tree as it was", where=said)
    else:
        nothing = RunStopped("no_changes", "the agent left the tree as it was", where=said)
    if outcome in ("finished", "gave_up", "turns"):
        return nothing
    raise nothing if unanswered else RunStopped(f"agent_{outcome}", f"the agent ended with {outcome!r}", where=said)


def _unanswered(log: AuditLog, run: str, door: str) -> str:
    """What became of the last request at a door that was let out; empty when it was answered.

    Requests that the agent itself left do not count: it does so when it ends.
    """
    last = ""
    for record in log.records(run):
        event = record.event
        if event.get("kind") == ModelCalled.kind and event.get("door") == door and event.get("decision") == "allow":
            last = last if event.get("status") == 499 else str(event.get("reason", ""))
    return last


class _Turns:
    """The worker's own limit on turns, whatever the agent was told of it."""

    def __init__(self, agent: Agent, limit: int) -> None:
        self._count = agent.watch()
        self._limit = limit
        self._seen = 0

    def take(self, piece: bytes) -> None:
        """A piece of the agent's event stream."""
        self._seen = self._count(piece)

    def spent(self) -> str | None:
        """The reason to end an agent that took more than it has."""
        return "turns" if self._seen > self._limit else None


def _record_end(task: Assignment, bench: Bench, ended: str, report: AgentReport) -> None:
    """Write down what the agent said of itself, its steps in our words as an artifact."""
    steps = "".join(json.dumps({"kind": step.kind, "text": step.text}) + "\n" for step in report.steps)
    event = AgentEnded(
        attempt=task.attempt,
        agent=bench.agent.name,
        version=bench.agent.version,
        outcome=ended,
        turns=report.turns,
        tools=report.tools,
        input_tokens=report.input_tokens,
        output_tokens=report.output_tokens,
        message=report.message[:2000],
        transcript=bench.artifacts.put(steps.encode()),
    )
    bench.log.append(task.run, event)


def _candidate(task: Assignment, bench: Bench, intake: Path, ref: str, nothing: RunStopped) -> Patch:
    """Judge the tree that came in, and make the worker's own commit over it; `nothing` is raised when nothing did."""
    objects = bench.objects
    tree = objects.tree_of(intake, ref)
    changes = objects.changes(intake, task.start, tree)
    if not changes:
        raise nothing
    decision = judge_patch(bench.boundary, changes)
    if isinstance(decision, Deny):
        _refuse(task, bench, decision.rule, decision.reason.value, decision.detail)
    found = _secrets(task, bench, intake, changes)
    if found:
        _refuse(task, bench, "secrets.patch", "secret_found", ", ".join(found))
    commit = objects.commit_tree(
        intake, tree, task.start, task.message, Authorship("Ringfence", "ringfence@localhost", task.when)
    )
    objects.keep(intake, f"refs/ringfence/candidate/{task.attempt}", commit)
    diff, insertions, deletions = objects.diff(intake, task.start, commit)
    digest = bench.artifacts.put(diff)
    bench.log.append(
        task.run,
        PatchProduced(task.attempt, commit, tree, len(changes), insertions, deletions, digest),
        once=f"patch.produced/{commit}",
    )
    return Patch(task.attempt, commit, tree, len(changes), insertions, deletions, digest)


def _refuse(task: Assignment, bench: Bench, rule: str, reason: str, detail: str) -> None:
    bench.log.append(task.run, PatchRefused(task.attempt, rule, reason, detail))
    raise RunStopped(
        "patch_refused",
        f"the patch breaks rule {rule}: {reason}",
        where=detail,
        mend="look at the agent's output; nothing of the patch was kept or published",
    )


def _secrets(task: Assignment, bench: Bench, intake: Path, changes: tuple[FileChange, ...]) -> tuple[str, ...]:
    """Names of the secrets found in contents, paths and message, each with where it is."""
    present = [change for change in changes if change.new_mode != "000000"]
    contents = zip(present, bench.objects.blobs(intake, [change.blob for change in present]), strict=True)
    found = [f"{name} in {change.path}" for change, content in contents for name in bench.find_secrets(content)]
    paths = "\n".join(change.path for change in changes).encode("utf-8", "surrogateescape")
    found += [f"{name} in a file name" for name in bench.find_secrets(paths)]
    found += [f"{name} in the commit message" for name in bench.find_secrets(task.message.encode())]
    return tuple(found)
