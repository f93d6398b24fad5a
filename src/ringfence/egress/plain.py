"""One plain request passed on: a connection of its own to the server, both sides read and written by h11.

What reaches the server is written anew from what was understood, so that a request cannot hide another one;
the same holds for the answer. Package clients check signatures on what they fetch this way, others should not.
"""

import h11

from ringfence.domain.decision import Deny, Reason, Source
from ringfence.egress import conversation as c
from ringfence.egress.conversation import Steps
from ringfence.egress.door import Door
from ringfence.egress.target import Head, inbound, outbound
from ringfence.egress.trip import Trip

_BODY_SECONDS = 60.0
_BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Passage:
    """One request and its answer, between a sandbox and a server that it may reach."""

    def __init__(self, door: Door, http: h11.Connection, head: Head, trip: Trip) -> None:
        self._door = door
        self._http = http
        self._head = head
        self._trip = trip
        self._server = h11.Connection(h11.CLIENT)
        self._sent = 0
        self._received = 0
        self._status = 502

    def run(self) -> Steps[bool]:
        """All of it; whether the sandbox's connection is good for another request."""
        try:
            why = (yield from self._ask()) or (yield from self._answer())
        except h11.ProtocolError:
            why = "garbled"
        if why in ("sent", "received"):
            detail = f"the run's {why} bytes are used up"
            deny = Deny(f"limits.network.{why}", Reason.BUDGET_SPENT, Source.EGRESS, detail)
            yield from self._trip.deny(deny, sent=self._sent, received=self._received)
            return False
        if why and self._http.our_state is h11.SEND_RESPONSE:
            yield c.Say(_BAD_GATEWAY)
        recorded = yield from self._trip.end(why, status=self._status, sent=self._sent, received=self._received)
        states = (self._http.our_state, self._http.their_state)
        return recorded and not why and states == (h11.DONE, h11.DONE) and not self._door.exhausted

    def _ask(self) -> Steps[str]:
        """Send the request; why not, if not. A server that answers early is listened to all the same."""
        target = self._trip.target
        request = h11.Request(
            method=self._head.method, target=target.path, headers=outbound(self._head, target), http_version=b"1.1"
        )
        why = yield from self._send(request)
        while not why:
            if self._http.they_are_waiting_for_100_continue:
                yield c.Say(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                reply = yield c.Hear(_BODY_SECONDS)
                if not isinstance(reply, c.Piece):
                    return "left"
                self._http.receive_data(reply.content)
            elif isinstance(event, h11.Data):
                why = yield from self._send(h11.Data(data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                why = yield from self._send(h11.EndOfMessage())
                break
            else:
                return "left"
        return "" if why == "closed" else why

    def _send(self, event: h11.Event) -> Steps[str]:
        content = self._server.send(event) or b""
        if not content:
            return ""
        if not self._door.meter.sending(len(content)):
            return "sent"
        self._sent += len(content)
        return "" if isinstance((yield c.SayServer(content)), c.Went) else "closed"

    def _answer(self) -> Steps[str]:
        """Hand the answer on as it comes; why it is not whole, if it is not."""
        while True:
            event = self._server.next_event()
            if event is h11.NEED_DATA:
                reply = yield c.HearServer(self._door.policy.idle_timeout)
                if not isinstance(reply, c.Piece):
                    return "silent" if isinstance(reply, c.TimedOut) else "left"
                if not self._door.meter.receiving(len(reply.content)):
                    return "received"
                self._received += len(reply.content)
                self._server.receive_data(reply.content)
                continue
            if isinstance(event, h11.InformationalResponse):
                continue
            said = _translated(event)
            if said is None:
                return "cut"
            if isinstance(event, h11.Response):
                self._status = event.status_code
            if not isinstance((yield c.Say(self._http.send(said) or b"")), c.Went):
                return "left"
            if isinstance(event, h11.EndOfMessage):
                return ""


def _translated(event: object) -> h11.Event | None:
    """What the server said, for the sandbox; None for the end of a connection that nobody expected."""
    if isinstance(event, h11.Response):
        headers = inbound(list(event.headers))
        return h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
    if isinstance(event, h11.Data):
        return h11.Data(data=event.data)
    return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else None
