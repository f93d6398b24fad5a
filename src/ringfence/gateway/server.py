"""The gateway's process from inside: doors that come as descriptors, and the control channel to the worker.

It holds the model credentials and nothing else: no file, no log, no boundary. It ends when the control
channel does. What it may forward it is told with each door; what it forwarded it reports, and waits.
"""

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ringfence.domain.errors import InputError
from ringfence.gateway.agent_socket import AgentSocket
from ringfence.gateway.answer import Scrubber
from ringfence.gateway.call import Call, to_frame
from ringfence.gateway.connection import AgentConnection
from ringfence.gateway.door import Door
from ringfence.gateway.ledger import Ledger
from ringfence.gateway.wire import Frame, Frames, encode
from ringfence.ports.gateway import DoorPolicy
from ringfence.ports.model_provider import ModelProvider

#: Makes the provider of a route from its configuration frame and its blob (a replay's script).
MakeProvider = Callable[[dict[str, Any], bytes], ModelProvider]

_RECORD_SECONDS = 30.0
_CONNECTIONS = 64  # of one door at once; more wait in the listener's queue
_EXCHANGES = 16  # of one door at once; the others' bodies are not even read
_GOODBYE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Route:
    """A provider with what must never come back out of it."""

    provider: ModelProvider
    models: tuple[str, ...]
    scrub: Scrubber


class Control:
    """The channel to the worker."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._records = 0

    def tell(self, kind: str, **fields: Any) -> None:
        """Say something that needs no answer."""
        self._writer.write(encode({"kind": kind, **fields}))

    async def record(self, call: Call) -> bool:
        """Have a call recorded; False when the worker refuses, fails or does not answer."""
        self._records += 1
        number = self._records
        header, request, response = to_frame(call)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._writer.write(encode({"kind": "record", "id": number, "call": header}, (request, response)))
            async with asyncio.timeout(_RECORD_SECONDS):
                return await answer
        except TimeoutError:
            return False
        finally:
            del self._waiting[number]

    def acknowledged(self, number: int, *, ok: bool) -> None:
        """The worker's answer; one that came too late is for nobody."""
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(ok)


class ServedDoor:
    """A door in use: its listener and its connections."""

    def __init__(self, listener: socket.socket, door: Door, route: Route, control: Control) -> None:
        self._listener = listener
        self._door = door
        self._route = route
        self._control = control
        self._connections: dict[asyncio.Task[None], AgentConnection] = {}
        self._accepting = asyncio.ensure_future(self._accept())

    async def close(self) -> None:
        """Take no more connections, end those that are there, and wait until what they cost is recorded."""
        self._accepting.cancel()
        await asyncio.wait({self._accepting})
        self._listener.close()
        for connection in self._connections.values():
            connection.leave()
        if self._connections:
            _, late = await asyncio.wait(set(self._connections), timeout=_GOODBYE_SECONDS)
            for task in late:
                task.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        places, turn = asyncio.Semaphore(_CONNECTIONS), asyncio.Semaphore(_EXCHANGES)
        while True:
            await places.acquire()
            try:
                accepted, _ = await loop.sock_accept(self._listener)
                if self._door.exhausted:
                    accepted.close()
                    raise ConnectionRefusedError("this door does not even answer any more")
                _, agent = await loop.connect_accepted_socket(AgentSocket, accepted)
            except OSError:
                places.release()
                await asyncio.sleep(0.05)  # also when out of descriptors, or when the agent is gone already
                continue
            connection = AgentConnection(self._door, self._route.provider, self._control, agent)
            task = asyncio.ensure_future(connection.serve(turn))
            self._connections[task] = connection
            task.add_done_callback(self._connections.pop)
            task.add_done_callback(lambda _: places.release())


class Server:
    """All doors of the process."""

    def __init__(self, control: Control, routes: dict[str, Route]) -> None:
        self._control = control
        self._routes = routes
        self._doors: dict[int, ServedDoor] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def open(self, number: int, policy: DoorPolicy, listener: socket.socket) -> None:
        """Serve a listener; refused when the route does not offer the model."""
        route = self._routes.get(policy.route)
        if route is None or policy.model not in route.models or number in self._doors:
            listener.close()
            self._control.tell("refused", id=number, why=f"route {policy.route!r} does not offer {policy.model!r}")
            return
        listener.setblocking(False)
        door = Door(
            policy=policy,
            provider=route.provider.kind,
            replayed=route.provider.replayed,
            scrub=route.scrub,
            ledger=Ledger(policy.requests, policy.input_tokens, policy.output_tokens),
            told=lambda code: self._control.tell("denied", id=number, code=code),
        )
        self._doors[number] = ServedDoor(listener, door, route, self._control)
        self._control.tell("opened", id=number)

    def heard(self, frame: Frame) -> None:
        """A message of the worker."""
        number = int(frame.header.get("id", 0))
        match frame.kind:
            case "ack":
                self._control.acknowledged(number, ok=frame.header.get("ok") is True)
            case "close":
                task = asyncio.ensure_future(self._close(number))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
            case "ping":
                self._control.tell("pong")
            case other:
                raise ValueError(f"unknown message {other!r}")

    async def _close(self, number: int) -> None:
        door = self._doors.pop(number, None)
        if door is not None:
            await door.close()
        self._control.tell("closed", id=number)


async def serve(control: socket.socket, doors: socket.socket, make_provider: MakeProvider) -> None:
    """Read the routes, then serve doors until the worker closes the control channel or is gone."""
    reader, writer = await asyncio.open_unix_connection(sock=control)
    try:
        await _listen(reader, writer, doors, make_provider)
    except ConnectionError:
        return
    finally:
        writer.close()


async def _listen(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doors: socket.socket, make_provider: MakeProvider
) -> None:
    channel, frames = Control(writer), Frames()
    server: Server | None = None
    while received := await reader.read(1 << 20):
        for frame in frames.feed(received):
            if server is not None:
                server.heard(frame)
                continue
            try:
                server = Server(channel, _routes(frame, make_provider))
            except InputError as error:
                channel.tell("failed", what=error.what, where=error.where, mend=error.mend)
                await writer.drain()
                return
            _receive_doors(doors, server)
            channel.tell("ready")


def _routes(frame: Frame, make_provider: MakeProvider) -> dict[str, Route]:
    routes = {}
    for config, blob in zip(frame.header["routes"], frame.blobs, strict=True):
        provider = make_provider(config, blob)
        routes[config["name"]] = Route(provider, tuple(config["models"]), Scrubber(config["credential"]))
    return routes


def _receive_doors(doors: socket.socket, server: Server) -> None:
    """Each message is one door: a policy with its listener beside it."""
    loop = asyncio.get_running_loop()
    doors.setblocking(False)

    def came() -> None:
        message, fds, _, _ = socket.recv_fds(doors, 1 << 16, 4)
        if not message:
            loop.remove_reader(doors)
            return
        opened = json.loads(message)
        server.open(opened["id"], DoorPolicy(**opened["policy"]), socket.socket(fileno=fds[0]))

    loop.add_reader(doors, came)
