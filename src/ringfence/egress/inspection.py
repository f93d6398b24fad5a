"""A tunnel whose TLS ends here: each request in it is judged, looked through and recorded by itself.

To the sandbox the proxy is the server, with a certificate of the authority that only this sandbox trusts; to the server
it is a client that verifies chain and name. The server is asked nothing before both handshakes are done.
"""

from collections.abc import Callable

import h11

from ringfence.domain.decision import Deny, Reason, Source
from ringfence.domain.hosts import shown
from ringfence.egress import conversation as c
from ringfence.egress.conversation import Steps
from ringfence.egress.door import Door
from ringfence.egress.heads import Speaker, sandbox_speaker, server_speaker
from ringfence.egress.passage import Passage
from ringfence.egress.sides import Sandbox, Secured, Server
from ringfence.egress.target import Target, read_inside
from ringfence.egress.trip import Refusal, Trip

_HANDSHAKE_SECONDS = 15.0
#: Between two requests: shorter than servers wait, so that a request hardly ever meets a server that is just leaving.
_IDLE_SECONDS = 4.0


class Inspection:
    """One tunnel, from the ClientHello on. `trip` is that of the tunnel: it has a connection to the server."""

    def __init__(self, door: Door, trip: Trip, now: Callable[[], float]) -> None:
        self._door = door
        self._trip = trip
        self._now = now

    def run(self, hello: bytes) -> Steps[None]:
        """All of it; the tunnel is recorded beside the requests in it, which have the bytes."""
        authority, trust, host = self._door.authority, self._door.holdings.trust, self._trip.target.host
        if authority is None or trust is None:
            detail = "this sandbox was given no authority, and its TLS cannot be opened"
            yield from self._trip.deny(Deny("network.tls", Reason.CONTROL_MISSING, Source.EGRESS, detail))
            return
        inside = Secured(Sandbox(), authority.context(host))
        begun = yield from inside.shake_hands(_HANDSHAKE_SECONDS, hello)
        if not isinstance(begun, c.Went):
            yield from self._trip.end(f"not_trusted: {begun.why}" if isinstance(begun, c.Failed) else "left")
            return
        client = sandbox_speaker(inside)
        outside = Secured(Server(), trust, host)
        refusal = yield from self._reached((yield from outside.shake_hands(_HANDSHAKE_SECONDS)))
        if refusal is not None:
            yield from self._tell(client, refusal)
        else:
            server = server_speaker(outside)
            while (yield from self._one(client, server)):
                client.http.start_next_cycle()
                server.http.start_next_cycle()
            yield from self._trip.end("")
        yield from inside.part()

    def _reached(self, reply: c.Reply) -> Steps[Refusal | None]:
        """None when the server is who it should be; else what the sandbox is told, once it is on record."""
        if isinstance(reply, c.Went):
            return None
        host = shown(self._trip.target.host)
        if isinstance(reply, c.Untrusted):
            detail = f"the certificate of {host} does not hold: {reply.why}"
            return (yield from self._trip.deny(Deny("network.certificate", Reason.PROTECTED, Source.EGRESS, detail)))
        why = reply.why if isinstance(reply, c.Failed) else "the connection was given up"
        yield from self._trip.end(f"not_reached: {why}", status=502)
        return Refusal(502, "network.certificate", f"{host} is allowed, but {why}")

    def _tell(self, client: Speaker, refusal: Refusal) -> Steps[None]:
        """Answer the first request with the refusal, so that people can read it."""
        try:
            if (yield from client.head(_IDLE_SECONDS)) is not None:
                yield from client.refuse(refusal)
        except h11.RemoteProtocolError:
            return

    def _one(self, client: Speaker, server: Speaker) -> Steps[bool]:
        """One request; whether another one may follow."""
        tunnel = self._trip.target
        try:
            head = yield from client.head(_IDLE_SECONDS)
        except h11.RemoteProtocolError as error:
            deny = Deny("network.request", Reason.MALFORMED, Source.EGRESS, f"this is no HTTP/1.1 request: {error}")
            yield from self._refuse(client, Target(tunnel.host, tunnel.port, ""), deny)
            return False
        if head is None:
            return False
        target = read_inside(head, tunnel)
        if isinstance(target, Deny):
            seen = Target(tunnel.host, tunnel.port, head.method.decode("latin-1"))
            yield from self._refuse(client, seen, target)
            return False
        trip = Trip(self._door, target, self._now)
        refusal = yield from trip.within(self._trip)
        if refusal is not None:
            yield from client.refuse(refusal)
            return False
        going = yield from Passage(self._door, client, server, head, trip).run()
        states = (server.http.our_state, server.http.their_state)
        # What a server says beyond its answer would be taken for the next one.
        return going and states == (h11.DONE, h11.DONE) and not server.http.trailing_data[0]

    def _refuse(self, client: Speaker, target: Target, deny: Deny) -> Steps[None]:
        refusal = yield from Trip(self._door, target, self._now).deny(deny)
        yield from client.refuse(refusal)
