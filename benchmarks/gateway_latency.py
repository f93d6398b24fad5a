"""What the gateway adds to a request and to a token, against talking to the upstream directly.

The upstream is a process of its own on loopback; direct and through the gateway take turns, so that a busy
moment of the machine hits both. A token carries the moment it was sent, on the clock that all processes
share. Each request has another text, as the turns of an agent have.

With records in memory the worker acknowledges a call and does nothing else with it: that is the gateway's own share.
Recorded as the worker does it, each prompt is looked through for secrets, prompt and answer are redacted and stored,
and two records are appended to the audit log, all of it durable, in the directory for temporary files.

`python benchmarks/gateway_latency.py [--peer]`; with `--peer`, LiteLLM's proxy is measured in the same rounds.
"""

import asyncio
import http.client
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from secrets import token_hex

from gateway_peer import peer
from table import Row, show

from ringfence.adapters.artifacts.directory import DirectoryArtifacts
from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.broker.redacting import LearningRedactor
from ringfence.child.process import Answer
from ringfence.domain.boundary import Boundary
from ringfence.domain.parse import parse
from ringfence.gateway.call import Call, RouteConfig
from ringfence.gateway.process import GatewayProcess
from ringfence.points import call_recorder
from ringfence.ports.broker import Secret
from ringfence.ports.gateway import DoorPolicy

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "egress"))

from world import certificate

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 100
STREAMS = 20
TOKENS = 50
CLIENTS = 8  # connections that ask as fast as they are answered
RUSH = 600  # requests of them all
AT_ONCE = 50  # streams
PACE = 20  # milliseconds a token in each of them, as fast models write
THINKS = 20  # milliseconds until a provider answers that is not there at once; models take longer
DOORS = 4  # a door answers 16 at once
USER = 64923 if os.geteuid() == 0 else None
PROMPT = "def total(values):\n    return sum(values)\n" * 1000  # 40 KB, as agents send
POLICY = DoorPolicy("bench", "agent/1", "m", "main", 10**6, 10**12, 10**12, 30.0, 30.0)


def rows() -> Iterator[Row]:
    """What is measured, one row after the other."""
    with upstream() as port:
        with gateway(f"http://127.0.0.1:{port}/v1") as door:
            yield from requests(port, door.port, "gateway, records in memory")
            yield from streams(port, door.port, "gateway")
            yield from rush("gateway", door)
            yield from many(port, "gateway", door)
        with worker() as record, gateway(f"http://127.0.0.1:{port}/v1", record) as door:
            yield from requests(port, door.port, "recorded as the worker does it")
            yield from requests(port, door.port, f"the same, provider takes {THINKS} ms", thinks=THINKS)
            yield from rush("recorded as the worker does it", door)
        if "--peer" in sys.argv[1:]:
            with peer(port) as (there, pid):
                other = Measured((there,), pid)
                for _ in range(20):
                    one_request(there)
                yield from requests(port, there, "peer")
                yield from streams(port, there, "peer")
                yield from rush("peer", other)
                yield from many(port, "peer", other)
                CONNECTIONS.pop(there).close()
    yield from encrypted()


def encrypted() -> Iterator[Row]:
    """A provider with TLS, as those on the internet are: asked directly, directly on a new connection, and through."""
    with tempfile.TemporaryDirectory() as name:
        authority, chain = certificate(Path(name), ("localhost",))
        trusting = ssl.create_default_context(cafile=authority)
        with (
            upstream(str(chain)) as port,
            gateway(f"https://localhost:{port}/v1", authorities=authority.read_text()) as door,
        ):
            CONNECTIONS[port] = http.client.HTTPSConnection("localhost", port, timeout=30, context=trusting)
            yield from requests(port, door.port, "provider with TLS")
            new = []
            for _ in range(ROUNDS):
                CONNECTIONS[port].close()  # it connects again by itself
                new.append(one_request(port))
            yield Row("request of 40 KB, provider with TLS: direct, new connections", "ms", tuple(new))


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured: where it answers, and its process."""

    ports: tuple[int, ...]
    pid: int

    @property
    def port(self) -> int:
        """The first of them."""
        return self.ports[0]

    def cpu(self) -> float:
        """Seconds of processor time it has used so far, in all its threads."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def memory(self) -> float:
        """The most memory it has had resident, in MB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def requests(direct: int, door: int, how: str, *, thinks: int = 0) -> Iterator[Row]:
    """Whole answers on kept connections."""
    pairs = [(one_request(direct, thinks), one_request(door, thinks)) for _ in range(ROUNDS + 5)][5:]
    yield from compared(f"request of 40 KB, {how}", pairs)


def streams(direct: int, door: int, what: str) -> Iterator[Row]:
    """Tokens of streams: from being sent by the upstream to being read by the client."""
    pairs = [(one_stream(direct), one_stream(door)) for _ in range(STREAMS + 1)][1:]
    yield from compared(f"stream, {what}: first token", [(a[0], b[0]) for a, b in pairs])
    tokens = [pair for a, b in pairs for pair in zip(a[1:], b[1:], strict=False)]
    yield from compared(f"stream, {what}: one token", tokens)


def compared(what: str, pairs: list[tuple[float, float]]) -> Iterator[Row]:
    """Direct, by way of it, and what that adds, in milliseconds; and the ratio of the medians."""
    direct, through = (tuple(side) for side in zip(*pairs, strict=True))
    added = tuple(b - a for a, b in pairs)
    yield Row(f"{what}: direct", "ms", direct)
    yield Row(f"{what}: through", "ms", through)
    yield Row(f"{what}: added", "ms", added)
    yield Row(f"{what}: added, 99th percentile", "ms", (sorted(added)[len(added) * 99 // 100 - 1],))
    yield Row(f"{what}: ratio", "x", (statistics.median(through) / statistics.median(direct),))


def rush(what: str, there: Measured) -> Iterator[Row]:
    """Requests a second from several clients, and the processor time that each took, which load does not change."""

    def ask_on(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", there.port, timeout=120)
        for _ in range(RUSH // CLIENTS):
            connection.request("POST", "/v1/chat/completions", request_body(stream=False), JSON)
            connection.getresponse().read()
        connection.close()

    cpu, began = there.cpu(), time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask_on, range(CLIENTS)))
    took, used = time.perf_counter() - began, there.cpu() - cpu
    yield Row(f"{what}: requests of 40 KB, {CLIENTS} clients", "a second", (RUSH / took,))
    yield Row(f"{what}: processor time of a request", "ms", (used / RUSH * 1000,))
    yield Row(f"{what}: requests that one processor can do", "a second", (RUSH / used,))


def many(direct: int, what: str, there: Measured) -> Iterator[Row]:
    """Streams at once: how late their tokens come, and what the process needs for it."""
    yield Row(f"{AT_ONCE} streams at once, direct: one token", "ms", asyncio.run(stream_all((direct,))))
    cpu = there.cpu()
    tokens = asyncio.run(stream_all(there.ports))
    yield Row(f"{AT_ONCE} streams at once, {what}: one token", "ms", tokens)
    yield Row(f"{what}: processor time of a streamed token", "ms", ((there.cpu() - cpu) / len(tokens) * 1000,))
    yield Row(f"{what}: memory after {AT_ONCE} streams at once, most", "MB", (there.memory(),))


async def stream_all(ports: tuple[int, ...]) -> tuple[float, ...]:
    """How long each token of all streams took to get here, in milliseconds."""
    late = await asyncio.gather(*(stream_one(ports[number % len(ports)]) for number in range(AT_ONCE)))
    return tuple(one for tokens in late for one in tokens)


async def stream_one(port: int) -> list[float]:
    """One stream on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = request_body(stream=True, pace=PACE).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    late: list[float] = []
    while (line := await reader.readline()) and b"[DONE]" not in line:
        if line.startswith(b"data: {") and b"sent" in line:
            sent = float(json.loads(line[6:])["choices"][0]["delta"]["content"].removeprefix("sent "))
            late.append((time.perf_counter() - sent) * 1000)
    writer.close()
    return late


def one_request(port: int, thinks: int = 0) -> float:
    """Milliseconds of a whole exchange."""
    body = request_body(stream=False, pace=thinks)
    started = time.perf_counter()
    response = ask(port, body)
    response.read()
    return (time.perf_counter() - started) * 1000


def one_stream(port: int) -> list[float]:
    """Milliseconds to the first token, then those that each further token took to get here."""
    body = request_body(stream=True, pace=2)
    started = time.perf_counter()
    response = ask(port, body)
    took: list[float] = []
    while line := response.readline():
        now = time.perf_counter()
        if line.startswith(b"data: {") and b"sent" in line:
            sent = float(json.loads(line[6:])["choices"][0]["delta"]["content"].removeprefix("sent "))
            took.append((now - (sent if took else started)) * 1000)
    return took


def request_body(*, stream: bool, pace: int = 0) -> str:
    """What an agent asks; `pace` tells the upstream how many milliseconds to take for a token, or for an answer."""
    message = {"role": "user", "content": f"turn {next(TURNS)}\n{PROMPT}"}
    return json.dumps({"model": "m", "stream": stream, "seed": pace, "messages": [message]})


EVENT = {"id": "bench", "object": "chat.completion.chunk", "created": 1, "model": "m"}
JSON = {"content-type": "application/json"}
CONNECTIONS: dict[int, http.client.HTTPConnection] = {}
TURNS = count()


def ask(port: int, body: str) -> http.client.HTTPResponse:
    """Send a request on the connection that is kept for this port."""
    connection = CONNECTIONS.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=30))
    connection.request("POST", "/v1/chat/completions", body, JSON)
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection.getresponse()


Record = Callable[[Call], Answer | None]


@contextmanager
def gateway(endpoint: str, record: Record = lambda _call: None, *, authorities: str = "") -> Iterator[Measured]:
    """A gateway before the upstream, with doors of several runs."""
    key = Secret("sk-benchmark-0123456789")
    route = RouteConfig("main", "openai", endpoint, ("m",), key, authorities=authorities)
    with ExitStack() as stack:
        running = stack.enter_context(GatewayProcess((route,), record, user=USER))
        ports = []
        for number in range(DOORS):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=AT_ONCE))
            stack.enter_context(running.open(listener, replace(POLICY, run=f"bench-{number}")))
            ports.append(listener.getsockname()[1])
        assert running.pid is not None
        yield Measured(tuple(ports), running.pid)
        CONNECTIONS.pop(ports[0]).close()


@contextmanager
def worker() -> Iterator[Record]:
    """What the worker does with a call, with a boundary that keeps prompts and answers."""
    boundary = parse((ROOT / "examples" / "boundaries" / "team.yaml").read_text())
    assert isinstance(boundary, Boundary)
    assert boundary.logs.exchanges == "full"
    redactor = LearningRedactor([Secret(token_hex(20)) for _ in range(20)], ())
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "artifacts"
        artifacts = DirectoryArtifacts(store, redact=redactor.redact)
        for shard in range(256):  # a store that has been in use has them all
            (store / f"{shard:02x}").mkdir(mode=0o700)
        log = SqliteAuditLog(Path(name) / "log", clock=SystemClock(), redact=redactor.redact_text)
        yield call_recorder(boundary, log, artifacts, redactor)
        log.close()


@contextmanager
def upstream(chain: str = "") -> Iterator[int]:
    """This file as a process that plays a provider; its port. With a certificate and its key it speaks TLS."""
    told = [sys.executable, str(Path(__file__)), "upstream", *([chain] if chain else [])]
    with subprocess.Popen(told, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            for connection in CONNECTIONS.values():
                connection.close()
            process.kill()


def play_provider(chain: str) -> None:
    """Answer one connection after the other, each in a thread."""
    import socketserver

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if chain:
        context.load_cert_chain(chain)

    message = {"role": "assistant", "content": "Hello"}
    # All that the peer needs to read an answer, too.
    usage = {"prompt_tokens": 10_000, "completion_tokens": 2, "total_tokens": 10_002}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {
        "id": "bench", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage,
    }  # fmt: skip

    class Connection(socketserver.StreamRequestHandler):
        def setup(self) -> None:
            if chain:
                self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def handle(self) -> None:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self.rfile.readline().strip():
                length = 0
                while line := self.rfile.readline().strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                asked = json.loads(self.rfile.read(length) or b"{}")
                if asked.get("stream"):
                    self.stream(asked.get("seed", 2) / 1000)
                else:
                    time.sleep(asked.get("seed", 0) / 1000)
                    body = json.dumps(whole).encode()
                    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                    self.connection.sendall(head.encode() + body)

        def stream(self, pace: float) -> None:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            self.connection.sendall(head)
            for _ in range(TOKENS):
                self.event({"delta": {"content": f"sent {time.perf_counter():.9f}"}, "finish_reason": None})
                time.sleep(pace)
            self.event({"delta": {}, "finish_reason": "stop"})
            self.connection.sendall(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

        def event(self, choice: dict[str, object]) -> None:
            text = b"data: " + json.dumps({**EVENT, "choices": [{"index": 0, **choice}]}).encode() + b"\n\n"
            self.connection.sendall(b"%x\r\n%b\r\n" % (len(text), text))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 2 * AT_ONCE

    with Server(("127.0.0.1", 0), Connection) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:2] == ["upstream"]:
        play_provider("".join(sys.argv[2:]))
    else:
        show(rows())
