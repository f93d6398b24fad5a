"""Out by the proxy of the operator's own network: connect to it, and ask it for a tunnel by name.

Without I/O. The name was judged before, and so was everything that it leads to from here; where the upstream then
connects to is for the upstream to decide.
"""

import h11

from ringfence.egress import conversation as c
from ringfence.egress.conversation import Steps
from ringfence.egress.door import Upstream
from ringfence.egress.target import Target

_ANSWER_SECONDS = 30.0


def tunnel(upstream: Upstream, target: Target) -> Steps[tuple[c.Reply, bytes]]:
    """Ask for a tunnel. → Connected with the upstream's address, or why not; and what came with the answer."""
    found = yield c.Look(upstream.host)
    if not isinstance(found, c.Found):
        return _named(found), b""
    reached = yield c.Dial(found.addresses, upstream.port)
    if not isinstance(reached, c.Connected):
        return _named(reached), b""
    http = h11.Connection(h11.CLIENT)
    place = f"{target.host}:{target.port}".encode()
    headers = [(b"host", place)]
    if upstream.authorization:
        headers.append((b"proxy-authorization", upstream.authorization.encode()))
    asked = http.send(h11.Request(method=b"CONNECT", target=place, headers=headers)) or b""
    asked += http.send(h11.EndOfMessage()) or b""
    if not isinstance((yield c.SayServer(asked)), c.Went):
        return c.Failed("the upstream proxy closed"), b""
    answered = yield from _answer(http)
    if isinstance(answered, int):
        if 200 <= answered < 300:
            return reached, http.trailing_data[0]
        return c.Failed(f"the upstream proxy refused it with status {answered}"), b""
    return answered, b""


def _answer(http: h11.Connection) -> Steps[int | c.Reply]:
    try:
        while (event := http.next_event()) is h11.NEED_DATA or isinstance(event, h11.InformationalResponse):
            if event is not h11.NEED_DATA:
                continue
            reply = yield c.HearServer(_ANSWER_SECONDS)
            if not isinstance(reply, c.Piece):
                return _named(reply)
            http.receive_data(reply.content)
    except h11.RemoteProtocolError:
        return c.Failed("the upstream proxy speaks no HTTP")
    return event.status_code if isinstance(event, h11.Response) else c.Failed("the upstream proxy closed")


def _named(reply: c.Reply) -> c.Reply:
    """Say of a failure that it is the upstream's."""
    return c.Failed(f"the upstream proxy: {reply.why}") if isinstance(reply, c.Failed) else reply
