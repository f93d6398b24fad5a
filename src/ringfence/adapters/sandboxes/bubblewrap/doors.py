"""Doors: listening sockets planted on the loopback address of a sandbox's own, otherwise empty, network.

The worker keeps the sockets; inside there is nothing to forward and nothing to kill. Which run is speaking is
known from the listener. What is served behind a door is not known here.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ringfence.adapters.sandboxes.bubblewrap import door_program, syscalls
from ringfence.domain.errors import ControlMissing

_SECONDS = 10.0


def plant(pid: int, ports: Sequence[int]) -> dict[int, socket.socket]:
    """Listen inside the network of process `pid` on each port. Errors: `ControlMissing`."""
    if not ports:
        return {}
    try:
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            listeners = _from_thread(network, ports) if os.geteuid() == 0 else _from_child(network, ports)
        finally:
            os.close(network)
    except OSError as error:
        raise ControlMissing(
            f"a door cannot be planted: {error}",
            where=f"ports {', '.join(map(str, ports))} in the sandbox",
            mend="run `ringfence doctor`; the worker needs the right to enter its own sandboxes",
        ) from error
    return dict(zip(ports, listeners, strict=True))


def _from_thread(network: int, ports: Sequence[int]) -> list[socket.socket]:
    """Root may enter by a thread that ends right after: a thread has a network namespace of its own."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def work() -> None:
        try:
            syscalls.setns(network, syscalls.CLONE_NEWNET)
            made.extend(door_program.listen(port) for port in ports)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="doors")
    thread.start()
    thread.join()
    if failed:
        for listener in made:
            listener.close()
        raise failed[0]
    return made


def _from_child(network: int, ports: Sequence[int]) -> list[socket.socket]:
    """An ordinary user enters through the owning user namespace, which takes a process with one thread."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(_SECONDS)
        program = str(Path(door_program.__file__))
        words = [sys.executable, "-I", "-S", program, str(theirs.fileno()), str(network), *map(str, ports)]
        child = subprocess.Popen(words, env={}, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), network))
        theirs.close()
        try:
            message, descriptors, _, _ = socket.recv_fds(ours, 4096, len(ports))
        finally:
            child.kill()
            child.wait()
    if message != b"+":
        raise OSError(message.decode(errors="replace") or "the planting program ended without an answer")
    return [socket.socket(fileno=fd) for fd in descriptors]


class Doors(Mapping[int, socket.socket]):
    """Listeners by port. Who takes one by its port owns it; `close` closes those that nobody took."""

    def __init__(self) -> None:
        self._listeners: dict[int, socket.socket] = {}
        self._taken: set[int] = set()

    def open(self, listeners: Mapping[int, socket.socket]) -> None:
        """Take over planted listeners."""
        self._listeners.update(listeners)

    def __getitem__(self, port: int) -> socket.socket:
        listener = self._listeners[port]
        self._taken.add(port)
        return listener

    def __iter__(self) -> Iterator[int]:
        return iter(self._listeners)

    def __len__(self) -> int:
        return len(self._listeners)

    def close(self) -> None:
        """Close what was not taken."""
        for port, listener in self._listeners.items():
            if port not in self._taken:
                listener.close()
