"""The egress proxy as the worker sees it: a process of its own, and the doors to it."""

import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict

from ringfence.child.process import DoorProcess, Point
from ringfence.child.wire import Frame
from ringfence.egress.attempt import Attempt, from_frame
from ringfence.ports.egress import EgressPolicy, OpenDoor


class EgressProcess:
    """Implements ports/egress.py. A context manager: started on entering, gone on leaving.

    `record` is called, from several threads, with each attempt of each door; when it raises, what was asked
    for is denied. `user` is the uid that the process runs as when the worker is root; it must be nobody else's.
    `names` pins addresses of hosts; all others are looked up as the worker's host does.
    """

    def __init__(
        self,
        record: Callable[[Attempt], None],
        *,
        names: Mapping[str, tuple[str, ...]] | None = None,
        user: int | None = None,
        patience: float = 10.0,
    ) -> None:
        point = Point(
            name="egress proxy",
            code="egress",
            module="ringfence.egress.main",
            compare="start the worker again; this should not happen",
            read=_attempt,
            record=record,
        )
        first = {"kind": "begin", "names": {name: list(found) for name, found in (names or {}).items()}}
        self._process = DoorProcess(point, lambda: (first, ()), user=user, patience=patience)

    @property
    def pid(self) -> int | None:
        """The process id, once it was started."""
        return self._process.pid

    def __enter__(self) -> "EgressProcess":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    def alive(self) -> bool:
        """Whether the process is there and answers."""
        return self._process.alive()

    def open(self, listener: socket.socket, policy: EgressPolicy) -> AbstractContextManager[OpenDoor]:
        """Serve a planted listener under a policy until the block ends. Errors: `ControlMissing`."""
        return self._process.open(listener, run=policy.run, door=policy.door, policy=asdict(policy))


def _attempt(frame: Frame) -> Attempt:
    return from_frame(frame.header["call"])
