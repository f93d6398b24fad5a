"""A run is a fold over its log: nothing that people see of it is kept anywhere else."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ringfence.domain import events as e
from ringfence.domain.budget import Spent
from ringfence.domain.spending import Spending


class RunState(StrEnum):
    """Where a run is."""

    ADMITTED = "admitted"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class RunView:
    """What the log says about a run so far."""

    id: str
    state: RunState = RunState.ADMITTED
    ticket: str = ""
    ticket_digest: str = ""
    repository: str = ""
    boundary: str = ""
    stage: str = ""
    sandbox_level: str = ""
    branch: str = ""
    commit: str = ""
    pull_request: str = ""
    outcome: str = ""
    reason: str = ""
    detail: str = ""
    spent: Spent = field(default_factory=Spent)
    calls: Spending = field(default_factory=Spending)
    resumed: int = 0
    cancel_requested: bool = False
    quarantined: bool = False


def step(view: RunView, event: e.Event) -> RunView:  # noqa: C901 - one flat table of cases reads best
    """The view after one more event."""
    match event:
        case e.TicketAdmitted():
            return replace(view, ticket=event.ticket, ticket_digest=event.ticket_digest,
                           repository=event.repository, boundary=event.boundary)  # fmt: skip
        case e.TicketRefused():
            return replace(view, ticket=event.ticket, ticket_digest=event.ticket_digest, reason=event.rule,
                           detail=event.detail)  # fmt: skip
        case e.RunStarted():
            return replace(view, state=RunState.RUNNING, sandbox_level=event.sandbox_level,
                           resumed=view.resumed + event.resumed)  # fmt: skip
        case e.StageStarted():
            return replace(view, stage=event.stage)
        case e.CheckoutReady():
            return replace(view, branch=event.branch)
        case e.ModelAsked() | e.ModelCalled():
            calls = view.calls.after(event)
            return replace(view, calls=calls, spent=replace(view.spent, **calls.counts()))
        case e.EgressAsked():
            return replace(view, spent=replace(view.spent, connections=view.spent.connections + 1))
        case e.EgressDecided():
            sent, received = view.spent.sent + event.sent, view.spent.received + event.received
            return replace(view, spent=replace(view.spent, sent=sent, received=received))
        case e.CommandRan():
            return replace(view, spent=replace(view.spent, seconds=view.spent.seconds + event.seconds))
        case e.BriefAssembled():
            attempts = max(view.spent.attempts, event.attempt)
            return replace(view, spent=replace(view.spent, attempts=attempts))
        case e.PatchProduced():
            return replace(view, commit=event.commit)
        case e.PullRequestOpened():
            return replace(view, pull_request=event.url)
        case e.CancelRequested():
            return replace(view, cancel_requested=True)
        case e.RunQuarantined():
            return replace(view, quarantined=True)
        case e.RunReleased():
            return replace(view, quarantined=False)
        case e.RunStopped():
            return replace(view, reason=event.reason, detail=event.detail)
        case e.RunEnded():
            return replace(view, state=RunState.ENDED, outcome=event.outcome)
        case _:
            return view


def fold(run_id: str, history: Iterable[e.Event]) -> RunView:
    """The view after a whole history."""
    view = RunView(run_id)
    for event in history:
        view = step(view, event)
    return view
