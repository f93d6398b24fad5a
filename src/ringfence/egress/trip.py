"""The way of one destination out: judged by its name, recorded, looked up, judged by every address, connected.

A generator without I/O (conversation.py). Nothing is looked up before the name is allowed and that is on
record, and nothing is connected to but an address that was judged.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ringfence.domain.decision import Deny, Reason, Source
from ringfence.domain.hosts import HostRule, judge_addresses, judge_host, judge_request, shown
from ringfence.egress import conversation as c
from ringfence.egress.attempt import Attempt, Moment
from ringfence.egress.conversation import Steps
from ringfence.egress.door import Door
from ringfence.egress.target import Target
from ringfence.egress.upstream import tunnel


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the sandbox is told instead of an answer. Programs read the status, people the rest."""

    status: int
    rule: str
    detail: str


class Trip:
    """One attempt. Whatever becomes of it is recorded exactly once, after `asked` when it was allowed."""

    def __init__(self, door: Door, target: Target, now: Callable[[], float]) -> None:
        self.target = target
        self._door = door
        self._now = now
        self._began = now()
        self._id = door.next_id()
        #: The rule that allows it, once one does.
        self.rule: HostRule | None = None
        self._address = ""
        #: What a server said before it was asked anything.
        self.early = b""

    def go(self) -> Steps[Refusal | None]:
        """The whole way; None when there is a connection."""
        judged = self._judge()
        if isinstance(judged, Deny):
            return (yield from self.deny(judged))
        self.rule = judged
        if not (yield from self._record("asked", "allow", judged.name)):
            return self._unrecorded()
        found = yield c.Look(self.target.host)
        if not isinstance(found, c.Found):
            return (yield from self._fail("not_resolved", found))
        decision = judge_addresses(judged, found.addresses)
        if isinstance(decision, Deny):
            return (yield from self.deny(decision))
        upstream = self._door.holdings.upstream
        if upstream is not None and not judged.cidrs:  # what is in the operator's own networks is not outside
            reached, self.early = yield from tunnel(upstream, self.target)
        else:
            reached = yield c.Dial(found.addresses, self.target.port)
            if isinstance(reached, c.Connected) and reached.address not in found.addresses:
                reached = c.Failed("it was connected to another address")
        if not isinstance(reached, c.Connected):
            return (yield from self._fail("not_reached", reached))
        self._address = reached.address
        return None

    def within(self, outer: "Trip") -> Steps[Refusal | None]:
        """The same for a request inside a tunnel that is open: it is judged and recorded, and goes where that leads."""
        judged = self._judge()
        if isinstance(judged, Deny):
            return (yield from self.deny(judged))
        self.rule, self._address = judged, outer._address
        recorded = yield from self._record("asked", "allow", judged.name)
        return None if recorded else self._unrecorded()

    def deny(self, deny: Deny, *, sent: int = 0, received: int = 0) -> Steps[Refusal]:
        """Record a denial; one that cannot be recorded shuts the door."""
        self._door.refusals += 1
        status = 400 if deny.reason is Reason.MALFORMED else 403
        said = f"{deny.reason.value}: {deny.detail}"
        recorded = yield from self._record("denied", "deny", deny.rule, said, status, sent, received)
        return Refusal(status, deny.rule, deny.detail) if recorded else self._unrecorded()

    def end(self, why: str, *, status: int = 200, sent: int = 0, received: int = 0) -> Steps[bool]:
        """Record what became of an allowed attempt."""
        rule = self.rule.name if self.rule is not None else "network"
        recorded = yield from self._record("ended", "allow", rule, why, status, sent, received)
        if not recorded:
            self._unrecorded()
        return recorded

    def _judge(self) -> HostRule | Deny:
        door, policy = self._door, self._door.policy
        if door.denied is not None:
            return _deny("egress.door", Reason.CONTROL_MISSING, f"this door is shut: {door.denied}")
        where = (self.target.host, self.target.port)
        judged = judge_host(policy.rules, policy.phase, *where)
        if isinstance(judged, HostRule) and judged.inspect and self.target.path:
            judged = judge_request(policy.rules, policy.phase, *where, asked=(self.target.method, self.target.path))
        if isinstance(judged, Deny):
            return judged
        if judged.host.startswith("*.") and not door.may_name(self.target.host):
            return _deny("network.names", Reason.BUDGET_SPENT, f"too many different names below {shown(judged.host)}")
        limit = door.meter.spend()
        if limit is not None:
            return _deny(f"limits.network.{limit}", Reason.BUDGET_SPENT, f"the run's {limit} are used up")
        return judged

    def _fail(self, why: str, reply: c.Reply) -> Steps[Refusal]:
        """Allowed and tried, but there is nobody."""
        detail = reply.why if isinstance(reply, c.Failed) else "the connection was given up"
        status = 504 if isinstance(reply, c.TimedOut) else 502
        recorded = yield from self.end(f"{why}: {detail}", status=status)
        where = f"{shown(self.target.host)}:{self.target.port}"
        rule = self.rule.name if self.rule is not None else "network"
        return Refusal(status, rule, f"{where} is allowed, but {detail}") if recorded else self._unrecorded()

    def _unrecorded(self) -> Refusal:
        self._door.final("not_recorded")
        return Refusal(403, "egress.record", "the attempt could not be recorded")

    def _record(
        self,
        moment: Moment,
        decision: str,
        rule: str,
        reason: str = "",
        status: int = 0,
        sent: int = 0,
        received: int = 0,
    ) -> Steps[bool]:
        policy, target = self._door.policy, self.target
        put = self.rule.credential if self.rule is not None and target.path and moment != "denied" else None
        attempt = Attempt(
            id=self._id,
            moment=moment,
            run=policy.run,
            door=policy.door,
            role=policy.role,
            phase=policy.phase,
            command=policy.command,
            host=target.host[:300],
            port=target.port,
            address=self._address,
            method=target.method[:30],
            path=target.recorded_path,
            credential=put.secret if put is not None else "",
            decision=decision,
            rule=rule,
            reason=reason,
            status=status,
            sent=sent,
            received=received,
            seconds=round(self._now() - self._began, 6),
        )
        reply = yield c.Record(attempt)
        return isinstance(reply, c.Acknowledged) and reply.ok


def _deny(rule: str, reason: Reason, detail: str) -> Deny:
    return Deny(rule, reason, Source.EGRESS, detail)


def hello_refused(rule: str, detail: str) -> Deny:
    """A tunnel whose first words are not those of the destination that was asked for."""
    return _deny(rule, Reason.MALFORMED, detail)
