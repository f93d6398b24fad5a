"""One request to the provider: recorded as opened, sent, handed on, settled, recorded as ended.

A generator without I/O (conversation.py). It answers the agent itself when there is something to hand
on, or when a stream had begun; everything else it gives back to the exchange, which may try again.
"""

from collections.abc import Callable, Generator
from typing import TypeVar

from ringfence.gateway import conversation as c
from ringfence.gateway.answer import (
    MAX_ANSWER,
    AnswerStream,
    Usage,
    Whole,
    empty,
    judge_whole,
    refused_upstream,
)
from ringfence.gateway.call import Call, Phase
from ringfence.gateway.door import Door
from ringfence.gateway.ledger import Promise, estimate
from ringfence.gateway.protocols.shape import Counted
from ringfence.gateway.refusal import JSON_HEADERS, STREAM_HEADERS, Fault, Refusal, not_recorded, secret_found
from ringfence.gateway.request import Asked

T = TypeVar("T")
Steps = Generator[c.Command, c.Reply, T]
#: None: the agent has its answer, or has left.
Result = Fault | Refusal | None

_LONGEST = 1800.0  # seconds; a provider that keeps a stream just alive ends here
_MAX_ERROR = 64 << 10


class _Track:
    """What is known of a try: when it was asked, what came when, and what it cost."""

    def __init__(self, door: Door, asked: Asked, promise: Promise, now: Callable[[], float]) -> None:
        self.body = asked.outbound(promise.output_tokens)
        self.promise = promise
        self.received = bytearray()
        self.named = ""  # the model, by the provider's word
        self.sent = False  # whether the provider may have worked for it
        self._door = door
        self._id = door.next_id()
        self._now = now
        self._wire = asked.wire
        self._asked = now()
        self._first: float | None = None

    def ask(self) -> None:
        """The request goes out now."""
        self._asked = self._now()

    def take(self, content: bytes) -> None:
        """Something came."""
        if self._first is None:
            self._first = self._now()
        self.received += content

    def patience(self) -> float:
        """How long the next piece may take."""
        now, policy = self._now(), self._door.policy
        until = self._asked + policy.first_byte_timeout if self._first is None else now + policy.idle_timeout
        return max(0.0, min(until, self._asked + _LONGEST) - now)

    def failed(self, code: str) -> None:
        """The agent is told that the provider failed."""
        self._door.failed(code, self._asked, self._now())

    def silent(self) -> Fault:
        """Why nothing came in time."""
        if self._first is None:
            return Fault(504, "upstream_timeout", "the provider did not begin to answer in time")
        return Fault(504, "upstream_stalled", "the provider stopped in the middle of its answer")

    def usage(self, counted: Counted | None, output_tokens: int, *, whole: bool = False) -> Usage:
        """As counted by the provider, else estimated; a request that was refused costs no tokens.

        An answer that did not come to its `whole` may have cost all that was promised: nobody knows how much was made.
        """
        if counted is not None:
            return Usage(
                counted.input_tokens,
                counted.output_tokens,
                estimated=False,
                cached_tokens=counted.cached_tokens,
                reasoning_tokens=counted.reasoning_tokens,
            )
        if not self.sent:
            return Usage(0, output_tokens, estimated=True)
        output = output_tokens if whole else max(output_tokens, self.promise.output_tokens)
        return Usage(self.promise.input_tokens, output, estimated=True)

    def call(self, phase: Phase, status: int, reason: str, usage: Usage, cost: int) -> Call:
        """The try as it is recorded."""
        door, now = self._door, self._now()
        return Call(
            id=self._id,
            phase=phase,
            run=door.policy.run,
            door=door.policy.door,
            route=door.policy.route,
            provider=door.provider,
            model=door.policy.model,
            decision="allow",
            rule=door.rule,
            reason=reason,
            status=status,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            tokens_estimated=usage.estimated,
            cost=cost,
            currency=door.policy.currency if door.policy.rate.known else "",
            as_of=door.policy.as_of,
            first_byte_ms=0.0 if self._first is None else round((self._first - self._asked) * 1000, 3),
            seconds=round(now - self._asked, 6),
            replayed=door.replayed,
            request=self.body if phase == "opened" else b"",
            response=door.scrub.raw(bytes(self.received)),
            protocol=self._wire.name,
            translated=self._wire.asked_in if self._wire.asked_in != self._wire.name else "",
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            response_model=self.named,
        )


class Attempt:
    """One try. Made for a promise of the door's budget, which it settles exactly once."""

    def __init__(self, door: Door, asked: Asked, promise: Promise, now: Callable[[], float], *, why: str = "") -> None:
        self._door = door
        self._asked = asked
        self._why = why  # this route is asked, where that is not plain
        self._track = _Track(door, asked, promise, now)

    @property
    def heard(self) -> bool:
        """Whether the provider said anything."""
        return bool(self._track.received)

    def run(self) -> Steps[Result]:
        """The whole way of it."""
        promise = self._track.promise
        usage = Usage(promise.input_tokens, promise.output_tokens, estimated=True)
        opened = self._track.call("opened", 0, self._why, usage, promise.money)
        said = yield c.Record(opened)
        if not (isinstance(said, c.Acknowledged) and said.ok):
            self._door.ledger.settle(self._track.promise, 0, 0)
            if isinstance(said, c.Acknowledged) and said.why:
                return secret_found(said.why, final=said.final)
            return not_recorded()
        # The worker knows secrets that the gateway must not hold; without them is how it goes out.
        self._track.body = said.content or self._track.body
        self._track.ask()
        policy = self._door.policy
        reply = yield c.Ask(self._asked.request(self._track.body), policy.first_byte_timeout, policy.route)
        match reply:
            case c.Answered(status=200):
                self._track.sent = True
                return (yield from self._stream(reply) if self._asked.stream else self._whole(reply))
            case c.Answered():
                yield from self._collect(_MAX_ERROR)
                return (yield from self._fail(refused_upstream(reply, bytes(self._track.received), self._door.scrub)))
            case c.AgentLeft():
                self._track.sent = True
                yield from self._leave(0)
                return None
            case c.TimedOut():
                self._track.sent = True
                return (yield from self._fail(self._track.silent()))
            case _:
                gone = Fault(502, "upstream_unreachable", "the provider could not be reached", again=True)
                return (yield from self._fail(gone))

    def _whole(self, answered: c.Answered) -> Steps[Result]:
        """An answer in one piece: read to its end, judged, recorded, handed on."""
        ended = yield from self._collect(MAX_ANSWER)
        if isinstance(ended, c.AgentLeft):
            yield from self._leave(estimate(len(self._track.received)))
            return None
        received, wire = bytes(self._track.received), self._asked.wire
        result = ended or judge_whole(received, answered.content_type, self._door.scrub, wire)
        if not isinstance(result, Whole):
            return (yield from self._fail(result))
        self._track.named = result.model
        usage = self._track.usage(result.usage, estimate(len(result.body)), whole=True)
        if not (yield from self._end(200, "", usage)):
            return not_recorded()
        self._door.answered()
        yield c.Respond(200, self._door.label(JSON_HEADERS), result.body)
        return None

    def _stream(self, answered: c.Answered) -> Steps[Result]:
        """A stream: handed on event by event; its last events wait for the record."""
        if answered.content_type != "text/event-stream":
            return (yield from self._fail(Fault(502, "upstream_not_sse", "the provider did not stream")))
        stream = AnswerStream(self._door.scrub, self._asked.wire.listener(self._asked.reading))
        begun = False
        while not stream.complete:
            reply = yield c.Listen(self._track.patience())
            ready, stop = self._hear(stream, reply)
            if stop is not None:
                return (yield from self._break(stop, stream, begun=begun))
            if ready and not begun:
                begun = True
                reply = yield c.Begin(self._door.label(STREAM_HEADERS))
            if ready and not isinstance(reply, c.AgentLeft):
                reply = yield c.Send(ready)
            if isinstance(reply, c.AgentLeft):
                yield from self._leave(stream.output_tokens, stream.usage)
                return None
        return (yield from self._close(stream, begun=begun))

    def _hear(self, stream: AnswerStream, reply: c.Reply) -> tuple[bytes, Fault | Refusal | None]:
        """Take in what the provider sent: what may go on now, and why to stop, if so."""
        match reply:
            case c.Piece():
                self._track.take(reply.content)
                ready = stream.feed(reply.content)
                self._track.named = stream.model
                if len(self._track.received) > MAX_ANSWER:
                    return b"", Fault(502, "upstream_too_large", "the provider's answer has no end")
                if stream.usage is None:
                    forbidden = self._door.ledger.grow(self._track.promise, stream.output_tokens)
                    if forbidden is not None:
                        return b"", forbidden
                return ready, stream.fault
            case c.Ended():
                return b"", stream.end()
            case c.AgentLeft():
                return b"", None
            case c.TimedOut():
                return b"", self._track.silent()
            case _:
                return b"", _cut()

    def _close(self, stream: AnswerStream, *, begun: bool) -> Steps[Result]:
        """A complete stream: settled, recorded, and then its last events."""
        if not (yield from self._end(200, "", self._track.usage(stream.usage, stream.output_tokens, whole=True))):
            if not begun:
                return not_recorded()
            self._door.final(not_recorded().code)
            yield c.Send(not_recorded().body(self._asked.wire.error_event))
            yield c.Abort()
            return None
        self._door.answered()
        if not begun:
            yield c.Begin(self._door.label(STREAM_HEADERS))
        yield c.Send(stream.held)
        yield c.Finish()
        return None

    def _break(self, stop: Fault | Refusal, stream: AnswerStream, *, begun: bool) -> Steps[Result]:
        """A stream that will not be complete: given back before its first byte, broken off after it."""
        if stop.code == "credential_reflected":
            self._track.received.clear()  # it stands there in pieces that no redaction finds
        if stop.final:
            self._door.final(stop.code)
        if not (yield from self._end(stop.status, stop.code, self._track.usage(stream.usage, stream.output_tokens))):
            stop = not_recorded()
            self._door.final(stop.code)
        if begun:
            if isinstance(stop, Fault):
                self._track.failed(stop.code)
            yield c.Send(stop.body(self._asked.wire.error_event))
            yield c.Abort()
        elif isinstance(stop, Fault):
            return stop
        else:
            yield c.Respond(stop.status, self._door.label(stop.headers()), stop.body(self._asked.wire.error))
        return None

    def _collect(self, limit: int) -> Steps[Fault | c.AgentLeft | None]:
        """Read an answer to its end, or say why not."""
        while True:
            reply = yield c.Listen(self._track.patience())
            match reply:
                case c.Piece():
                    self._track.take(reply.content)
                    if len(self._track.received) > limit:
                        return Fault(502, "upstream_too_large", "the provider's answer has no end")
                case c.Ended():
                    return None if self._track.received else empty()
                case c.AgentLeft():
                    return reply
                case c.TimedOut():
                    return self._track.silent()
                case _:
                    return _cut()

    def _leave(self, output_tokens: int, counted: Counted | None = None) -> Steps[None]:
        """The agent is gone: what it cost is settled and recorded all the same (499, as is custom)."""
        yield from self._end(499, "agent_left", self._track.usage(counted, output_tokens))

    def _fail(self, fault: Fault) -> Steps[Result]:
        """Settle and record a try without an answer."""
        usage = self._track.usage(None, estimate(len(self._track.received)) if self._track.sent else 0)
        if fault.final:
            self._door.final(fault.code)
        recorded = yield from self._end(fault.status, fault.code, usage)
        return fault if recorded else not_recorded()

    def _end(self, status: int, reason: str, usage: Usage) -> Steps[bool]:
        cost = self._door.ledger.settle(
            self._track.promise, usage.input_tokens, usage.output_tokens, usage.cached_tokens
        )
        return (yield from self._record(self._track.call("ended", status, reason, usage, cost)))

    def _record(self, call: Call) -> Steps[bool]:
        reply = yield c.Record(call)
        return isinstance(reply, c.Acknowledged) and reply.ok


def _cut() -> Fault:
    return Fault(502, "upstream_cut", "the provider's answer was cut")
