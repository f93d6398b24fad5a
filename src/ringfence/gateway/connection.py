"""One connection of an agent: HTTP/1.1 by h11, each request an exchange, its commands performed with asyncio.

It decides nothing. What may be said, to whom and when is the exchange's; here are sockets, time limits
towards the agent, and the care that an exchange always runs to its end, so that everything is recorded.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeVar

import h11

from ringfence.child.agent_socket import AgentSocket
from ringfence.domain.errors import HostFailed
from ringfence.gateway import conversation as c
from ringfence.gateway.attempt import Steps
from ringfence.gateway.call import Call
from ringfence.gateway.door import Door
from ringfence.gateway.exchange import Exchange
from ringfence.gateway.refusal import Headers
from ringfence.gateway.request import MAX_HEADERS, Head
from ringfence.ports.model_provider import ModelProvider, ProviderAnswer

T = TypeVar("T")

_AGENT_SECONDS = 30.0  # for each read of a request that has begun, and for a write that is not taken
_IDLE_SECONDS = 300.0  # between two requests


class Recorder(Protocol):
    """Where exchanges are recorded."""

    async def record(self, call: Call) -> c.Acknowledged:
        """What the worker says to it."""
        ...


class Upstream:
    """The provider's side of an exchange: at most one answer is open at a time."""

    def __init__(self, providers: Mapping[str, ModelProvider], left: "asyncio.Future[None]") -> None:
        self._providers = providers
        self._left = left
        self._limit: asyncio.Timeout | None = None  # of what is waited for now
        left.add_done_callback(self._end_now)
        self._open = AsyncExitStack()
        self._pieces: AsyncIterator[bytes] | None = None

    async def ask(self, command: c.Ask) -> c.Reply:
        """Send a request and wait for the head of its answer."""
        await self.close()
        answer = await self._unless_left(self._enter(command), command.seconds)
        if isinstance(answer, c.Failed | c.TimedOut | c.AgentLeft):
            return answer
        self._pieces = answer.pieces()
        return c.Answered(answer.status, answer.content_type, answer.retry_after)

    async def listen(self, command: c.Listen) -> c.Reply:
        """The next piece of the answer."""
        piece = await self._unless_left(self._next(), command.seconds)
        return c.Piece(piece) if isinstance(piece, bytes) else (piece or c.Ended())

    async def pause(self, command: c.Pause) -> c.Reply:
        """Wait, with nothing open."""
        await self.close()
        waited = await self._unless_left(asyncio.sleep(command.seconds), None)
        return waited if isinstance(waited, c.AgentLeft) else c.Went()

    async def close(self) -> None:
        """Let go of the answer."""
        self._pieces = None
        try:
            await self._open.aclose()
        except HostFailed:
            return  # it broke while it was being closed; nobody waits for it any more

    async def _enter(self, command: c.Ask) -> ProviderAnswer:
        return await self._open.enter_async_context(self._providers[command.route].ask(command.request))

    async def _next(self) -> bytes | None:
        assert self._pieces is not None
        return await anext(self._pieces, None)

    async def _unless_left(
        self, work: Coroutine[Any, Any, T], seconds: float | None
    ) -> T | c.Failed | c.TimedOut | c.AgentLeft:
        """The result of some work on the provider's side, unless the agent leaves or the time is over first."""
        if self._left.done():
            work.close()
            return c.AgentLeft()
        try:
            # The agent's leaving ends the time, so that no task is needed for each piece that a provider sends.
            async with asyncio.timeout(seconds) as self._limit:
                return await work
        except TimeoutError:
            return c.AgentLeft() if self._left.done() else c.TimedOut()
        except HostFailed:
            return c.Failed()
        finally:
            self._limit = None

    def _end_now(self, _left: "asyncio.Future[None]") -> None:
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())


class AgentConnection:
    """Serves one connection until its end."""

    def __init__(
        self, door: Door, upstream: Upstream, recorder: Recorder, socket: AgentSocket, turn: asyncio.Semaphore
    ) -> None:
        self._door = door
        self._turn = turn
        self._recorder = recorder
        self._socket = socket
        self._upstream = upstream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADERS)
        self._broken = False

    def leave(self) -> None:
        """The door is being closed: end what goes on here as if the agent had left."""
        self._socket.leave()

    async def serve(self) -> None:
        """Answer one request after the other; the door's turn limits how many are answered at once."""
        try:
            while await self._serve_one():
                self._http.start_next_cycle()
        except (ConnectionError, TimeoutError):
            self._broken = True
        finally:
            await self._socket.close(linger=not self._broken)

    async def _serve_one(self) -> bool:
        try:
            head = await self._head()
        except h11.RemoteProtocolError:
            head = None
            if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                return False
        else:
            if head is None:
                return False
        async with self._turn:
            exchange = Exchange(self._door, asyncio.get_running_loop().time)
            try:
                await self._drive(exchange.run(head) if head is not None else exchange.garbled())
            except Exception:  # noqa: BLE001 - the server loop: whatever broke, it is denied and the door is shut
                await self._drive(exchange.broken())
                return False
        states = (self._http.our_state, self._http.their_state)
        return states == (h11.DONE, h11.DONE) and not self._broken and not self._door.exhausted

    async def _head(self) -> Head | None:
        """The next request's head; None when the agent is done."""
        seconds = _IDLE_SECONDS
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._socket.read(seconds))
                seconds = _AGENT_SECONDS
            elif isinstance(event, h11.Request):
                return Head(event.method, event.target, event.http_version, tuple(event.headers))
            else:
                return None

    async def _drive(self, steps: Steps[None]) -> None:
        """Perform an exchange's commands until it has no more."""
        try:
            command = next(steps)
            while True:
                command = steps.send(await self._perform(command))
        except StopIteration:
            return
        finally:
            await self._upstream.close()

    async def _perform(self, command: c.Command) -> c.Reply:
        match command:
            case c.Record():
                return await self._recorder.record(command.call)
            case c.Ask():
                return await self._upstream.ask(command)
            case c.Listen():
                return await self._upstream.listen(command)
            case c.Pause():
                return await self._upstream.pause(command)
            case _:
                return await self._toward_agent(command)

    async def _toward_agent(self, command: c.ReadBody | c.Respond | c.Begin | c.Send | c.Finish | c.Abort) -> c.Reply:
        try:
            match command:
                case c.ReadBody():
                    return await self._body(command.limit)
                case c.Respond():
                    await self._respond(command)
                case c.Begin():
                    await self._say(h11.Response(status_code=200, headers=_encoded(command.headers)))
                case c.Send():
                    await self._say(h11.Data(data=command.piece))
                case c.Finish():
                    await self._say(h11.EndOfMessage())
                case c.Abort():
                    self._broken = True  # closed without the last chunk: no client takes that for complete
        except (ConnectionError, TimeoutError, h11.ProtocolError):
            # A local protocol error: an answer was begun already, so that a second one cannot be.
            self._broken = True
            self._socket.leave()
            return c.AgentLeft()
        return c.Went()

    async def _body(self, limit: int) -> c.Reply:
        body = bytearray()
        while True:
            if self._http.they_are_waiting_for_100_continue:
                await self._say(h11.InformationalResponse(status_code=100, headers=[]))
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._socket.read(_AGENT_SECONDS))
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > limit:
                    return c.BodyTooLarge()
            elif isinstance(event, h11.EndOfMessage):
                return c.BodyCame(bytes(body))
            else:
                return c.AgentLeft()

    async def _respond(self, command: c.Respond) -> None:
        headers = [*_encoded(command.headers), (b"content-length", str(len(command.body)).encode())]
        if command.status == 403 or self._http.their_state is not h11.DONE:
            headers.append((b"connection", b"close"))
        head = self._http.send(h11.Response(status_code=command.status, headers=headers)) or b""
        rest = self._http.send(h11.Data(data=command.body)) or b""
        await self._socket.write(head + rest + (self._http.send(h11.EndOfMessage()) or b""), _AGENT_SECONDS)

    async def _say(self, event: Any) -> None:
        await self._socket.write(self._http.send(event) or b"", _AGENT_SECONDS)


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]
