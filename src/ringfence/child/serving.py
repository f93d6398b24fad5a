"""Inside a process of its own: doors that come as descriptors, and the control channel to the worker.

What is spoken behind a door is given as a function that makes connections; here are the limits of a door,
its opening and closing, and the records that the worker acknowledges. The process ends when the channel does.
"""

import asyncio
import ctypes
import gc
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
_LONGEST_POLICY = 192 << 10  # of one message; the kernel takes no longer one
#: Of mallopt(3). What is larger than the first is mapped, and given back to the kernel, each time that it is used.
_MMAP_THRESHOLD = -3
_TRIM_THRESHOLD = -1


class Control:
    """The channel to the worker."""

    def __init__(self, worker: asyncio.WriteTransport) -> None:
        self._worker = worker
        #: What the process says when the worker asks it something; set by what begins to serve.
        self.answers: Callable[[dict[str, Any]], dict[str, Any]] = lambda _question: {}
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self._records = 0

    def tell(self, kind: str, **fields: Any) -> None:
        """Say something that needs no answer."""
        self._worker.write(encode({"kind": kind, **fields}))

    async def record(self, call: dict[str, Any], blobs: Sequence[bytes] = ()) -> bool:
        """Have something recorded; False when the worker refuses, fails or does not answer."""
        answer = await self.question(call, blobs)
        return answer.header.get("ok") is True

    async def question(self, call: dict[str, Any], blobs: Sequence[bytes] = ()) -> Frame:
        """The same, with all that the worker says to it."""
        self._records += 1
        number = self._records
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Frame] = loop.create_future()
        self._waiting[number] = answer
        late = loop.call_later(_RECORD_SECONDS, self.acknowledged, number, Frame({}))
        try:
            self._worker.write(encode({"kind": "record", "id": number, "call": call}, blobs))
            return await answer
        finally:
            late.cancel()
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
            case "ask":
                self._control.tell("answer", id=number, answer=self._control.answers(frame.header["question"]))
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
    loop = asyncio.get_running_loop()
    transport, worker = await loop.create_unix_connection(lambda: _Worker(doors, begin), sock=control)
    try:
        await worker.gone
    finally:
        transport.close()


class _Worker(asyncio.Protocol):
    """The worker at the other end of the control channel: its first frame begins, all others are heard."""

    def __init__(self, doors: socket.socket, begin: Begin) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._doors = doors
        self._begin = begin
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._server: Server | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the channel is ours."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came. What is no frame ends the channel, and so the process."""
        for frame in self._frames.feed(data):
            if self._server is not None:
                self._server.heard(frame)
            else:
                self._first(frame)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio: the channel is gone."""
        if not self.gone.done():
            self.gone.set_result(None)

    def _first(self, frame: Frame) -> None:
        assert self._transport is not None
        channel = Control(self._transport)
        try:
            self._server = Server(channel, self._begin(frame, channel))
        except InputError as error:
            channel.tell("failed", what=error.what, where=error.where, mend=error.mend)
            self._transport.close()
            return
        _receive_doors(self._doors, self._server)
        _settle()
        channel.tell("ready")


def _settle() -> None:
    """Make ready for a long life in which bodies are copied: memory is kept, and what is there now is not searched."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; another C library does as it does
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 4 << 20)
        mallopt(_TRIM_THRESHOLD, 16 << 20)
    gc.collect()
    gc.freeze()


def _receive_doors(doors: socket.socket, server: Server) -> None:
    """Each message is one door: a policy with its listener beside it."""
    loop = asyncio.get_running_loop()
    doors.setblocking(False)

    def came() -> None:
        message, fds, _, _ = socket.recv_fds(doors, _LONGEST_POLICY, 4)
        if not message:
            loop.remove_reader(doors)
            return
        opened = json.loads(message)
        server.open(opened["id"], opened["policy"], socket.socket(fileno=fds[0]))

    loop.add_reader(doors, came)
