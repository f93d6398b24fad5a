"""An enforcement point as the worker sees it: starts its process, hands it doors, records what it reports.

The process is a sibling that trusts nobody and that nobody trusts: what it asks to be recorded must be of
a door that is open. When it dies or hangs, every open door says so at once, and no new one opens.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from ringfence.child.supervised import Child
from ringfence.child.wire import Frame
from ringfence.domain.errors import ControlMissing, InputError, RingfenceError

_START_SECONDS = 20.0
_OPEN_SECONDS = 10.0
_CLOSE_SECONDS = 15.0
_RECORDERS = 4


class OfDoor(Protocol):
    """What names the door that it belongs to."""

    @property
    def run(self) -> str:
        """The run."""
        ...

    @property
    def door(self) -> str:
        """The door's name in it."""
        ...


R = TypeVar("R", bound=OfDoor)
First = Callable[[], tuple[dict[str, Any], tuple[bytes, ...]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the worker says to a question, where that is more than that it is on record."""

    ok: bool = True
    why: str = ""  # why it may not happen
    final: bool = False  # nor anything else behind this door
    content: bytes = b""  # to be used in the place of what was asked about
    after: Callable[[], None] | None = None  # what is left to do when the process has been told


@dataclass(frozen=True, slots=True)
class Point(Generic[R]):
    """Which enforcement point it is: its words, its program, and how what it reports is read and recorded."""

    name: str  # "model gateway"
    code: str  # "gateway": a door of a process that is gone says "gateway_dead"
    module: str
    compare: str  # what to look at when a door is refused
    #: What it asks to be recorded. Raises ValueError, TypeError or KeyError when it cannot be that.
    read: Callable[[Frame], R]
    #: Called from several threads; when it returns, it is on record, and when it raises, it is denied.
    record: Callable[[R], Answer | None]
    words: tuple[str, ...] = ()  # what its program must know before it is confined; nothing secret

    def gone(self) -> ControlMissing:
        """What to say when it is not there."""
        return ControlMissing(
            f"the {self.name} is not running",
            where="its process has ended, or does not answer",
            mend="see the system log for why it ended, and start the worker again",
        )


class Door:
    """A door in use, from the worker's side."""

    def __init__(self, run: str, door: str, gone: Callable[[], str | None]) -> None:
        self.run = run
        self.door = door
        self.code: str | None = None
        self.refused = ""
        self.answered = threading.Event()
        self.closed = threading.Event()
        self._gone = gone

    def denied(self) -> str | None:
        """The code of a final no, the news that nobody is there any more, or None."""
        return self.code or self._gone()

    def wake(self) -> None:
        """Nobody will answer any more."""
        self.answered.set()
        self.closed.set()


class DoorProcess(Generic[R]):
    """The process with its doors. A context manager: started on entering, gone on leaving.

    `first` makes the frame that it starts with. `user` is the uid that the process runs as when the worker
    is root; it must be nobody else's. After `patience` seconds of silence it is ended.
    """

    def __init__(self, point: Point[R], first: First, *, user: int | None, patience: float) -> None:
        self._point = point
        self._first = first
        self._user = user
        self._patience = patience
        self._doors: dict[int, Door] = {}
        self._asked: dict[int, Future[dict[str, Any]]] = {}
        self._numbers = 0
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._dead = threading.Event()
        self._failure: RingfenceError = point.gone()
        self._recorders = ThreadPoolExecutor(_RECORDERS, thread_name_prefix=f"{point.code}-record")
        self._running: Child | None = None

    @property
    def pid(self) -> int | None:
        """The process id, once it was started."""
        return self._running.pid if self._running is not None else None

    @property
    def _child(self) -> Child:
        if self._running is None:
            raise self._point.gone()
        return self._running

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        """Start it. Errors: `ControlMissing`, or what made the first frame impossible."""
        if os.geteuid() == 0 and not self._user:
            mend = "give it a user of its own, with a uid that nothing else has"
            raise ControlMissing(f"the {self._point.name} would run as root", mend=mend)
        first = self._first()
        self._running = Child(self._point.module, self._user, self._patience, self._point.words)
        name = self._point.code
        self._thread = threading.Thread(target=self._live, args=(self._running, first), name=name, daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_SECONDS) or self._dead.is_set():
            self._stop()
            raise self._failure

    def _stop(self) -> None:
        """End it, and leave nothing of it."""
        self._child.close()
        self._thread.join()
        self._recorders.shutdown()
        self._child.release()

    def alive(self) -> bool:
        """Whether the process is there and answers."""
        return self._ready.is_set() and not self._dead.is_set() and self._child.running

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Ask the process something; its answer. Errors: `ControlMissing`."""
        answer: Future[dict[str, Any]] = Future()
        with self._lock:
            self._numbers += 1
            number = self._numbers
            self._asked[number] = answer
        try:
            if not self.alive():
                raise self._point.gone()
            self._child.send({"kind": "ask", "id": number, "question": question})
            return answer.result(_OPEN_SECONDS)
        except (CancelledError, TimeoutError):
            raise self._point.gone() from None
        finally:
            with self._lock:
                del self._asked[number]

    @contextmanager
    def serving(self, listener: socket.socket, *, run: str, door: str, policy: dict[str, Any]) -> Iterator[Door]:
        """Serve a planted listener under a policy until the block ends. Errors: `ControlMissing`."""
        if not self.alive():
            raise self._point.gone()
        opened = Door(run, door, lambda: None if self.alive() else f"{self._point.code}_dead")
        with self._lock:
            self._numbers += 1
            number = self._numbers
            self._doors[number] = opened
        try:
            self._child.hand({"id": number, "policy": policy}, listener)
            if not opened.answered.wait(_OPEN_SECONDS) or not self.alive():
                raise self._point.gone()
            if opened.refused:
                raise ControlMissing(
                    f"the {self._point.name} cannot serve this door: {opened.refused}",
                    where=f"run {run}, door {door}",
                    mend=self._point.compare,
                )
            yield opened
        finally:
            if self.alive():
                self._child.send({"kind": "close", "id": number})
                opened.closed.wait(_CLOSE_SECONDS)
            with self._lock:
                del self._doors[number]

    def _live(self, child: Child, first: tuple[dict[str, Any], tuple[bytes, ...]]) -> None:
        """The life of the process, in the one thread that it lives and dies with."""
        try:
            child.start()
            child.send(*first)
            for frame in child.frames():
                self._heard(frame)
        except OSError as error:
            self._failure = ControlMissing(f"the {self._point.name} cannot be started: {error}")
        finally:
            self._dead.set()
            child.kill()
            self._ready.set()
            with self._lock:
                for door in self._doors.values():
                    door.wake()
                for asked in self._asked.values():
                    asked.cancel()

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
            case "answer":
                self._answered(header)
            case "opened" | "refused" if door is not None:
                door.refused = str(header.get("why", "")) if frame.kind == "refused" else ""
                door.answered.set()
            case "denied" if door is not None:
                door.code = door.code or str(header.get("code", "denied"))[:100]
            case "closed" if door is not None:
                door.closed.set()

    def _answered(self, header: dict[str, Any]) -> None:
        with self._lock:
            asked = self._asked.get(header["id"]) if isinstance(header.get("id"), int) else None
            if asked is not None and isinstance(header.get("answer"), dict) and not asked.done():
                asked.set_result(header["answer"])

    def _take(self, frame: Frame) -> None:
        """Have something recorded, and tell the process whether it was."""
        number = frame.header.get("id")
        door: Door | None = None
        try:
            call = self._point.read(frame)
            door = self._door_of(call)
            self._recorders.submit(self._record, number, door, call)
        except (ValueError, TypeError, KeyError, RuntimeError):
            self._acknowledge(number, door, None)

    def _record(self, number: object, door: Door, call: R) -> None:
        """In a thread of the recorders."""
        said: Answer | None = None
        try:
            said = self._point.record(call) or Answer()
        finally:  # also when it raised: what cannot be recorded is denied
            self._acknowledge(number, door, said)
        if said.after is not None:
            said.after()

    def _acknowledge(self, number: object, door: Door | None, said: Answer | None) -> None:
        """Tell the process; without an answer nothing is on record."""
        if said is None and door is not None:
            door.code = door.code or "not_recorded"  # known here before anybody is told
        said = said or Answer(ok=False)
        header = {"kind": "ack", "id": number, "ok": said.ok, "why": said.why, "final": said.final}
        self._child.send(header, (said.content,) if said.content else ())

    def _door_of(self, call: R) -> Door:
        """The open door that a record says it is of; without one, nothing is recorded."""
        with self._lock:
            for door in self._doors.values():
                if (door.run, door.door) == (call.run, call.door):
                    return door
        raise ValueError("a record of a door that is not open")
