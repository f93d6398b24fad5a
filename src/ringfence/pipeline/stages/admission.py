"""Admission: a ticket becomes a run, or is refused by a named rule and left alone."""

from dataclasses import dataclass

from ringfence.domain.boundary import Boundary
from ringfence.domain.decision import Deny
from ringfence.domain.errors import RunStopped
from ringfence.domain.events import RunStarted, TicketAdmitted, TicketRefused
from ringfence.domain.rules import admit, branch_of, stage_of
from ringfence.domain.ticket import Ticket
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.sandbox import Sandboxes


@dataclass(frozen=True, slots=True)
class Case:
    """An admitted ticket, frozen as it was read, and how far its run may go."""

    ticket: Ticket
    stage: str
    branch: str

    @property
    def line(self) -> str:
        """One line for a person."""
        return f"{self.ticket.id} for {self.ticket.repository}, as far as {self.stage}"


def decide(run: str, ticket: Ticket, boundary: Boundary, digest: str, log: AuditLog) -> Case:
    """Admit a ticket by the boundary. Errors: `RunStopped("refused")` with the rule, already on the log."""
    decision = admit(boundary, ticket)
    if isinstance(decision, Deny):
        refusal = TicketRefused(ticket.id, ticket.digest, decision.rule, decision.reason.value, decision.detail)
        log.append(run, refusal, once="ticket.refused")
        raise RunStopped(
            "refused",
            f"ticket {ticket.id} is refused by rule {decision.rule}: {decision.reason.value}",
            where=decision.detail,
            mend="change the ticket, or have the boundary changed by its owners",
        )
    stage = stage_of(boundary, ticket)
    admitted = TicketAdmitted(
        ticket=ticket.id,
        ticket_digest=ticket.digest,
        repository=ticket.repository,
        stage=stage,
        rule=decision.rule,
        boundary=digest,
        requester=ticket.requester,
    )
    log.append(run, admitted, once="ticket.admitted")
    return Case(ticket, stage, branch_of(boundary, ticket))


def started(run: str, worker: str, version: str, sandboxes: Sandboxes, log: AuditLog) -> None:
    """Write down which worker took the run up; again after each time it was cut off."""
    resumed = any(record.event["kind"] == RunStarted.kind for record in log.records(run))
    log.append(run, RunStarted(worker, version, sandboxes.level, resumed))
