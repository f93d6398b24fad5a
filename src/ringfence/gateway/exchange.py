"""One request of an agent, from its head to the last byte of the answer, without I/O.

The way of an exchange: judge the head, read the body, judge it; then, for each attempt (attempt.py), take
it out of the budget, have it recorded as opened, ask the provider, hand the answer on, settle, have the
end recorded, and only then let the agent have the last bytes. It yields commands and is told what came of
them (conversation.py); it reads no clock but the one it is given and does not know what a socket is.
"""

import json
from collections.abc import Callable
from dataclasses import replace

from ringfence.gateway import conversation as c
from ringfence.gateway.attempt import Attempt, Steps
from ringfence.gateway.circuit import FAILURES, NAMED
from ringfence.gateway.door import MAX_LOOKUPS, Door
from ringfence.gateway.ledger import estimate
from ringfence.gateway.protocols.chat import CHAT
from ringfence.gateway.protocols.shape import WireProtocol
from ringfence.gateway.protocols.table import nearest
from ringfence.gateway.refusal import (
    CIRCUIT_OPEN,
    JSON_HEADERS,
    Fault,
    Refusal,
    circuit_open,
    internal_error,
    malformed,
    not_recorded,
    shut,
    spent,
    too_fast,
    wrong_protocol,
)
from ringfence.gateway.request import MAX_REQUEST, MODELS, Asked, Head, body_too_large, check_body, check_head

#: Pauses before the second and the third attempt when the provider is busy or broken.
PAUSES = (0.5, 1.5)
_LONGEST_PAUSE = 10.0


class Exchange:
    """One request at a door."""

    def __init__(self, door: Door, now: Callable[[], float]) -> None:
        self._door = door
        self._now = now
        self._wire: WireProtocol = CHAT  # what the agent speaks, and is told a no in
        self._why = ""  # the route that is asked next is asked, where it is not the first

    def run(self, head: Head) -> Steps[None]:
        """The whole way. Drive it with the reply to each command."""
        self._wire = nearest(head.target.decode("latin-1")) if head.place is None else head.place.wire
        refusal = self._shut() or check_head(head)
        if refusal is not None:
            yield from self._refuse(refusal, b"")
        elif head.target == MODELS:
            yield from self._look_up()
        elif self._wire.name not in self._door.taken:
            yield from self._refuse(wrong_protocol(self._wire.name, self._door.taken), b"")
        else:
            came = yield c.ReadBody(MAX_REQUEST)
            if isinstance(came, c.BodyTooLarge):
                yield from self._refuse(body_too_large(), b"")
            elif isinstance(came, c.BodyCame):
                yield from self._judge(head, came.body)

    def _shut(self) -> Refusal | None:
        """The final no that was given before, or because the run's time is over."""
        door = self._door
        if door.standing.denied is not None:
            return shut(door.standing.denied)
        return spent("time") if door.deadline is not None and self._now() >= door.deadline else None

    def garbled(self) -> Steps[None]:
        """Answer something that is no HTTP request."""
        yield from self._refuse(malformed("this is no HTTP request", code="not_http"), b"")

    def broken(self) -> Steps[None]:
        """Deny after an error that nobody foresaw; what was promised stays promised."""
        yield from self._refuse(internal_error(), b"")

    def _judge(self, head: Head, body: bytes) -> Steps[None]:
        asked = check_body(body, head, self._door.policy.model)
        if isinstance(asked, Refusal):
            yield from self._refuse(asked, body)
        else:
            yield from self._forward(asked)

    def _forward(self, asked: Asked) -> Steps[None]:
        """Ask the route, and where the boundary says so those after it; nothing was handed on as long as they fail."""
        door, since = self._door, self._now()
        sent = asked.by(door.translations.get(self._wire.name))
        if isinstance(sent, Refusal):
            yield from self._refuse(sent, asked.body)
            return
        fault = yield from self._insist(door, sent)
        for after in self._ways()[1:]:
            if fault is None or self._failure(door, fault) not in door.policy.fallback_on:
                break
            sent = asked.for_model(after.policy.model).by(after.translations.get(self._wire.name))
            if isinstance(sent, Refusal):
                continue  # this one cannot be asked it
            self._why = f"{door.policy.route} was asked before: {fault.code}"
            door = after
            fault = yield from self._insist(door, sent)
        if fault is not None:
            code = NAMED[door.circuit.last] if fault.code == CIRCUIT_OPEN else fault.code
            if door.failed(code, since, self._now()):
                fault = replace(fault, status=403)
            yield c.Respond(fault.status, door.label(fault.headers()), fault.body(self._wire.error))

    def _ways(self) -> tuple[Door, ...]:
        """The routes that take what the agent speaks, in order."""
        return (self._door, *(way for way in self._door.fallbacks if self._wire.name in way.taken))

    def _insist(self, door: Door, asked: Asked) -> Steps[Fault | None]:
        """Try one route, and try again where that may help; every attempt is paid for and recorded."""
        for pause in (*PAUSES, None):
            fault = yield from self._attempt(door, asked)
            if fault is None or not fault.again or pause is None:
                return fault
            if fault.code == CIRCUIT_OPEN and door is not self._ways()[-1]:
                return fault  # another route need not wait for this one
            if isinstance((yield c.Pause(min(max(pause, fault.retry_after), _LONGEST_PAUSE))), c.AgentLeft):
                return None
        raise AssertionError("the last attempt has no pause after it")

    def _attempt(self, door: Door, asked: Asked) -> Steps[Fault | None]:
        """One attempt, if pace, circuit and budget allow it; None when the agent was answered."""
        if not (yield from self._take_turn(door, asked)):
            return None
        wait = door.circuit.wait(self._now())
        if wait > 0:
            refusal = circuit_open(door.policy.route, door.circuit.last)
            recorded = yield c.Record(door.refused(refusal, asked.body, self._wire))
            if not (isinstance(recorded, c.Acknowledged) and recorded.ok):
                yield from self._refuse(not_recorded(), asked.body)
                return None
            return Fault(refusal.status, CIRCUIT_OPEN, refusal.deny.detail, again=True, retry_after=wait)
        promise = door.ledger.promise(estimate(len(asked.body)), asked.output_tokens, door.policy.rate)
        if isinstance(promise, Refusal):
            yield from self._refuse(promise, asked.body)
            return None
        attempt = Attempt(door, asked, promise, self._now, why=self._why)
        result = yield from attempt.run()
        if isinstance(result, Fault) and result.code in FAILURES:
            door.circuit.failed(FAILURES[result.code], self._now())
        elif attempt.heard:
            door.circuit.answered()
        if isinstance(result, Refusal):
            yield from self._refuse(result, asked.body)
            return None
        return result

    def _take_turn(self, door: Door, asked: Asked) -> Steps[bool]:
        """Wait until this request is not too fast any more; False when it was refused, or nobody waits."""
        wait = 0.0 if door.pace is None else door.pace.turn()
        if wait is None:
            yield from self._refuse(too_fast(), asked.body, counted=False)
            return False
        return wait == 0 or not isinstance((yield c.Pause(wait)), c.AgentLeft)

    def _failure(self, door: Door, fault: Fault) -> str | None:
        """Which failure a fault is, in the boundary's words; an open circuit is what opened it."""
        return door.circuit.last if fault.code == CIRCUIT_OPEN else FAILURES.get(fault.code)

    def _refuse(self, refusal: Refusal, body: bytes, *, counted: bool = True) -> Steps[None]:
        """Record a refusal and say it; a refusal that cannot be recorded is final."""
        self._door.standing.refusals += counted
        # Before the record: when the agent is told a final no, the worker knows it already.
        if refusal.final:
            self._door.final(refusal.code)
        elif self._door.exhausted:
            self._door.final("too_many_refusals")
        reply = yield c.Record(self._door.refused(refusal, body, self._wire))
        if not (isinstance(reply, c.Acknowledged) and reply.ok):
            refusal = not_recorded()
            self._door.final(refusal.code)
        yield c.Respond(refusal.status, refusal.headers(), refusal.body(self._wire.error))

    def _look_up(self) -> Steps[None]:
        """The model list says what the door's policy says; nothing leaves, so nothing is recorded."""
        self._door.standing.lookups += 1
        if self._door.standing.lookups > MAX_LOOKUPS:
            yield from self._refuse(malformed("the models were asked for too often", code="too_many_lookups"), b"")
        else:
            yield c.Respond(200, JSON_HEADERS, self._models())

    def _models(self) -> bytes:
        entry = {"id": self._door.policy.model, "object": "model", "created": 0, "owned_by": self._door.policy.route}
        return json.dumps({"object": "list", "data": [entry]}).encode()
