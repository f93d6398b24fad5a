"""A Chat Completions server on loopback that plays a list of answers, faults included."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Step = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request; the server's next step answers it."""

    protocol_version = "HTTP/1.1"
    server: "ScriptedModel"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked: dict[str, Any] = body
        with self.server.lock:
            self.server.requests.append(body)
            self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
            number = len(self.server.requests) - 1
        self.server.steps[min(number, len(self.server.steps) - 1)](self)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""

    def refuse(self, status: int, text: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def chunk(self, delta: dict[str, Any], finish: str | None = None) -> None:
        value = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        self.raw(f"data: {json.dumps(value)}\n\n".encode())

    def raw(self, content: bytes) -> None:
        self.wfile.write(content)
        self.wfile.flush()


class ScriptedModel(ThreadingHTTPServer):
    """The server; the last step is repeated for ever."""

    daemon_threads = True

    def __init__(self, steps: list[Step]) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.steps = steps
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()

    @property
    def door(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """A client that went away is part of some tests."""


@contextmanager
def scripted(*steps: Step) -> Iterator[ScriptedModel]:
    server = ScriptedModel(list(steps))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def calls(*wanted: tuple[str, str]) -> Step:
    """An answer with tool calls (name, raw arguments), its arguments split over the stream."""

    def step(exchange: Exchange) -> None:
        exchange.begin()
        for index, (name, arguments) in enumerate(wanted):
            call = {"index": index, "id": f"call_{index}", "type": "function"}
            exchange.chunk({"tool_calls": [{**call, "function": {"name": name, "arguments": ""}}]})
            for start in range(0, len(arguments), max(1, len(arguments) // 3)):
                piece = arguments[start : start + max(1, len(arguments) // 3)]
                exchange.chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        exchange.chunk({}, "tool_calls")
        exchange.raw(b"data: [DONE]\n\n")

    return step


def shell(command: str, **more: Any) -> Step:
    return calls(("shell", json.dumps({"command": command, **more})))


def finish(summary: str = "done") -> Step:
    return calls(("finish", json.dumps({"summary": summary})))


def says(text: str) -> Step:
    def step(exchange: Exchange) -> None:
        exchange.begin()
        exchange.chunk({"role": "assistant", "content": text})
        exchange.chunk({}, "stop")
        exchange.raw(b"data: [DONE]\n\n")

    return step


def refuses(status: int, text: str = '{"error":{"message":"no"}}', **headers: str) -> Step:
    return lambda exchange: exchange.refuse(status, text, **headers)


def streams(*pieces: bytes) -> Step:
    """Raw bytes as an event stream, then the end of the connection."""

    def step(exchange: Exchange) -> None:
        exchange.begin()
        for piece in pieces:
            exchange.raw(piece)

    return step
