"""The gateway's process from inside: its routes, and the door that each run's policy makes of one of them.

It holds the model credentials and nothing else: no file, no log, no boundary. What it may forward it is
told with each door; what it forwarded it reports, and waits.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ringfence.child.agent_socket import AgentSocket
from ringfence.child.serving import Behind, Control, MakeDoor, serve
from ringfence.child.wire import Frame
from ringfence.gateway.answer import Scrubber
from ringfence.gateway.call import Call, to_frame
from ringfence.gateway.connection import AgentConnection
from ringfence.gateway.door import Door
from ringfence.gateway.ledger import Ledger
from ringfence.ports.gateway import DoorPolicy
from ringfence.ports.model_provider import ModelProvider

#: Makes the provider of a route from its configuration frame and its blob (a replay's script).
MakeProvider = Callable[[dict[str, Any], bytes], ModelProvider]

_EXCHANGES = 16  # of one door at once; the others' bodies are not even read


@dataclass(frozen=True, slots=True)
class Route:
    """A provider with what must never come back out of it."""

    provider: ModelProvider
    models: tuple[str, ...]
    protocols: tuple[str, ...]
    scrub: Scrubber


@dataclass(frozen=True, slots=True)
class Reporting:
    """Has calls recorded by the worker."""

    control: Control

    async def record(self, call: Call) -> bool:
        """Whether the worker has it."""
        header, request, response = to_frame(call)
        return await self.control.record(header, (request, response))


@dataclass(frozen=True, slots=True)
class Routes:
    """Every route of the process, and the doors to them."""

    control: Control
    routes: dict[str, Route]

    def door(self, number: int, policy_fields: dict[str, Any]) -> Behind | str:
        """What is behind a door; the reason when the route does not offer the model."""
        policy = DoorPolicy(**policy_fields)
        route = self.routes.get(policy.route)
        if route is None or policy.model not in route.models:
            return f"route {policy.route!r} does not offer {policy.model!r}"
        door = Door(
            policy=policy,
            provider=route.provider.kind,
            replayed=route.provider.replayed,
            scrub=route.scrub,
            protocols=route.protocols,
            ledger=Ledger(policy.requests, policy.input_tokens, policy.output_tokens),
            told=lambda code: self.control.tell("denied", id=number, code=code),
        )
        turn, recorder = asyncio.Semaphore(_EXCHANGES), Reporting(self.control)

        def connection(agent: AgentSocket) -> AgentConnection:
            return AgentConnection(door, route.provider, recorder, agent, turn)

        return Behind(connection, lambda: door.exhausted)


async def serve_routes(control: socket.socket, doors: socket.socket, make_provider: MakeProvider) -> None:
    """Read the routes, then serve doors until the worker closes the control channel or is gone."""

    def begin(frame: Frame, channel: Control) -> MakeDoor:
        return Routes(channel, _routes(frame, make_provider)).door

    await serve(control, doors, begin)


def _routes(frame: Frame, make_provider: MakeProvider) -> dict[str, Route]:
    routes = {}
    for config, blob in zip(frame.header["routes"], frame.blobs, strict=True):
        provider = make_provider(config, blob)
        routes[config["name"]] = Route(
            provider, tuple(config["models"]), tuple(config["protocols"]), Scrubber(config["credential"])
        )
    return routes
