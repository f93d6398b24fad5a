"""A sandbox's side of a door under asyncio: bytes in, bytes out, and the news that the agent has gone.

Reading is held back when nobody takes what came, so that a sender cannot fill the memory of the process that serves it.
"""

import asyncio

_INBOX = 256 << 10
_PIECES = 512  # a piece of one byte costs as much memory as forty
_LINGER = 1.0
_LINGER_BYTES = 16 << 20


class AgentSocket(asyncio.Protocol):
    """One accepted connection. Everything that waits raises ConnectionError when the agent has gone."""

    def __init__(self) -> None:
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._inbox: list[bytes] = []
        self._waiting = 0
        self._came = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is ours."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        self._inbox.append(data)
        self._waiting += len(data)
        if (self._waiting > _INBOX or len(self._inbox) > _PIECES) and self._transport is not None:
            self._transport.pause_reading()
        self._came.set()

    def eof_received(self) -> bool:
        """asyncio: the agent closed its side; a client that waits for an answer keeps it open."""
        self.leave()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio: the connection is gone."""
        self.leave()

    def pause_writing(self) -> None:
        """asyncio: the agent does not take what it is sent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """asyncio: it does again."""
        self._writable.set()

    def leave(self) -> None:
        """Take the agent for gone; whoever waits here is told."""
        if not self.left.done():
            self.left.set_result(None)
        self._came.set()
        self._writable.set()

    async def read(self, seconds: float) -> bytes:
        """What came, at least one byte. Raises TimeoutError after `seconds` of nothing."""
        if not self._inbox:
            async with asyncio.timeout(seconds):
                while not self._inbox:
                    self._check()
                    self._came.clear()
                    await self._came.wait()
        # One piece is handed on as it is: most of what passes is never copied.
        came = self._inbox[0] if len(self._inbox) == 1 else b"".join(self._inbox)
        self._inbox.clear()
        self._waiting = 0
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        return came

    async def write(self, piece: bytes, seconds: float) -> None:
        """Send a piece; waits while the agent is slow. Raises TimeoutError when it takes nothing for `seconds`."""
        self._check()
        assert self._transport is not None
        self._transport.write(piece)
        if not self._writable.is_set():
            async with asyncio.timeout(seconds):
                await self._writable.wait()
        self._check()

    async def close(self, *, linger: bool = False) -> None:
        """Close, after what was written; with `linger`, let an agent that is still sending read its answer first."""
        if self._transport is None:
            return
        if linger and not self.left.done() and self._transport.can_write_eof():
            self._transport.write_eof()
            await self._drop_what_comes()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    async def _drop_what_comes(self) -> None:
        dropped = 0
        deadline = asyncio.get_running_loop().time() + _LINGER
        try:
            while dropped < _LINGER_BYTES:
                dropped += len(await self.read(deadline - asyncio.get_running_loop().time()))
        except (ConnectionError, TimeoutError):
            return

    def _check(self) -> None:
        if self.left.done():
            raise ConnectionResetError("the agent has gone")
