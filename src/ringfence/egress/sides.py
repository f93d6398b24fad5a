"""The two sides of a connection as the logic speaks to them: as they are, or by TLS that begins and ends here.

Without I/O: TLS runs over memory (ssl.MemoryBIO); what it wants to send or to hear becomes a command like any other.
"""

import ssl
from contextlib import suppress
from typing import Protocol

from ringfence.egress import conversation as c
from ringfence.egress.conversation import Steps

_READ = 64 << 10


class Side(Protocol):
    """Who is spoken to."""

    def hear(self, seconds: float) -> Steps[c.Reply]:
        """Bytes of the other; an empty piece is its end. → Piece, TimedOut or Left"""
        ...

    def say(self, content: bytes) -> Steps[c.Reply]:
        """Bytes for the other. → Went, Failed or Left"""
        ...


class Sandbox:
    """The program inside."""

    def hear(self, seconds: float) -> Steps[c.Reply]:
        """Bytes of the program."""
        return (yield c.Hear(seconds))

    def say(self, content: bytes) -> Steps[c.Reply]:
        """Bytes for the program."""
        return (yield c.Say(content))


class Server:
    """The server that was connected to."""

    def hear(self, seconds: float) -> Steps[c.Reply]:
        """Bytes of the server."""
        return (yield c.HearServer(seconds))

    def say(self, content: bytes) -> Steps[c.Reply]:
        """Bytes for the server."""
        return (yield c.SayServer(content))


class Secured:
    """A side that is spoken to by TLS. `name` is whom a server must be; without one, the other is the client."""

    def __init__(self, beneath: Side, context: ssl.SSLContext, name: str | None = None) -> None:
        self._beneath = beneath
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=name is None, server_hostname=name)

    def shake_hands(self, seconds: float, first: bytes = b"") -> Steps[c.Reply]:
        """Begin, with what was heard already. → Went, Untrusted or Failed"""
        self._incoming.write(first)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                if not (yield from self._more(seconds)):
                    return c.Failed("it ended the TLS handshake")
            except ssl.SSLCertVerificationError as error:
                yield from self._flush()
                return c.Untrusted(error.verify_message)
            except ssl.SSLError as error:
                yield from self._flush()
                return c.Failed(f"the TLS handshake failed: {_why(error)}")
            else:
                yield from self._flush()
                return c.Went()

    def hear(self, seconds: float) -> Steps[c.Reply]:
        """What the other says, in clear. An end without TLS's own goodbye is no end but a cut."""
        while True:
            try:
                return c.Piece(self._tls.read(_READ))
            except ssl.SSLWantReadError:
                yield from self._flush()
                reply = yield from self._beneath.hear(seconds)
                if not isinstance(reply, c.Piece):
                    return reply
                if not reply.content:
                    return c.Left()
                self._incoming.write(reply.content)
            except ssl.SSLZeroReturnError:
                return c.Piece(b"")
            except ssl.SSLError as error:
                return c.Failed(f"TLS is broken: {_why(error)}")

    def say(self, content: bytes) -> Steps[c.Reply]:
        """Something for the other."""
        try:
            self._tls.write(content)
        except ssl.SSLError as error:
            return c.Failed(f"TLS is broken: {_why(error)}")
        return (yield from self._flush())

    def part(self) -> Steps[None]:
        """Say goodbye, so that the other knows that nothing was cut off."""
        with suppress(ssl.SSLError):  # it waits for the other's goodbye; ours is on its way
            self._tls.unwrap()
        yield from self._flush()

    def _more(self, seconds: float) -> Steps[bool]:
        if not isinstance((yield from self._flush()), c.Went):
            return False
        reply = yield from self._beneath.hear(seconds)
        if not isinstance(reply, c.Piece) or not reply.content:
            return False
        self._incoming.write(reply.content)
        return True

    def _flush(self) -> Steps[c.Reply]:
        waiting = self._outgoing.read()
        return (yield from self._beneath.say(waiting)) if waiting else c.Went()


def _why(error: ssl.SSLError) -> str:
    return (error.reason or type(error).__name__).lower().replace("_", " ")
