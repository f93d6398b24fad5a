"""A process of its own from the worker's side: started without anything, watched, and ended with its thread.

It gets what it needs once over a socket pair, its listeners as descriptors, and nothing by arguments or
environment. It is ended when it does not answer, and dies with the thread that started it.
"""

import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ringfence.child.wire import Frame, Frames, encode

#: Without `site`, so that no .pth file of an installed package runs in a process that may hold keys.
_BOOT = (
    "import sys, importlib; sys.path += sys.argv[1:3]; "
    "sys.exit(importlib.import_module(sys.argv[3]).main(sys.argv[4:]))"
)
_PIECE = 1 << 16  # read at once; for more than 128 KB the C library maps and gives back memory each time
_PINGS = 10
_SEND_SECONDS = 10


class Child:
    """The process and the two sockets to it; says when it is gone, and ends it when it does not answer.

    `module` is what is started: its `main` gets the descriptors of both sockets, a user id or `-`, and `words`.
    """

    def __init__(self, module: str, user: int | None, patience: float, words: tuple[str, ...] = ()) -> None:
        self._module = module
        self._words = words
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
        told = (self._module, *map(str, there), user, *self._words)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, *_import_paths(), *told],
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
                received = self._control.recv(_PIECE)
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


def _import_paths() -> tuple[str, str]:
    """Where this package and h11 are: all that the process may import beside the standard library."""
    h11 = find_spec("h11")
    if h11 is None or h11.origin is None:
        raise FileNotFoundError("h11 is not installed")
    return str(Path(__file__).parents[2]), str(Path(h11.origin).parents[1])
