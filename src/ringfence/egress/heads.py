"""Reading requests and refusing them, for whoever speaks HTTP with the sandbox: in clear, or inside a tunnel."""

from dataclasses import dataclass

import h11

from ringfence.egress import conversation as c
from ringfence.egress.conversation import Steps
from ringfence.egress.sides import Side
from ringfence.egress.target import Head
from ringfence.egress.trip import Refusal

MAX_HEAD = 32 << 10
_HEAD_SECONDS = 15.0  # for each piece of a request that has begun


@dataclass(frozen=True, slots=True)
class Speaker:
    """One end of an exchange of HTTP: who it is, and what h11 has understood so far."""

    side: Side
    http: h11.Connection

    def head(self, seconds: float) -> Steps[Head | None]:
        """The next request's head; None when there is none. Raises h11.RemoteProtocolError."""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                reply = yield from self.side.hear(seconds)
                if not isinstance(reply, c.Piece):
                    return None
                self.http.receive_data(reply.content)
                seconds = _HEAD_SECONDS
            elif isinstance(event, h11.Request):
                return Head(event.method, event.target, event.http_version, tuple(event.headers))
            else:
                return None

    def refuse(self, refusal: Refusal) -> Steps[None]:
        """Answer with a refusal, where an answer may still be given."""
        if self.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            yield from self.side.say(refusal_bytes(self.http, refusal))


def sandbox_speaker(side: Side) -> Speaker:
    """A program inside, as it begins to speak."""
    return Speaker(side, h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD))


def server_speaker(side: Side) -> Speaker:
    """A server, before it is asked."""
    return Speaker(side, h11.Connection(h11.CLIENT))


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
