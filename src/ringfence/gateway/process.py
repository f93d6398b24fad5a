"""The gateway as the worker sees it: starts its process, hands it doors, records what it reports.

The process is a sibling that trusts nobody and that nobody trusts: it gets its credentials once over a
socket pair, its listeners as descriptors, and nothing by arguments or environment; what it asks to be
recorded must be of a door that is open. When it dies or hangs, every open door says so at once, and no
new one opens.
"""

import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ringfence.domain.errors import ControlMissing, InputError, RingfenceError
from ringfence.gateway.call import Call, RouteConfig, from_frame
from ringfence.gateway.wire import Frame, Frames, encode
from ringfence.ports.gateway import DoorPolicy, OpenDoor

#: Without `site`, so that no .pth file of an installed package runs in the process that holds the keys.
_BOOT = "import sys; sys.path += sys.argv[1:3]; from ringfence.gateway_main import main; sys.exit(main(sys.argv[3:]))"
_START_SECONDS = 20.0
_OPEN_SECONDS = 10.0
_CLOSE_SECONDS = 15.0
_PINGS = 10
_SEND_SECONDS = 10
_RECORDERS = 4


class _Door:
    """A door in use, from the worker's side."""

    def __init__(self, policy: DoorPolicy, alive: Callable[[], bool]) -> None:
        self.policy = policy
        self.code: str | None = None
        self.refused = ""
        self.answered = threading.Event()
        self.closed = threading.Event()
        self._alive = alive

    def denied(self) -> str | None:
        """The code of a final no, `gateway_dead` when nobody is there any more, or None."""
        return self.code or (None if self._alive() else "gateway_dead")

    def wake(self) -> None:
        """Nobody will answer any more."""
        self.answered.set()
        self.closed.set()


class _Child:
    """The process and the two sockets to it; says when it is gone, and ends it when it does not answer."""

    def __init__(self, user: int | None, patience: float) -> None:
        self._user = user
        self._patience = patience
        self._control, self._control_there = socket.socketpair()
        self._doors, self._doors_there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._control, self._doors):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_SECONDS, 0))
        self._sending = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, once it was started."""
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it. It dies with the thread that calls this."""
        there = (self._control_there.fileno(), self._doors_there.fileno())
        user = str(self._user) if os.geteuid() == 0 else "-"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, *_import_paths(), *map(str, there), user],
            env={},
            pass_fds=there,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._control_there.close()
        self._doors_there.close()

    def send(self, header: dict[str, Any], blobs: tuple[bytes, ...] = ()) -> None:
        """Send a frame. A process that does not take it is ended, for the rest would be garbage."""
        try:
            with self._sending:
                self._control.sendall(encode(header, blobs))
        except OSError:
            self.kill()

    def hand(self, message: dict[str, Any], listener: socket.socket) -> None:
        """Send a door."""
        try:
            with self._sending:
                socket.send_fds(self._doors, [json.dumps(message).encode()], [listener.fileno()])
        except OSError:
            self.kill()

    def frames(self) -> Iterator[Frame]:
        """What it says, until it is gone, or leaves too many pings without an answer."""
        parser, poll, unanswered = Frames(), select.poll(), 0
        poll.register(self._control, select.POLLIN)
        # Counted in pings and not by a clock, so that a worker that was stopped for a while blames nobody.
        while unanswered < _PINGS:
            if not poll.poll(self._patience * 1000 / _PINGS):
                unanswered += 1
                self.send({"kind": "ping"})
                continue
            unanswered = 0
            try:
                received = self._control.recv(1 << 20)
                if not received:
                    return
                yield from parser.feed(received)
            except (OSError, ValueError):
                return

    def kill(self) -> None:
        """End it now."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        """End it, by closing the channel first, and leave nothing of it."""
        self._control.shutdown(socket.SHUT_RDWR)
        if self._process is not None:
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def release(self) -> None:
        """Close the sockets; nobody may use them any more."""
        for end in (self._control, self._control_there, self._doors, self._doors_there):
            end.close()


class GatewayProcess:
    """Implements ports/gateway.py. A context manager: started on entering, gone on leaving.

    `record` is called, from several threads, with each call of each door; when it returns, the call is on
    record, and when it raises, what it asked for is denied. `user` is the uid that the process runs as
    when the worker is root; it must be nobody else's. After `patience` seconds of silence it is ended.
    """

    def __init__(
        self,
        routes: tuple[RouteConfig, ...],
        record: Callable[[Call], None],
        *,
        user: int | None = None,
        patience: float = 10.0,
    ) -> None:
        self._patience = patience
        self._routes = routes
        self._record = record
        self._user = user
        self._doors: dict[int, _Door] = {}
        self._numbers = 0
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._dead = threading.Event()
        self._failure: RingfenceError = _gone()
        self._recorders = ThreadPoolExecutor(_RECORDERS, thread_name_prefix="gateway-record")
        self._running: _Child | None = None

    @property
    def pid(self) -> int | None:
        """The process id, once it was started."""
        return self._running.pid if self._running is not None else None

    @property
    def _child(self) -> _Child:
        if self._running is None:
            raise _gone()
        return self._running

    def __enter__(self) -> "GatewayProcess":
        if os.geteuid() == 0 and not self._user:
            mend = "give it a user of its own, with a uid that nothing else has"
            raise ControlMissing("the model gateway would run as root", mend=mend)
        scripts = tuple(_script(route) for route in self._routes)
        self._running = _Child(self._user, self._patience)
        self._thread = threading.Thread(target=self._live, args=(self._running, scripts), name="gateway", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_SECONDS) or self._dead.is_set():
            self.__exit__()
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()
        self._thread.join()
        self._recorders.shutdown()
        self._child.release()

    def alive(self) -> bool:
        """Whether the process is there and answers."""
        return self._ready.is_set() and not self._dead.is_set() and self._child.running

    @contextmanager
    def open(self, listener: socket.socket, policy: DoorPolicy) -> Iterator[OpenDoor]:
        """Serve a planted listener under a policy until the block ends. Errors: `ControlMissing`."""
        if not self.alive():
            raise _gone()
        door = _Door(policy, self.alive)
        with self._lock:
            self._numbers += 1
            number = self._numbers
            self._doors[number] = door
        try:
            self._child.hand({"id": number, "policy": asdict(policy)}, listener)
            if not door.answered.wait(_OPEN_SECONDS) or not self.alive():
                raise _gone()
            if door.refused:
                raise ControlMissing(
                    f"the model gateway cannot serve this door: {door.refused}",
                    where=f"run {policy.run}, door {policy.door}",
                    mend="compare the boundary's model routes with those the worker was started with",
                )
            yield door
        finally:
            if self.alive():
                self._child.send({"kind": "close", "id": number})
                door.closed.wait(_CLOSE_SECONDS)
            with self._lock:
                del self._doors[number]

    def _live(self, child: _Child, scripts: tuple[bytes, ...]) -> None:
        """The life of the process, in the one thread that it lives and dies with."""
        try:
            child.start()
            child.send({"kind": "routes", "routes": [_frame(route) for route in self._routes]}, scripts)
            for frame in child.frames():
                self._heard(frame)
        except OSError as error:
            self._failure = ControlMissing(f"the model gateway cannot be started: {error}")
        finally:
            self._dead.set()
            child.kill()
            self._ready.set()
            with self._lock:
                for door in self._doors.values():
                    door.wake()

    def _heard(self, frame: Frame) -> None:
        header = frame.header
        with self._lock:
            door = self._doors.get(header["id"]) if isinstance(header.get("id"), int) else None
        match frame.kind:
            case "ready":
                self._ready.set()
            case "failed":
                said = {key: str(header.get(key, "")) for key in ("what", "where", "mend")}
                self._failure = InputError(said["what"], where=said["where"], mend=said["mend"])
            case "record":
                self._take(frame)
            case "opened" | "refused" if door is not None:
                door.refused = str(header.get("why", "")) if frame.kind == "refused" else ""
                door.answered.set()
            case "denied" if door is not None:
                door.code = door.code or str(header.get("code", "denied"))[:100]
            case "closed" if door is not None:
                door.closed.set()

    def _take(self, frame: Frame) -> None:
        """Have a call recorded, and tell the process whether it was."""
        number = frame.header.get("id")
        door: _Door | None = None

        def answer(done: "Future[None]") -> None:
            ok = not done.cancelled() and done.exception() is None
            if door is not None and not ok:
                door.code = door.code or "not_recorded"  # known here before anybody is told
            self._child.send({"kind": "ack", "id": number, "ok": ok})

        future: Future[None]
        try:
            call = from_frame(frame.header["call"], *frame.blobs)
            door = self._door_of(call)
            future = self._recorders.submit(self._record, call)
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            future = Future()
            future.set_exception(error)
        future.add_done_callback(answer)

    def _door_of(self, call: Call) -> _Door:
        """The open door that a call says it went through; without one, nothing is recorded."""
        with self._lock:
            for door in self._doors.values():
                if (door.policy.run, door.policy.door) == (call.run, call.door):
                    return door
        raise ValueError("a call of a door that is not open")


def _gone() -> ControlMissing:
    return ControlMissing(
        "the model gateway is not running",
        where="its process has ended, or does not answer",
        mend="see the system log for why it ended, and start the worker again",
    )


def _import_paths() -> tuple[str, str]:
    """Where this package and h11 are: all that the process may import beside the standard library."""
    h11 = find_spec("h11")
    if h11 is None or h11.origin is None:
        raise FileNotFoundError("h11 is not installed")
    return str(Path(__file__).parents[2]), str(Path(h11.origin).parents[1])


def _frame(route: RouteConfig) -> dict[str, Any]:
    return {
        "name": route.name,
        "provider": route.provider,
        "endpoint": route.endpoint,
        "models": list(route.models),
        "credential": route.credential.reveal() if route.credential is not None else None,
        "authorities": route.authorities,
    }


def _script(route: RouteConfig) -> bytes:
    """A replay's script as JSON: the process reads no files and knows no YAML."""
    if route.provider != "replay":
        return b""
    try:
        return json.dumps(YAML(typ="safe", pure=True).load(Path(route.endpoint))).encode()
    except (OSError, YAMLError, ValueError, TypeError) as error:
        raise InputError(
            f"the replay script cannot be read: {error}",
            where=route.endpoint,
            mend="docs/replay.md describes the script",
        ) from None
