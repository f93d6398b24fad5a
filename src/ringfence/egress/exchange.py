"""One connection of a sandbox to the proxy, from its first byte to its last, without I/O.

The way: read a request (h11, so that where one ends is never a matter of opinion), judge it, and either
open a tunnel whose TLS hello must name the same host (and whose TLS ends here where its rule says so), or pass
one plain request on over a connection of its own. It yields commands and is told what came of them
(conversation.py); it does not know what a socket is.
"""

from collections.abc import Callable

import h11

from ringfence.domain.decision import Deny, Reason, Source
from ringfence.domain.hosts import shown
from ringfence.egress import conversation as c
from ringfence.egress.conversation import Steps
from ringfence.egress.door import Door
from ringfence.egress.heads import sandbox_speaker, server_speaker
from ringfence.egress.hello import ALERT, NotTls, read_hello
from ringfence.egress.inspection import Inspection
from ringfence.egress.passage import Passage
from ringfence.egress.sides import Sandbox, Server
from ringfence.egress.target import Target, read_target
from ringfence.egress.trip import Trip, hello_refused

_IDLE_SECONDS = 60.0  # between two requests
_HELLO_SECONDS = 15.0  # for all of a ClientHello


class Exchange:
    """One connection at a door."""

    def __init__(self, door: Door, now: Callable[[], float]) -> None:
        self._door = door
        self._now = now
        self._speaker = sandbox_speaker(Sandbox())
        self._http = self._speaker.http

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
            head = yield from self._speaker.head(_IDLE_SECONDS)
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
            yield from self._speaker.refuse(refusal)
            return False
        if head.method == b"CONNECT":
            yield from self._tunnel(trip)
            return False
        return (yield from Passage(self._door, self._speaker, server_speaker(Server()), head, trip).run())

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
        elif trip.rule is not None and trip.rule.inspect:
            yield from Inspection(self._door, trip, self._now).run(hello)
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
        if (yield from trip.go()) is not None:
            return
        if trip.early and not isinstance((yield c.Say(trip.early)), c.Went):
            yield from trip.end("left")
            return
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
        yield from self._speaker.refuse(refusal)
