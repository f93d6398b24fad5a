"""A real upstream for the gateway's tests: an HTTP server on loopback that behaves, or misbehaves, as told."""

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[socket.socket, Seen], bool]  # True: keep the connection


@dataclass
class Upstream:
    """`script` is played one behaviour a request; the last one goes on."""

    script: list[Behaviour]
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def next(self, seen: Seen) -> Behaviour:
        with self.lock:
            self.seen.append(seen)
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@contextmanager
def upstream(*script: Behaviour) -> Iterator[Upstream]:
    state = Upstream(list(script))

    class Connection(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with state.lock:
                state.connections += 1
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while (seen := _read(self.rfile)) is not None and state.next(seen)(self.connection, seen):
                    pass
            except ConnectionError:
                pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 256

    with Server(("127.0.0.1", 0), Connection) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def _read(file: object) -> Seen | None:
    line = file.readline().decode("latin-1").strip()  # type: ignore[attr-defined]
    if not line:
        return None
    headers = {}
    while text := file.readline().decode("latin-1").strip():  # type: ignore[attr-defined]
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    return Seen(line, headers, file.read(int(headers.get("content-length", 0))))  # type: ignore[attr-defined]


def chunk(**fields: object) -> bytes:
    return (
        b"data: "
        + json.dumps({"id": "c1", "object": "chat.completion.chunk", "model": "m", **fields}).encode()
        + b"\n\n"
    )


def delta(text: str) -> bytes:
    return chunk(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}])


FINISH = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
USAGE = chunk(choices=[], usage={"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18})
DONE = b"data: [DONE]\n\n"
STREAM = (delta("Hello"), delta(" world"), FINISH, USAGE, DONE)


def whole(text: str = "Hello world", *, prompt: int = 11, completion: int = 7) -> bytes:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json.dumps(
        {"id": "c1", "object": "chat.completion", "model": "m", "choices": choices, "usage": usage}
    ).encode()


def answer(body: bytes, *, status: int = 200, kind: str = "application/json", headers: str = "") -> Behaviour:
    """One answer with its length."""

    def behave(sock: socket.socket, seen: Seen) -> bool:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        sock.sendall(head.encode() + body)
        return True

    return behave


def stream(*pieces: bytes | float, end: str = "done", kind: str = "text/event-stream") -> Behaviour:
    """Pieces as chunks; a number is a pause. `end`: "done", "cut" (no last chunk), "stall", or "endless"."""

    def behave(sock: socket.socket, seen: Seen) -> bool:
        sock.sendall(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for piece in pieces:
            if isinstance(piece, float):
                time.sleep(piece)
            else:
                sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        while end == "endless":
            sock.sendall(b"%x\r\n%b\r\n" % (len(pieces[-1]), pieces[-1]))  # type: ignore[arg-type]
        if end == "stall":
            sock.settimeout(30)
            sock.recv(1)  # until the gateway gives up
        if end == "done":
            sock.sendall(b"0\r\n\r\n")
        return end == "done"

    return behave


def silent(sock: socket.socket, seen: Seen) -> bool:
    """No answer at all."""
    sock.settimeout(30)
    sock.recv(1)
    return False


def cut(sock: socket.socket, seen: Seen) -> bool:
    """Closed without a word."""
    return False


def either(sock: socket.socket, seen: Seen) -> bool:
    """A well-behaved upstream: a stream when a stream is asked for."""
    if json.loads(seen.body).get("stream"):
        return stream(*STREAM)(sock, seen)
    return answer(whole())(sock, seen)
