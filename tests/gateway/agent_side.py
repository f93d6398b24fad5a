"""An agent's side of a door of a real gateway, and the worker's records of it."""

import http.client
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ringfence.gateway.call import Call, RouteConfig
from ringfence.gateway.process import GatewayProcess
from ringfence.ports.broker import Secret
from ringfence.ports.gateway import DoorPolicy, OpenDoor

KEY = "sk-test-4f9c2a7be1d04c3f"
USER = 64923 if os.geteuid() == 0 else None
POLICY = DoorPolicy(
    run="run-1",
    door="agent/1",
    model="m",
    route="main",
    requests=50,
    input_tokens=1_000_000,
    output_tokens=100_000,
    first_byte_timeout=5.0,
    idle_timeout=5.0,
)


@dataclass
class Records:
    """The worker's side of recording: keeps calls, or refuses them."""

    calls: list[Call] = field(default_factory=list)
    refuse: Callable[[Call], bool] = lambda call: False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, call: Call) -> None:
        with self.lock:
            self.calls.append(call)
        if self.refuse(call):
            raise OSError("no space left on device")

    def of(self, phase: str) -> list[Call]:
        return [call for call in self.calls if call.phase == phase]

    @property
    def only(self) -> Call:
        """The one outcome there is."""
        outcomes = [call for call in self.calls if call.phase != "opened"]
        assert len(outcomes) == 1, outcomes
        return outcomes[0]


@dataclass
class Answer:
    """What an agent got."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool = True

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


@dataclass
class Agent:
    """An agent's side of one open door."""

    port: int
    door: OpenDoor
    records: Records
    gateway: GatewayProcess

    def chat(self, *, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
        return self.post(json.dumps(body).encode(), headers=headers)

    def post(self, body: bytes, *, headers: dict[str, str] | None = None, path: str = "/v1/chat/completions") -> Answer:
        return self.request("POST", path, body, {"content-type": "application/json", **(headers or {})})

    def request(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            try:
                content, complete = response.read(), True
            except http.client.IncompleteRead as error:
                content, complete = error.partial, False
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content, complete)
        finally:
            connection.close()

    def raw(self, sent: bytes) -> bytes:
        """Bytes to the door, and what came back until it closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as sock:
            sock.sendall(sent)
            received = b""
            while piece := sock.recv(65536):
                received += piece
            return received


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        yield listener


def route(endpoint: str, **fields: Any) -> RouteConfig:
    return replace(RouteConfig("main", "openai", endpoint, ("m",), Secret(KEY)), **fields)


Start = Callable[..., Agent]
