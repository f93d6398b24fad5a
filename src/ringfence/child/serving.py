"""Inside a process of its own: doors that come as descriptors, and the control channel to the worker.

What is spoken behind a door is given as a function that makes connections; here are the limits of a door,
its opening and closing, and the records that the worker acknowledges. The process ends when the channel does.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ringfence.child.agent_socket import AgentSocket
from ringfence.child.wire import Frame, Frames, encode
from ringfence.domain.errors import InputError

_RECORD_SECONDS = 30.0
_CONNECTIONS = 64  # of one door at once; more wait in the listener's queue
_GOODBYE_SECONDS = 10.0


class Control:
    """The channel to the worker."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self._records = 0

    def tell(self, kind: str, **fields: Any) -> None:
        """Say something that needs no answer."""
        self._writer.write(encode({"kind": kind, **fields}))

    async def record(self, call: dict[str, Any], blobs: Sequence[bytes] = ()) -> bool:
        """Have something recorded; False when the worker refuses, fails or does not answer."""
        answer = await self.question(call, blobs)
        return answer.header.get("ok") is True

    async def question(self, call: dict[str, Any], blobs: Sequence[bytes] = ()) -> Frame:
        """The same, with all that the worker says to it."""
        self._records += 1
        number = self._records
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._writer.write(encode({"kind": "record", "id": number, "call": call}, blobs))
            async with asyncio.timeout(_RECORD_SECONDS):
                return await answer
        except TimeoutError:
            return Frame({})
        finally:
            del self._waiting[number]

    def acknowledged(self, number: int, answer: Frame) -> None:
        """The worker's answer; one that came too late is for nobody."""
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


class Connection(Protocol):
    """One accepted connection."""

    async def serve(self) -> None:
        """Serve it to its end; whatever happens is dealt with inside."""
        ...

    def leave(self) -> None:
        """The door is being closed: end as if the other side had left."""
        ...


@dataclass(frozen=True, slots=True)
class Behind:
    """What is behind a door: how its connections are made, and whether it answers at all."""

    connection: Callable[[AgentSocket], Connection]
    exhausted: Callable[[], bool]


#: From the number and the policy of a door to what is behind it, or to why it cannot be served.
MakeDoor = Callable[[int, dict[str, Any]], Behind | str]
#: From the first frame to that. Errors: `InputError`.
Begin = Callable[[Frame, Control], MakeDoor]


class ServedDoor:
    """A door in use: its listener and its connections."""

    def __init__(self, listener: socket.socket, behind: Behind) -> None:
        self._listener = listener
        self._behind = behind
        self._connections: dict[asyncio.Task[None], Connection] = {}
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
        places = asyncio.Semaphore(_CONNECTIONS)
        while True:
            await places.acquire()
            try:
                accepted, _ = await loop.sock_accept(self._listener)
                if self._behind.exhausted():
                    accepted.close()
                    raise ConnectionRefusedError("this door does not even answer any more")
                _, agent = await loop.connect_accepted_socket(AgentSocket, accepted)
            except OSError:
                places.release()
                await asyncio.sleep(0.05)  # also when out of descriptors, or when the agent is gone already
                continue
            connection = self._behind.connection(agent)
            task = asyncio.ensure_future(connection.serve())
            self._connections[task] = connection
            task.add_done_callback(self._connections.pop)
            task.add_done_callback(lambda _: places.release())


class Server:
    """All doors of the process."""

    def __init__(self, control: Control, make: MakeDoor) -> None:
        self._control = control
        self._make = make
        self._doors: dict[int, ServedDoor] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def open(self, number: int, policy: dict[str, Any], listener: socket.socket) -> None:
        """Serve a listener; refused when there is nothing to put behind it."""
        behind = "a door of that number is open" if number in self._doors else self._make(number, policy)
        if isinstance(behind, str):
            listener.close()
            self._control.tell("refused", id=number, why=behind)
            return
        listener.setblocking(False)
        self._doors[number] = ServedDoor(listener, behind)
        self._control.tell("opened", id=number)

    def heard(self, frame: Frame) -> None:
        """A message of the worker."""
        number = int(frame.header.get("id", 0))
        match frame.kind:
            case "ack":
                self._control.acknowledged(number, frame)
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


async def serve(control: socket.socket, doors: socket.socket, begin: Begin) -> None:
    """Read the first frame, then serve doors until the worker closes the control channel or is gone."""
    reader, writer = await asyncio.open_unix_connection(sock=control)
    try:
        await _listen(reader, writer, doors, begin)
    except ConnectionError:
        return
    finally:
        writer.close()


async def _listen(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doors: socket.socket, begin: Begin
) -> None:
    channel, frames = Control(writer), Frames()
    server: Server | None = None
    while received := await reader.read(1 << 20):
        for frame in frames.feed(received):
            if server is not None:
                server.heard(frame)
                continue
            try:
                server = Server(channel, begin(frame, channel))
            except InputError as error:
                channel.tell("failed", what=error.what, where=error.where, mend=error.mend)
                await writer.drain()
                return
            _receive_doors(doors, server)
            channel.tell("ready")


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
        server.open(opened["id"], opened["policy"], socket.socket(fileno=fds[0]))

    loop.add_reader(doors, came)
