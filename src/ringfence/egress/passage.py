"""One request passed on, in clear or inside a tunnel that ends here: both sides read and written by h11.

What reaches the server is written anew from what was understood, so that a request cannot hide another one; the same
holds for the answer. Of a host whose requests are read, a request is looked through before it goes: all of a small
one, and of a large one everything up to a window that is held back.
"""

import base64

import h11

from ringfence.domain.decision import Deny, Reason, Source
from ringfence.domain.hosts import Credential
from ringfence.egress import conversation as c
from ringfence.egress.conversation import Steps
from ringfence.egress.door import Door
from ringfence.egress.heads import Speaker
from ringfence.egress.target import Head, Headers, inbound, outbound
from ringfence.egress.trip import Trip

#: What of a request is held back until more of it was looked through; a request that is shorter goes as a whole.
WINDOW = 256 << 10
_BODY_SECONDS = 60.0
_BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
#: How a body may be packed, so that it can be looked through.
_READABLE = (b"identity", b"gzip", b"x-gzip")
#: What stands between two fields of a head when it is looked through: the end of every encoding.
_BETWEEN = b"|\n"


class Passage:
    """One request and its answer, between a sandbox and a server that it may reach."""

    def __init__(self, door: Door, client: Speaker, server: Speaker, head: Head, trip: Trip) -> None:
        self._door = door
        self._client = client
        self._server = server
        self._head = head
        self._trip = trip
        self._read = trip.rule is not None and trip.rule.inspect
        self._scanner = door.holdings.leaks.scanner()
        self._held = b""
        self._sent = 0
        self._received = 0
        self._status = 502

    def run(self) -> Steps[bool]:
        """All of it; whether the connections are good for another request."""
        try:
            denied = yield from self._ask()
            if isinstance(denied, Deny):
                yield from self._refuse(denied)
                return False
            why = denied or (yield from self._answer())
        except h11.ProtocolError:
            why = "garbled"
        if why in ("sent", "received"):
            detail = f"the run's {why} bytes are used up"
            deny = Deny(f"limits.network.{why}", Reason.BUDGET_SPENT, Source.EGRESS, detail)
            yield from self._trip.deny(deny, sent=self._sent, received=self._received)
            return False
        if why and self._client.http.our_state is h11.SEND_RESPONSE:
            yield from self._client.side.say(_BAD_GATEWAY)
        recorded = yield from self._trip.end(why, status=self._status, sent=self._sent, received=self._received)
        states = (self._client.http.our_state, self._client.http.their_state)
        return recorded and not why and states == (h11.DONE, h11.DONE) and not self._door.exhausted

    def _refuse(self, denied: Deny) -> Steps[None]:
        refusal = yield from self._trip.deny(denied, sent=self._sent, received=self._received)
        if denied.reason is Reason.SECRET_FOUND and self._door.policy.on_leak == "stop":
            self._door.final("leak")
        yield from self._client.refuse(refusal)

    def _ask(self) -> Steps[str | Deny]:
        """Send the request; why not, if not. A server that answers early is listened to all the same."""
        denied = (yield from self._look(_spelled_out(self._head))) or self._misplaced()
        if denied is not None:
            return denied
        headers = outbound(self._head, self._trip.target)
        if self._read:
            headers = [*(pair for pair in headers if pair[0] != b"cookie"), *self._put_on()]
        request = h11.Request(
            method=self._head.method, target=self._trip.target.path, headers=headers, http_version=b"1.1"
        )
        why: str | Deny = yield from self._send(request)
        while not why:
            if self._client.http.they_are_waiting_for_100_continue:
                go_on = self._client.http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                yield from self._client.side.say(go_on)
            event = self._client.http.next_event()
            if event is h11.NEED_DATA:
                reply = yield from self._client.side.hear(_BODY_SECONDS)
                if not isinstance(reply, c.Piece):
                    return "left"
                self._client.http.receive_data(reply.content)
            elif isinstance(event, h11.Data):
                why = (yield from self._look(bytes(event.data))) or (yield from self._send(h11.Data(data=event.data)))
            elif isinstance(event, h11.EndOfMessage):
                why = (yield from self._look(b"", final=True)) or (yield from self._send(h11.EndOfMessage()))
                break
            else:
                return "left"
        return "" if why == "closed" else why

    def _look(self, content: bytes, *, final: bool = False) -> Steps[Deny | None]:
        """Look through what wants to leave, where requests are read."""
        if not self._read:
            return None
        seen = yield c.LookThrough(self._scanner, content, final)
        if isinstance(seen, c.Seen) and seen.found is None:
            return None
        what = seen.found if isinstance(seen, c.Seen) else "what could not be looked through"
        detail = f"the request holds {what}; it was not passed on"
        return Deny("network.content_scan", Reason.SECRET_FOUND, Source.EGRESS, detail)

    def _misplaced(self) -> Deny | None:
        """What a request to a host that is read must not bring: credentials of its own, and a body that hides."""
        if not self._read:
            return None
        put = self._trip.rule.credential if self._trip.rule is not None else None
        if put is not None and not self._trip.target.secure:
            detail = "a credential is put on requests by https alone"
            return Deny("network.credential", Reason.PROTECTED, Source.EGRESS, detail)
        ours = (put.header.lower().encode(),) if put is not None and put.header else ()
        if any(self._head.values(name) for name in (b"authorization", *ours)):
            detail = "the request brings a credential of its own; where one is needed, the proxy puts it on"
            return Deny("network.credential", Reason.PROTECTED, Source.EGRESS, detail)
        packed = b",".join(self._head.values(b"content-encoding")).lower()
        if packed and packed not in _READABLE:
            detail = f"a body that is packed as {packed.decode('latin-1')[:40]!a} cannot be looked through"
            return Deny("network.content_scan", Reason.MALFORMED, Source.EGRESS, detail)
        return None

    def _put_on(self) -> Headers:
        """The credential of the rule, as a header."""
        put = self._trip.rule.credential if self._trip.rule is not None else None
        return [] if put is None else [_header(put, self._door.holdings.credentials[put.secret])]

    def _send(self, event: h11.Event) -> Steps[str]:
        """Send what may go by now; of a request that is read, the end of what there is stays until more is known."""
        self._held += self._server.http.send(event) or b""
        keep = WINDOW if self._read and not isinstance(event, h11.EndOfMessage) else 0
        content = self._held[: max(0, len(self._held) - keep)]
        if not content:
            return ""
        self._held = self._held[len(content) :]
        if not self._door.meter.sending(len(content)):
            return "sent"
        self._sent += len(content)
        return "" if isinstance((yield from self._server.side.say(content)), c.Went) else "closed"

    def _answer(self) -> Steps[str]:
        """Hand the answer on as it comes; why it is not whole, if it is not."""
        http = self._server.http
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                reply = yield from self._server.side.hear(self._door.policy.idle_timeout)
                if not isinstance(reply, c.Piece):
                    return "silent" if isinstance(reply, c.TimedOut) else "left"
                if not self._door.meter.receiving(len(reply.content)):
                    return "received"
                self._received += len(reply.content)
                http.receive_data(reply.content)
                continue
            if isinstance(event, h11.InformationalResponse):
                continue
            said = _translated(event, last=self._trip.target.secure and _ends(event))
            if said is None:
                return "cut"
            if isinstance(event, h11.Response):
                self._status = event.status_code
            if not isinstance((yield from self._client.side.say(self._client.http.send(said) or b"")), c.Went):
                return "left"
            if isinstance(event, h11.EndOfMessage):
                return ""


def _spelled_out(head: Head) -> bytes:
    """A head as it is looked through: method, target, and every name and value."""
    fields = (part for pair in head.headers for part in pair)
    return _BETWEEN.join((head.method, head.target, *fields)) + _BETWEEN


def _header(put: Credential, value: str) -> tuple[bytes, bytes]:
    if put.scheme == "header":
        return put.header.lower().encode(), value.encode()
    if put.scheme == "basic":
        return b"authorization", b"Basic " + base64.b64encode(f"{put.username}:{value}".encode())
    return b"authorization", b"Bearer " + value.encode()


def _ends(event: object) -> bool:
    """Whether a server says that nothing follows this answer."""
    if not isinstance(event, h11.Response):
        return False
    said = [value.lower() for name, value in event.headers if name == b"connection"]
    return event.http_version < b"1.1" or any(b"close" in value for value in said)


def _translated(event: object, *, last: bool) -> h11.Event | None:
    """What the server said, for the sandbox; None for the end of a connection that nobody expected."""
    if isinstance(event, h11.Response):
        headers = inbound(list(event.headers), last=last)
        return h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
    if isinstance(event, h11.Data):
        return h11.Data(data=event.data)
    return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else None
