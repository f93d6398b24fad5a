"""What the egress proxy costs: first byte, requests, downloads, memory; each against the same without it, in turns.

Server, proxy and client are processes of their own, on loopback; the server speaks TLS, as registries do. A request is
a whole new connection: TCP, CONNECT, TLS, GET of 1 KB, close. Inspected, its TLS ends in the proxy, which opens
another one to the server, reads the request and judges it. `--size` is that of the download in MB.

`python benchmarks/egress.py [--rounds N] [--size MB] [--seconds S]`
"""

import argparse
import multiprocessing
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from table import Row, show

from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.domain.hosts import HostRule
from ringfence.egress.process import EgressProcess, Inspecting
from ringfence.points import attempt_recorder
from ringfence.ports.egress import EgressPolicy

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "egress"))

from world import certificate

HOST = "packages.example.internal"
USER = 64924 if os.geteuid() == 0 else None
LOOPBACK = ("127.0.0.1/32",)
DOORS = 100
AT_ONCE = 4
PIECE = b"\0" * (1 << 20)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the server: its name in the tables, where to connect, and whether to ask for a tunnel."""

    name: str
    port: int
    authority: str
    goal: int  # the server's port, for CONNECT; 0 for no proxy

    def connect(self, *, tls: bool = True) -> socket.socket:
        """A connection that is ready for a request."""
        sock = socket.create_connection(("127.0.0.1", self.port), 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.goal:
            sock.sendall(f"CONNECT {HOST}:{self.goal} HTTP/1.1\r\nHost: {HOST}:{self.goal}\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                piece = sock.recv(4096)
                if not piece:
                    raise SystemExit(f"error: the proxy closed a tunnel: {head!r}")
                head += piece
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"error: the proxy refused: {head!r}")
        if not tls:
            return sock
        return _context(self.authority).wrap_socket(sock, server_hostname=HOST)

    def request(self) -> float:
        """Milliseconds of a whole request on a connection of its own."""
        began = time.perf_counter()
        with self.connect() as sock:
            self.ask(sock, 1024)
        return (time.perf_counter() - began) * 1e3

    def ask(self, sock: socket.socket, size: int) -> float:
        """Get `size` bytes; when the first one came, on the clock of `perf_counter`."""
        named = f"{HOST}:{self.goal}" if self.goal else HOST
        sock.sendall(f"GET /{size} HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n\r\n".encode())
        room, left, first = bytearray(1 << 20), size, 0.0
        head = b""
        while b"\r\n\r\n" not in head:
            piece = sock.recv(65536)
            if not piece:
                raise SystemExit(f"error: no answer but {head!r}")
            head += piece
            first = first or time.perf_counter()
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"error: the answer is {head!r}")
        left -= len(head.partition(b"\r\n\r\n")[2])
        while left > 0:
            got = sock.recv_into(room)
            if not got:
                raise SystemExit(f"error: the download ended {left} bytes early")
            left -= got
        return first


_CONTEXTS: dict[str, ssl.SSLContext] = {}


def _context(authority: str) -> ssl.SSLContext:
    if authority not in _CONTEXTS:
        _CONTEXTS[authority] = ssl.create_default_context(cafile=authority)
    return _CONTEXTS[authority]


def rate(way: Way, count: int) -> float:
    """Requests in a second, `AT_ONCE` at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        began = time.perf_counter()
        list(pool.map(lambda _: way.request(), range(count)))
        return count / (time.perf_counter() - began)


def speed(way: Way, size: int, tls: bool) -> float:
    """MB in a second of one large answer."""
    with way.connect(tls=tls) as sock:
        began = time.perf_counter()
        way.ask(sock, size)
        return size / 1e6 / (time.perf_counter() - began)


def rows(rounds: int, size: int, seconds: float) -> Iterator[Row]:
    """What is measured, one row after the other."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tls, plain, authority = stack.enter_context(upstream(folder))
        client = stack.enter_context(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
        direct = Way("direct", tls, authority, 0)
        with proxy(folder / "log") as running:
            yield from first_bytes(running, direct, tls, rounds)
        for kept in (None, folder / "log-of-requests"):
            with proxy(kept, authority) as running, ways(running, tls, authority) as through:
                label = "records on disk" if kept else "records in memory"
                yield from requests(client, direct, through, label, rounds)
                yield from rates(client, direct, through, label, running, max(5, rounds // 4))
        with proxy(None, authority) as running, ways(running, tls, authority) as through:
            yield from downloads(client, direct, through, size << 20, seconds)
            bare = Way("direct", plain, authority, 0)
            with door(running, service=rule(plain)) as port:
                passed = (Way("service door, no TLS", port, authority, 0),)
                yield from downloads(client, bare, passed, size << 20, seconds, tls=False)
        yield from memory(tls, authority)


def first_bytes(running: EgressProcess, direct: Way, goal: int, rounds: int) -> Iterator[Row]:
    """From opening a door to the first byte of an answer through it, records on disk; and the same without a door."""

    def once(tunnel: bool) -> float:
        began = time.perf_counter()
        with ExitStack() as stack:
            way = (
                replace(direct, port=stack.enter_context(door(running, allowed=rule(goal))), goal=goal)
                if tunnel
                else direct
            )
            sock = stack.enter_context(way.connect())
            return (way.ask(sock, 1024) - began) * 1e3

    yield from compared("first byte", "ms", [(once(False), once(True)) for _ in range(rounds + 3)][3:], "opened door")


def requests(
    client: ProcessPoolExecutor, direct: Way, through: tuple[Way, ...], label: str, rounds: int
) -> Iterator[Row]:
    """One request after the other."""
    ways = (direct, *through)
    taken = [tuple(client.submit(way.request).result() for way in ways) for _ in range(rounds + 3)][3:]
    for number, way in enumerate(through, 1):
        yield from compared(f"request, {label}", "ms", [(row[0], row[number]) for row in taken], way.name)


def rates(
    client: ProcessPoolExecutor, direct: Way, through: tuple[Way, ...], label: str, running: EgressProcess, rounds: int
) -> Iterator[Row]:
    """Requests in a second, several at once; and what each costs the proxy's process."""
    count = 25 * AT_ONCE
    taken: list[list[float]] = []
    costs: dict[str, list[float]] = {way.name: [] for way in through}
    for _ in range(rounds):
        row = [client.submit(rate, direct, count).result()]
        for way in through:
            before = _cpu(running)
            row.append(client.submit(rate, way, count).result())
            costs[way.name].append((_cpu(running) - before) * 1e3 / count)
        taken.append(row)
    for number, way in enumerate(through, 1):
        pairs = [(row[0], row[number]) for row in taken]
        yield from compared(f"{AT_ONCE} at once, {label}", "requests/s", pairs, way.name)
        yield Row(f"{AT_ONCE} at once, {label}: {way.name}, CPU of the proxy", "ms/request", tuple(costs[way.name]))


def downloads(
    client: ProcessPoolExecutor, direct: Way, through: tuple[Way, ...], size: int, seconds: float, *, tls: bool = True
) -> Iterator[Row]:
    """One large answer; as many rounds as begin in the time, at least three."""
    taken: list[tuple[float, ...]] = []
    ends = time.monotonic() + seconds
    while len(taken) < 3 or (time.monotonic() < ends and len(taken) < 20):
        taken.append(tuple(client.submit(speed, way, size, tls).result() for way in (direct, *through)))
    for number, way in enumerate(through, 1):
        pairs = [(row[0], row[number]) for row in taken]
        yield from compared(f"download of {size >> 20} MB", "MB/s", pairs, way.name)


def memory(goal: int, authority: str) -> Iterator[Row]:
    """The proxy's own memory (PSS) with nothing, with doors, and with a tunnel through each."""
    with proxy(None) as running, ExitStack() as stack:
        yield Row("memory: no door", "MB", (_pss(running),))
        ports = [stack.enter_context(door(running, allowed=rule(goal))) for _ in range(DOORS)]
        yield Row(f"memory: {DOORS} doors", "MB", (_pss(running),))
        for port in ports:
            sock = stack.enter_context(Way("tunnel", port, authority, goal).connect())
            sock.settimeout(60)
        yield Row(f"memory: {DOORS} doors, a tunnel through each", "MB", (_pss(running),))


def compared(what: str, unit: str, pairs: list[tuple[float, float]], name: str) -> Iterator[Row]:
    """Direct and through the proxy, and their ratio, by the medians and at their best."""
    direct, through = (tuple(side) for side in zip(*pairs, strict=True))
    best: Callable[[tuple[float, ...]], float] = min if unit == "ms" else max
    yield Row(f"{what}: direct", unit, direct)
    yield Row(f"{what}: {name}", unit, through)
    if unit == "ms":
        yield Row(f"{what}: {name}, added", unit, tuple(b - a for a, b in pairs))
    yield Row(f"{what}: {name} / direct, round by round", "x", tuple(b / a for a, b in pairs))
    middle = statistics.median(through) / statistics.median(direct)
    yield Row(f"{what}: {name} / direct, of the medians", "x", (middle,))
    yield Row(f"{what}: {name} / direct, of the best", "x", (best(through) / best(direct),))


def rule(port: int, *, inspect: bool = False) -> HostRule:
    """The one rule of the proxy: the server. Inspected, with the methods and paths that such a rule has."""
    plain = HostRule("network.setup.bench", HOST, port, LOOPBACK)
    return replace(plain, inspect=True, methods=("GET",), paths=("/*",)) if inspect else plain


@contextmanager
def ways(running: EgressProcess, goal: int, authority: str) -> Iterator[tuple[Way, ...]]:
    """Every way through the proxy that a rule can ask for."""
    own = running.authority(3600.0)  # of the inspected door's sandbox alone
    with (
        tempfile.NamedTemporaryFile("w", suffix=".pem") as trusted,
        door(running, allowed=rule(goal)) as tunnel,
        door(running, allowed=rule(goal, inspect=True), authority=own) as inspected,
    ):
        trusted.write(own)
        trusted.flush()
        yield (Way("CONNECT", tunnel, authority, goal), Way("inspected", inspected, trusted.name, goal))


@contextmanager
def proxy(log: Path | None, authority: str = "") -> Iterator[EgressProcess]:
    """A proxy whose records are dropped, or durable in an audit log; with an authority to trust it can open TLS."""
    with ExitStack() as stack:
        record: Callable[..., None] = lambda _attempt: None  # noqa: E731
        if log is not None:
            kept = SqliteAuditLog(log, clock=SystemClock(), redact=lambda text: text)
            stack.callback(kept.close)
            record = attempt_recorder(kept)
        opening = Inspecting(Path(authority).read_text(), SystemClock().now) if authority else None
        yield stack.enter_context(EgressProcess(record, names={HOST: ("127.0.0.1",)}, inspecting=opening, user=USER))


@contextmanager
def door(
    running: EgressProcess, *, allowed: HostRule | None = None, service: HostRule | None = None, authority: str = ""
) -> Iterator[int]:
    """An open door on loopback, as one planted in a sandbox is; its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        port = listener.getsockname()[1]
        policy = EgressPolicy(
            run="bench", door=f"setup@{port}", role="setup", phase="setup", command="bench",
            rules=tuple(one for one in (allowed, service) if one), requests=10**9, sent=1 << 50,
            received=1 << 50, longest=3600.0, idle_timeout=300.0, service=service, authority=authority,
        )  # fmt: skip
        with running.open(listener, policy):
            yield port


@contextmanager
def upstream(folder: Path) -> Iterator[tuple[int, int, str]]:
    """This file as a process that serves; its ports with TLS and without, and its authority."""
    authority, chain = certificate(folder, (HOST,))
    argv = [sys.executable, str(Path(__file__)), "upstream", str(chain)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            tls, plain = map(int, process.stdout.readline().split())
            yield tls, plain, str(authority)
        finally:
            process.kill()


def play_server(chain: str) -> None:
    """Answer `GET /SIZE` with so many bytes, each connection in a thread."""
    import socketserver
    import threading

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    class Connection(socketserver.BaseRequestHandler):
        tls = False

        def handle(self) -> None:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                side = context.wrap_socket(self.request, server_side=True) if self.tls else self.request
                asked = b""
                while b"\r\n\r\n" not in asked:
                    piece = side.recv(4096)
                    if not piece:
                        return
                    asked += piece
                size = int(asked.split()[1][1:])
                side.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n".encode())
                while size > 0:
                    side.sendall(PIECE[: min(size, len(PIECE))])
                    size -= len(PIECE)
                side.shutdown(socket.SHUT_WR)
                side.recv(4096)
            except OSError:
                return

    class Secure(Connection):
        tls = True

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 256

    servers = [Server(("127.0.0.1", 0), one) for one in (Secure, Connection)]
    for one in servers:
        threading.Thread(target=one.serve_forever).start()
    print(*(one.server_address[1] for one in servers), flush=True)


def _cpu(running: EgressProcess) -> float:
    """Seconds of processor time that the proxy has used."""
    ticks = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _pss(running: EgressProcess) -> float:
    text = Path(f"/proc/{running.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="requests of each kind; default 40")
    parser.add_argument("--size", type=int, default=200, help="MB of the download; default 200")
    parser.add_argument("--seconds", type=float, default=30.0, help="for downloads of a kind; default 30")
    asked = parser.parse_args()
    show(rows(asked.rounds, asked.size, asked.seconds))


if __name__ == "__main__":
    if sys.argv[1:2] == ["upstream"]:
        play_server(sys.argv[2])
    else:
        main()
