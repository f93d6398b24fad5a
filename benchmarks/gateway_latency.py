"""What the gateway adds to a request and to a token, against talking to the upstream directly.

The upstream is a process of its own on loopback; direct and through the gateway take turns, so that a busy
moment of the machine hits both. A token carries the moment it was sent, on the clock that all processes
share. `python benchmarks/gateway_latency.py`
"""

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from table import Row, show

from ringfence.gateway.call import Call, RouteConfig
from ringfence.gateway.process import GatewayProcess
from ringfence.ports.broker import Secret
from ringfence.ports.gateway import DoorPolicy

ROUNDS = 100
STREAMS = 20
TOKENS = 50
USER = 64923 if os.geteuid() == 0 else None
PROMPT = "def total(values):\n    return sum(values)\n" * 1000  # 40 KB, as agents send
POLICY = DoorPolicy("bench", "agent/1", "m", "main", 10**6, 10**12, 10**12, 30.0, 30.0)


def rows() -> Iterator[Row]:
    """What is measured, one row after the other."""
    with upstream() as port:
        for recording in ("memory", "fsync"):
            with gateway(port, recording) as door:
                yield from requests(port, door, f"records in {recording}")
                if recording == "memory":
                    yield from streams(port, door)


def requests(direct: int, door: int, how: str) -> Iterator[Row]:
    """Whole answers on kept connections."""
    pairs = [(one_request(direct), one_request(door)) for _ in range(ROUNDS + 5)][5:]
    yield from compared(f"request of 40 KB, {how}", pairs)


def streams(direct: int, door: int) -> Iterator[Row]:
    """Tokens of streams: from being sent by the upstream to being read by the client."""
    pairs = [(one_stream(direct), one_stream(door)) for _ in range(STREAMS + 1)][1:]
    yield from compared("stream: first token after the request", [(a[0], b[0]) for a, b in pairs])
    yield from compared("stream: one token", [pair for a, b in pairs for pair in zip(a[1:], b[1:], strict=True)])


def compared(what: str, pairs: list[tuple[float, float]]) -> Iterator[Row]:
    """Direct, through the gateway, and what that adds, in milliseconds; and the ratio of the medians."""
    direct, through = (tuple(side) for side in zip(*pairs, strict=True))
    yield Row(f"{what}: direct", "ms", direct)
    yield Row(f"{what}: gateway", "ms", through)
    yield Row(f"{what}: added", "ms", tuple(b - a for a, b in pairs))
    yield Row(f"{what}: ratio", "x", (statistics.median(through) / statistics.median(direct),))


def one_request(port: int) -> float:
    """Milliseconds of a whole exchange."""
    started = time.perf_counter()
    response = ask(port, stream=False)
    response.read()
    return (time.perf_counter() - started) * 1000


def one_stream(port: int) -> list[float]:
    """Milliseconds to the first token, then those that each further token took to get here."""
    started = time.perf_counter()
    response = ask(port, stream=True)
    took: list[float] = []
    while line := response.readline():
        now = time.perf_counter()
        if line.startswith(b"data: {") and b"sent" in line:
            sent = float(json.loads(line[6:])["choices"][0]["delta"]["content"].removeprefix("sent "))
            took.append((now - (sent if took else started)) * 1000)
    return took


CONNECTIONS: dict[int, http.client.HTTPConnection] = {}


def ask(port: int, *, stream: bool) -> http.client.HTTPResponse:
    """Send a request on the connection that is kept for this port."""
    connection = CONNECTIONS.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=30))
    body = json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": PROMPT}]})
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection.getresponse()


@contextmanager
def gateway(port: int, recording: str) -> Iterator[int]:
    """A gateway before the upstream; the port of its door."""
    route = RouteConfig("main", "openai", f"http://127.0.0.1:{port}/v1", ("m",), Secret("sk-benchmark-0123456789"))
    with tempfile.TemporaryFile() as file, socket.create_server(("127.0.0.1", 0)) as listener:

        def record(call: Call) -> None:
            if recording == "fsync":
                file.write(call.response)
                file.flush()
                os.fdatasync(file.fileno())

        with GatewayProcess((route,), record, user=USER) as running, running.open(listener, POLICY):
            door = listener.getsockname()[1]
            yield door
            CONNECTIONS.pop(door).close()


@contextmanager
def upstream() -> Iterator[int]:
    """This file as a process that plays a provider; its port."""
    with subprocess.Popen([sys.executable, str(Path(__file__)), "upstream"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            for connection in CONNECTIONS.values():
                connection.close()
            process.kill()


def play_provider() -> None:
    """Answer one connection after the other, each in a thread."""
    import socketserver

    message = {"role": "assistant", "content": "Hello"}
    whole = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {}}

    class Connection(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self.rfile.readline().strip():
                length = 0
                while line := self.rfile.readline().strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                if b'"stream":true' in self.rfile.read(length).replace(b" ", b""):
                    self.stream()
                else:
                    body = json.dumps(whole).encode()
                    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                    self.connection.sendall(head.encode() + body)

        def stream(self) -> None:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            self.connection.sendall(head)
            for _ in range(TOKENS):
                self.event({"delta": {"content": f"sent {time.perf_counter():.9f}"}, "finish_reason": None})
                time.sleep(0.002)
            self.event({"delta": {}, "finish_reason": "stop"})
            self.connection.sendall(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

        def event(self, choice: dict[str, object]) -> None:
            text = b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n"
            self.connection.sendall(b"%x\r\n%b\r\n" % (len(text), text))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Connection) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:] == ["upstream"]:
        play_provider()
    else:
        show(rows())
