"""One request of an agent, from its head to the last byte of the answer, without I/O.

The way of an exchange: judge the head, read the body, judge it; then, for each attempt (attempt.py), take
it out of the budget, have it recorded as opened, ask the provider, hand the answer on, settle, have the
end recorded, and only then let the agent have the last bytes. It yields commands and is told what came of
them (conversation.py); it reads no clock but the one it is given and does not know what a socket is.
"""

import json
from collections.abc import Callable

from ringfence.gateway import conversation as c
from ringfence.gateway.attempt import Attempt, Result, Steps
from ringfence.gateway.door import MAX_LOOKUPS, MAX_REFUSALS, Door
from ringfence.gateway.ledger import estimate
from ringfence.gateway.protocols.chat import CHAT
from ringfence.gateway.protocols.shape import WireProtocol
from ringfence.gateway.protocols.table import nearest
from ringfence.gateway.refusal import (
    JSON_HEADERS,
    Fault,
    Refusal,
    internal_error,
    malformed,
    not_recorded,
    shut,
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

    def run(self, head: Head) -> Steps[None]:
        """The whole way. Drive it with the reply to each command."""
        self._wire = nearest(head.target.decode("latin-1")) if head.place is None else head.place.wire
        refusal = shut(self._door.denied) if self._door.denied else check_head(head)
        if refusal is not None:
            yield from self._refuse(refusal, b"")
        elif head.target == MODELS:
            yield from self._look_up()
        elif self._wire.name not in self._door.protocols:
            yield from self._refuse(wrong_protocol(self._wire.name, self._door.protocols), b"")
        else:
            came = yield c.ReadBody(MAX_REQUEST)
            if isinstance(came, c.BodyTooLarge):
                yield from self._refuse(body_too_large(), b"")
            elif isinstance(came, c.BodyCame):
                yield from self._judge(head, came.body)

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
        """Try, and try again where that may help; every attempt is paid for and recorded."""
        for pause in (*PAUSES, None):
            result = yield from self._attempt(asked)
            if isinstance(result, Refusal):
                yield from self._refuse(result, asked.body)
            if not isinstance(result, Fault):
                return
            fault = result
            if pause is None or not fault.again:
                break
            if isinstance((yield c.Pause(min(max(pause, fault.retry_after), _LONGEST_PAUSE))), c.AgentLeft):
                return
        yield c.Respond(fault.status, self._door.label(fault.headers()), fault.body(self._wire.error))

    def _attempt(self, asked: Asked) -> Steps[Result]:
        promise = self._door.ledger.promise(estimate(len(asked.body)), asked.output_tokens)
        if isinstance(promise, Refusal):
            return promise
        return (yield from Attempt(self._door, asked, promise, self._now).run())

    def _refuse(self, refusal: Refusal, body: bytes) -> Steps[None]:
        """Record a refusal and say it; a refusal that cannot be recorded is final."""
        self._door.refusals += 1
        # Before the record: when the agent is told a final no, the worker knows it already.
        if refusal.final:
            self._door.final(refusal.code)
        elif self._door.refusals >= MAX_REFUSALS:
            self._door.final("too_many_refusals")
        reply = yield c.Record(self._door.refused(refusal, body, self._wire))
        if not (isinstance(reply, c.Acknowledged) and reply.ok):
            refusal = not_recorded()
            self._door.final(refusal.code)
        yield c.Respond(refusal.status, refusal.headers(), refusal.body(self._wire.error))

    def _look_up(self) -> Steps[None]:
        """The model list says what the door's policy says; nothing leaves, so nothing is recorded."""
        self._door.lookups += 1
        if self._door.lookups > MAX_LOOKUPS:
            yield from self._refuse(malformed("the models were asked for too often", code="too_many_lookups"), b"")
        else:
            yield c.Respond(200, JSON_HEADERS, self._models())

    def _models(self) -> bytes:
        entry = {"id": self._door.policy.model, "object": "model", "created": 0, "owned_by": self._door.policy.route}
        return json.dumps({"object": "list", "data": [entry]}).encode()
