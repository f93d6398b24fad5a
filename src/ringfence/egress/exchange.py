"""One connection of a sandbox to the proxy, from its first byte to its last, without I/O.

The way: read a request (h11, so that where one ends is never a matter of opinion), judge it, and either
open a tunnel whose TLS hello must name the same host, or pass one plain request on over a connection of its
own. It yields commands and is told what came of them (conversation.py); it does not know what a socket is.
"""

from collections.abc import Callable

import h11

from ringfence.domain.decision import Deny, Reason, Source
from ringfence.domain.hosts import shown
from ringfence.egress import conversation as c
from ringfence.egress.conversation import Steps
from ringfence.egress.door import Door
from ringfence.egress.hello import ALERT, NotTls, read_hello
from ringfence.egress.plain import Passage
from ringfence.egress.target import Head, Target, read_target
from ringfence.egress.trip import Refusal, Trip, hello_refused

MAX_HEAD = 32 << 10
_IDLE_SECONDS = 60.0  # between two requests
_HEAD_SECONDS = 15.0  # for each piece of a request that has begun
_HELLO_SECONDS = 15.0  # for all of a ClientHello


class Exchange:
    """One connection at a door."""

    def __init__(self, door: Door, now: Callable[[], float]) -> None:
        self._door = door
        self._now = now
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    def run(self) -> Steps[None]:
        """The whole of it. Drive it with the reply to each command."""
        service = self._door.policy.service
        if service is not None:
            yield from self._serve(Target(service.host, service.port, "TCP"))
            return
        while (yield from self._one()):
            self._http.start_next_cycle()

    def broken(self) -> Steps[None]:
        """Deny after an error that nobody foresaw."""
        deny = Deny("egress.internal", Reason.INTERNAL_ERROR, Source.EGRESS, "the proxy failed over this connection")
        yield from Trip(self._door, Target("", 0, ""), self._now).deny(deny)

    def _one(self) -> Steps[bool]:
        """One request; whether another one may follow."""
        try:
            head = yield from self._head()
        except h11.RemoteProtocolError as error:
            yield from self._refuse_unread(Target("", 0, ""), f"this is no HTTP request: {error}")
            return False
        if head is None:
            return False
        target = read_target(head)
        if isinstance(target, Deny):
            yield from self._refuse_unread(Target("", 0, head.method.decode("latin-1")), target.detail, target)
            return False
        trip = Trip(self._door, target, self._now)
        refusal = yield from trip.go()
        if refusal is not None:
            yield from self._respond(refusal)
            return False
        if head.method == b"CONNECT":
            yield from self._tunnel(trip)
            return False
        return (yield from Passage(self._door, self._http, head, trip).run())

    def _head(self) -> Steps[Head | None]:
        """The next request's head; None when there is none."""
        seconds = _IDLE_SECONDS
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                reply = yield c.Hear(seconds)
                if not isinstance(reply, c.Piece):
                    return None
                self._http.receive_data(reply.content)
                seconds = _HEAD_SECONDS
            elif isinstance(event, h11.Request):
                return Head(event.method, event.target, event.http_version, tuple(event.headers))
            else:
                return None

    def _tunnel(self, trip: Trip) -> Steps[None]:
        """Upstream is connected and has been sent nothing: what comes first must be TLS for this very host."""
        self._http.next_event()  # the end of a request without a body
        answer = h11.Response(status_code=200, headers=[], reason=b"Connection established")
        if not isinstance((yield c.Say(self._http.send(answer) or b"")), c.Went):
            yield from trip.end("left")
            return
        hello = yield from self._hello(trip.target.host)
        if isinstance(hello, Deny):
            yield from trip.deny(hello)
            yield c.Say(ALERT)
        elif hello is None:
            yield from trip.end("left")
        else:
            yield from self._relay(trip, hello)

    def _hello(self, host: str) -> Steps[bytes | Deny | None]:
        """The bytes up to and with the hello when they are for this host; None when nobody says anything."""
        received = self._http.trailing_data[0]
        until = self._now() + _HELLO_SECONDS
        try:
            while (hello := read_hello(received)) is None:
                reply = yield c.Hear(max(0.0, until - self._now()))
                if not isinstance(reply, c.Piece):
                    return hello_refused("network.tls", "no whole ClientHello came") if received else None
                received += reply.content
        except NotTls as error:
            return hello_refused("network.tls", f"a tunnel carries TLS: {error}")
        if hello.encrypted:
            return hello_refused("network.sni", "the server name is encrypted")
        if hello.name is None:
            return hello_refused("network.sni", "the ClientHello names no server")
        if hello.name.lower() != host:
            return hello_refused("network.sni", f"the ClientHello names {shown(hello.name)}, CONNECT named {host}")
        return received

    def _serve(self, target: Target) -> Steps[None]:
        """A door to one service: connected and passed on, or closed without a word."""
        trip = Trip(self._door, target, self._now)
        if (yield from trip.go()) is None:
            yield from self._relay(trip, b"")

    def _relay(self, trip: Trip, first: bytes) -> Steps[None]:
        policy = self._door.policy
        reply = yield c.Relay(first, self._door.meter, policy.idle_timeout, policy.longest)
        if not isinstance(reply, c.Relayed):
            yield from trip.end("left")
        elif reply.why in ("sent", "received"):
            limit = f"limits.network.{reply.why}"
            deny = Deny(limit, Reason.BUDGET_SPENT, Source.EGRESS, f"the run's {reply.why} bytes are used up")
            yield from trip.deny(deny, sent=reply.sent, received=reply.received)
        else:
            yield from trip.end(reply.why, sent=reply.sent, received=reply.received)

    def _refuse_unread(self, target: Target, detail: str, deny: Deny | None = None) -> Steps[None]:
        """Refuse a request without a destination that could be judged."""
        denied = deny or Deny("network.request", Reason.MALFORMED, Source.EGRESS, detail)
        refusal = yield from Trip(self._door, target, self._now).deny(denied)
        yield from self._respond(refusal)

    def _respond(self, refusal: Refusal) -> Steps[None]:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            yield c.Say(refusal_bytes(self._http, refusal))


def refusal_bytes(http: h11.Connection, refusal: Refusal) -> bytes:
    """A refusal as a response; the rule stands in the reason, which is all that some clients show."""
    body = f"ringfence: {refusal.detail} (rule {refusal.rule})\n".encode("ascii", "replace")
    headers = [
        ("content-type", "text/plain; charset=us-ascii"),
        ("content-length", str(len(body))),
        ("x-ringfence-rule", refusal.rule.encode("ascii", "replace").decode()),
        ("connection", "close"),
    ]
    words = "Refused" if refusal.status < 500 else "Unreachable"
    reason = f"{words} by ringfence, rule {refusal.rule}".encode("ascii", "replace")
    head = h11.Response(status_code=refusal.status, headers=headers, reason=reason)
    sent = http.send(head) or b""
    # HEAD has an answer without a body; h11 says so by refusing to send one.
    if http.their_state is not h11.ERROR and http.our_state is h11.SEND_BODY:
        try:
            sent += http.send(h11.Data(data=body)) or b""
        except h11.LocalProtocolError:
            return sent
    return sent
