"""The way of a run, from a ticket to a pull request. Start reading here.

A stage is a method of `Desk` (desk.py), which hands it just the ports it may use; the engine does each
stage once and replays its result after a crash. This module touches nothing itself.
"""

from functools import partial

from ringfence.domain.brief import Brief, Briefed
from ringfence.domain.checks import Report
from ringfence.domain.errors import RingfenceError, RunStopped
from ringfence.domain.patch import Patch
from ringfence.pipeline.desk import Desk
from ringfence.pipeline.ports import Ports
from ringfence.pipeline.stages.admission import Case
from ringfence.pipeline.stages.checkout import Checkout
from ringfence.pipeline.stages.cleanup import Closed, Stopped, Swept
from ringfence.pipeline.stages.evidence import Sealed
from ringfence.pipeline.stages.publish import Published
from ringfence.pipeline.stages.repair import Verdict
from ringfence.pipeline.steps import Stages
from ringfence.ports.engine import Steps


def execute(run: str, ticket_id: str, steps: Steps, ports: Ports) -> str:
    """Carry a ticket to a pull request, or stop with a recorded reason; clean up in any case. Returns the outcome."""
    desk = Desk(run, ports)
    desk.take_up()
    stage = Stages(steps, desk.guard, ports.artifacts)
    try:
        outcome = _way(ticket_id, desk, stage)
    except RingfenceError as error:
        outcome = steps("stop", Stopped, partial(desk.stop, error)).outcome
    stage.always("cleanup", Swept, desk.clean_up)
    return steps("close", Closed, partial(desk.close, outcome)).outcome


def _way(ticket_id: str, desk: Desk, stage: Stages) -> str:
    case = stage("admission", Case, desk.admit, ticket_id)
    checkout = stage("checkout", Checkout, desk.check_out, case)
    brief = stage("context", Briefed, desk.assemble, case, checkout)
    if case.stage == "observe":
        return "brief"
    stage("baseline", Report, desk.validate_base, checkout)
    attempt, patch = 1, None
    while True:
        patch = stage("work", Patch, desk.work, case, checkout, brief, patch, attempt=attempt)
        report = stage("validation", Report, desk.validate, checkout, patch, attempt=attempt)
        verdict = stage("repair", Verdict, desk.judge, report, attempt=attempt)
        if verdict.next == "publish":
            break
        if verdict.next == "stop":
            raise RunStopped(verdict.reason, verdict.detail)
        attempt += 1
        brief = stage("context", Briefed, desk.assemble, case, checkout, report, patch, attempt=attempt)
    stage("evidence", Sealed, desk.seal, patch)
    return stage("publish", Published, desk.publish, case, checkout, patch, report).outcome


def close_given_up(run: str, ports: Ports) -> None:
    """End a run that the engine will not carry any further: it took its worker down too often."""
    desk = Desk(run, ports)
    if desk.ended or desk.guard.paused():
        return
    desk.stop(RunStopped("engine_gave_up", "the run took its worker down too often", mend="look at its log"))
    desk.clean_up()
    desk.close("stopped")


def preview(run: str, ticket_id: str, ports: Ports) -> Brief:
    """The brief of a ticket, and nothing after it: the first three stages, without an engine."""
    desk = Desk(run, ports)
    case = desk.admit(ticket_id)
    return desk.brief(case, desk.check_out(case))
