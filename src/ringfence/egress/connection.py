"""One connection of a sandbox: its conversation's commands performed with asyncio.

It decides nothing. What may be looked up, connected to and passed on is the conversation's; here are sockets,
time limits, and the care that a conversation always runs to its end, so that everything is recorded.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ringfence.child.agent_socket import AgentSocket
from ringfence.egress import conversation as c
from ringfence.egress.attempt import Attempt
from ringfence.egress.door import Door, Meter
from ringfence.egress.exchange import Exchange

T = TypeVar("T")

_WRITE_SECONDS = 60.0
_LOOK_SECONDS = 10.0
_DIAL_SECONDS = 5.0
_MOST_ADDRESSES = 16
_MOST_DIALLED = 4
_SLICE = 16 << 10
_LOOKUPS = 64  # threads of the process that look names up
#: Names of one door that are looked up at once.
LOOKUPS_OF_A_DOOR = 8


class Recorder(Protocol):
    """Where attempts are recorded."""

    async def record(self, attempt: Attempt) -> bool:
        """Whether the worker has it."""
        ...


class Names:
    """Looks names up: those that the settings pin, else by the worker's own resolver. Shared by all doors."""

    def __init__(self, pinned: dict[str, tuple[str, ...]]) -> None:
        self._pinned = pinned
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="names")

    async def look(self, host: str, turn: asyncio.Semaphore) -> tuple[str, ...]:
        """Every address of a name. Raises OSError or TimeoutError."""
        if host in self._pinned:
            return self._pinned[host]
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_LOOK_SECONDS):
            await turn.acquire()
            looking = loop.run_in_executor(self._threads, _resolve, host)
            # A resolver that hangs keeps its thread: the door that asked for it pays, not the others.
            looking.add_done_callback(lambda _: turn.release())
            return await asyncio.shield(looking)


def _resolve(host: str) -> tuple[str, ...]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))[:_MOST_ADDRESSES]


@dataclass(frozen=True, slots=True)
class Turns:
    """What the connections of one door do in turns, so that they do not take it from other doors."""

    lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKUPS_OF_A_DOOR))
    scans: asyncio.Lock = field(default_factory=asyncio.Lock)


class ProxyConnection:
    """Serves one connection until its end."""

    def __init__(self, door: Door, names: Names, turns: Turns, recorder: Recorder, agent: AgentSocket) -> None:
        self._door = door
        self._names = names
        self._turns = turns
        self._recorder = recorder
        self._agent = agent
        self._server: AgentSocket | None = None
        self._broken = False

    def leave(self) -> None:
        """The door is being closed: end what goes on here as if the sandbox had left."""
        self._agent.leave()
        if self._server is not None:
            self._server.leave()

    async def serve(self) -> None:
        """Carry the conversation to its end."""
        exchange = Exchange(self._door, asyncio.get_running_loop().time)
        try:
            await self._drive(exchange.run())
        except Exception:  # noqa: BLE001 - the server loop: whatever broke, it is denied and nothing more is said
            self._broken = True
            await self._drive(exchange.broken())
        finally:
            if self._server is not None:
                self._server.abort()
            await self._agent.close(linger=not self._broken)

    async def _drive(self, steps: Generator[c.Command, c.Reply, None]) -> None:
        try:
            command = next(steps)
            while True:
                command = steps.send(await self._perform(command))
        except StopIteration:
            return

    async def _perform(self, command: c.Command) -> c.Reply:
        match command:
            case c.Record():
                return c.Acknowledged(await self._recorder.record(command.attempt))
            case c.Look():
                return await self._unless_left(self._look(command.host))
            case c.Dial():
                return await self._unless_left(self._dial(command))
            case c.Relay():
                return await self._relay(command)
            case c.LookThrough():
                return await self._look_through(command)
            case c.Hear():
                return await _attempted(self._heard(self._agent, command.seconds), c.Left())
            case c.Say():
                return await _attempted(self._said(self._agent, command.content), c.Left())
            case c.HearServer():
                return await _attempted(self._heard(self._the_server, command.seconds), c.Piece(b""))
            case c.SayServer():
                return await _attempted(self._said(self._the_server, command.content), c.Failed("it closed"))

    @property
    def _the_server(self) -> AgentSocket:
        assert self._server is not None  # a conversation speaks to a server only after it was connected
        return self._server

    async def _heard(self, side: AgentSocket, seconds: float) -> c.Reply:
        return c.Piece(await side.read(seconds))

    async def _said(self, side: AgentSocket, content: bytes) -> c.Reply:
        await side.write(content, _WRITE_SECONDS)
        return c.Went()

    async def _look_through(self, command: c.LookThrough) -> c.Reply:
        """Slice by slice, and after each somebody else has a turn: this is the most that the proxy has to think."""
        found = None
        async with self._turns.scans:
            for at in range(0, len(command.content), _SLICE):
                found = command.scanner.feed(command.content[at : at + _SLICE])
                await asyncio.sleep(0)
            return c.Seen(command.scanner.finish() if command.final else found)

    async def _look(self, host: str) -> c.Reply:
        try:
            return c.Found(await self._names.look(host, self._turns.lookups))
        except TimeoutError:
            return c.Failed("its name was not looked up in time")
        except (OSError, UnicodeError) as error:
            return c.Failed(f"its name cannot be looked up ({_why(error)})")

    async def _dial(self, command: c.Dial) -> c.Reply:
        """The first that answers; an address is taken as it is, so nothing can lead elsewhere meanwhile."""
        why = "no address answers"
        for address in command.addresses[:_MOST_DIALLED]:
            try:
                async with asyncio.timeout(_DIAL_SECONDS):
                    _, self._server = await asyncio.get_running_loop().create_connection(
                        AgentSocket, address, command.port
                    )
                return c.Connected(address)
            except TimeoutError:
                why = "it does not answer"
            except OSError as error:
                why = f"it cannot be reached ({_why(error)})"
        return c.Failed(why)

    async def _unless_left(self, work: Coroutine[Any, Any, c.Reply]) -> c.Reply:
        """The result of some work, unless the sandbox leaves first."""
        task = asyncio.ensure_future(work)
        either: set[asyncio.Future[Any]] = {task, self._agent.left}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        return c.Left() if task.cancelled() else task.result()

    async def _relay(self, command: c.Relay) -> c.Reply:
        """Both directions until one ends; what has come is handed on before the other side is closed."""
        server, flow = self._the_server, Flow(command.meter, command.idle, asyncio.get_running_loop().time)
        if command.first and not await flow.send(server, command.first):
            return c.Relayed(flow.sent, flow.received, flow.why)
        up = asyncio.ensure_future(flow.run(self._agent, server, flow.send))
        down = asyncio.ensure_future(flow.run(server, self._agent, flow.receive))
        _, going = await asyncio.wait({up, down}, timeout=command.longest, return_when=asyncio.FIRST_COMPLETED)
        if len(going) == 2:
            flow.why = "longest"
        for task in going:
            task.cancel()
        await asyncio.wait({up, down})
        self._broken = flow.why != ""
        return c.Relayed(flow.sent, flow.received, flow.why)


class Flow:
    """The two directions of a relay: what went each way, when something last did, and why it stopped."""

    def __init__(self, meter: Meter, idle: float, now: Callable[[], float]) -> None:
        self.sent = 0
        self.received = 0
        self.why = ""
        self._meter = meter
        self._idle = idle
        self._now = now
        self._last = now()

    async def run(
        self, source: AgentSocket, goal: AgentSocket, hand: Callable[[AgentSocket, bytes], Coroutine[Any, Any, bool]]
    ) -> None:
        """One direction, until its source ends, its goal has gone, or a limit is met."""
        try:
            while True:
                left = self._last + self._idle - self._now()
                try:
                    piece = await source.read(max(0.01, left))
                except TimeoutError:
                    if self._now() - self._last >= self._idle:
                        self.why = self.why or "idle"
                        return
                    continue
                self._last = self._now()
                if not await hand(goal, piece):
                    return
        except ConnectionError:
            return

    async def send(self, goal: AgentSocket, piece: bytes) -> bool:
        """Towards the server."""
        if not self._meter.sending(len(piece)):
            self.why = self.why or "sent"
            return False
        self.sent += len(piece)
        return await self._write(goal, piece)

    async def receive(self, goal: AgentSocket, piece: bytes) -> bool:
        """Towards the sandbox."""
        if not self._meter.receiving(len(piece)):
            self.why = self.why or "received"
            return False
        self.received += len(piece)
        return await self._write(goal, piece)

    async def _write(self, goal: AgentSocket, piece: bytes) -> bool:
        try:
            await goal.write(piece, _WRITE_SECONDS)
        except TimeoutError:
            self.why = self.why or "not_taken"
            return False
        except ConnectionError:
            return False
        return True


async def _attempted(work: Coroutine[Any, Any, c.Reply], gone: c.Reply) -> c.Reply:
    try:
        return await work
    except TimeoutError:
        return c.TimedOut()
    except ConnectionError:
        return gone


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
