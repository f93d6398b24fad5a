"""A network of our own in which forbidden addresses answer: metadata, private ranges, public names, IPv6.

A broken control is then seen to reach something, and nobody else's machine is ever aimed at: the thread that
proves leaves the host's network for good, so that even a sandbox without any control reaches only these beacons.
Needs root.
"""

import ctypes
import os
import selectors
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import ip_address
from typing import TypeVar

_NEWNET = 0x40000000
_SECONDS = 5.0
TOKEN = b"ringfence-beacon\n"
#: Metadata, private, shared and public (documentation) addresses.
ADDRESSES = ("169.254.169.254", "10.1.2.3", "172.17.0.1", "192.168.7.7", "100.64.0.1", "203.0.113.9",
             "fd00:ec2::254", "2001:db8::9")  # fmt: skip
METADATA, PRIVATE, PUBLIC = "169.254.169.254", "10.1.2.3", "203.0.113.9"
PORTS = (22, 53, 80, 443, 2375, 5432, 6379, 8080)
T = TypeVar("T")
Target = tuple[str, int, str]


class Beacons:
    """Listeners that answer everybody and remember who came."""

    def __init__(self, places: Iterable[tuple[str, int]]) -> None:
        self._lock = threading.Lock()
        self._came: list[Target] = []
        self._stack = ExitStack()
        self._selector = selectors.DefaultSelector()
        self._wake, self._stop = socket.socketpair()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self.targets: tuple[Target, ...] = ()
        for address, port in sorted(set(places)):
            for kind in ("tcp", "udp"):
                self._listen((address, port, kind))
        self._thread = threading.Thread(target=self._serve, name="beacons", daemon=True)
        self._thread.start()

    def _listen(self, target: Target) -> None:
        address, port, kind = target
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = self._stack.enter_context(
            socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        )
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        if kind == "tcp":
            made.listen(64)
        self._selector.register(made, selectors.EVENT_READ, target)
        self.targets += (target,)

    def _serve(self) -> None:
        kept: list[socket.socket] = []
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    for connection in kept:
                        connection.close()
                    return
                listener = key.fileobj
                assert isinstance(listener, socket.socket)
                with self._lock:
                    self._came.append(key.data)
                if key.data[2] == "udp":
                    listener.recvfrom(65536)
                    continue
                connection, _ = listener.accept()
                connection.sendall(TOKEN)
                kept.append(connection)  # closing with unread bytes would take the answer back

    def came(self) -> list[Target]:
        """Whom somebody reached since this was asked last."""
        with self._lock:
            came, self._came = self._came, []
        return came

    def answer(self) -> int:
        """From here, outside of any sandbox, every one of them answers: how many; raises OSError when one does not."""
        for address, port, kind in self.targets:
            if kind == "tcp":
                with socket.create_connection((address, port), _SECONDS) as connection:
                    if connection.recv(64) != TOKEN:
                        raise OSError(f"the beacon at {address} port {port} does not answer")
        self.came()
        return len(self.targets)

    def close(self) -> None:
        """End them."""
        self._stop.send(b".")
        self._thread.join()
        self._stack.close()
        self._selector.close()
        self._wake.close()
        self._stop.close()


def why_not() -> str:
    """Why no such network can be made here; empty when it can."""
    if os.geteuid() != 0:
        return "needs root: an ordinary user cannot make a network in which these addresses answer"
    if _ip() is None:
        return "needs the program ip (iproute2)"
    with ThreadPoolExecutor(1) as thread:
        fault = thread.submit(_unshare).result()
    return f"a network namespace cannot be made: {os.strerror(fault)}" if fault else ""


def elsewhere(work: Callable[[], T], addresses: Iterable[str]) -> T:
    """Do `work` in a thread whose network is a fresh one with these addresses; what it raises is raised here."""

    def inside() -> T:
        _leave(addresses)
        return work()

    with ThreadPoolExecutor(1, thread_name_prefix="prove") as thread:
        return thread.submit(inside).result()


def _ip() -> str | None:
    return shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")


def _unshare() -> int:
    """Leave the network for this thread; the error's number, or 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.unshare(_NEWNET) != 0 else 0


def _leave(addresses: Iterable[str]) -> None:
    fault = _unshare()
    if fault:
        raise OSError(fault, "a network namespace cannot be made")
    ip = _ip() or "ip"
    subprocess.run([ip, "link", "set", "lo", "up"], check=True, capture_output=True)
    for address in sorted(set(addresses)):
        found = ip_address(address)
        if found.is_loopback:
            continue
        words = [ip, "addr", "add", f"{address}/{found.max_prefixlen}", "dev", "lo"]
        subprocess.run([*words, *(["nodad"] if found.version == 6 else [])], check=True, capture_output=True)
