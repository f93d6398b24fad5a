"""The gateway's process from inside: its routes, and the door that each run's policy makes of one of them.

It holds the model credentials and nothing else: no file, no log, no boundary. What it may forward it is
told with each door; what it forwarded it reports, and waits.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ringfence.child.agent_socket import AgentSocket
from ringfence.child.serving import Behind, Control, MakeDoor, serve
from ringfence.child.wire import Frame
from ringfence.domain.wires import asked_in
from ringfence.gateway.answer import Scrubber
from ringfence.gateway.call import Call, to_frame
from ringfence.gateway.connection import AgentConnection, Upstream
from ringfence.gateway.conversation import Acknowledged
from ringfence.gateway.door import Door, Route
from ringfence.gateway.ledger import Days, Ledger
from ringfence.gateway.pace import Pace
from ringfence.gateway.protocols.translate.wire import TRANSLATIONS
from ringfence.ports.gateway import DoorPolicy, policy_of
from ringfence.ports.model_provider import ModelProvider

#: Makes the provider of a route from its configuration frame and its blob (a replay's script).
MakeProvider = Callable[[dict[str, Any], bytes], ModelProvider]

_EXCHANGES = 16  # of one door at once; the others' bodies are not even read


@dataclass(frozen=True, slots=True)
class Reporting:
    """Has calls recorded by the worker."""

    control: Control

    async def record(self, call: Call) -> Acknowledged:
        """What the worker says to it."""
        header, request, response = to_frame(call)
        said = await self.control.question(header, (request, response))
        return Acknowledged(
            said.header.get("ok") is True,
            str(said.header.get("why", "")),
            said.header.get("final") is True,
            b"".join(said.blobs),
        )


@dataclass(frozen=True, slots=True)
class Routes:
    """Every route of the process, the budgets of the day, and the doors to them."""

    control: Control
    routes: dict[str, Route]
    days: Days

    def door(self, number: int, policy_fields: dict[str, Any]) -> Behind | str:
        """What is behind a door; the reason when a route does not offer a model."""
        policy = policy_of(policy_fields)
        ways = [(policy.route, policy.model), *((way.route, way.model) for way in policy.fallback)]
        for name, model in ways:
            offered = self.routes.get(name)
            if offered is None or model not in offered.models:
                return f"route {name!r} does not offer {model!r}"
        door = self._door(policy, lambda code: self.control.tell("denied", id=number, code=code))
        providers = {name: self.routes[name].provider for name, _ in ways}
        turn, recorder = asyncio.Semaphore(_EXCHANGES), Reporting(self.control)

        def connection(agent: AgentSocket) -> AgentConnection:
            return AgentConnection(door, Upstream(providers, agent.left), recorder, agent, turn)

        return Behind(connection, lambda: door.exhausted)

    def _door(self, policy: DoorPolicy, told: Callable[[str], None]) -> Door:
        """The door by its own route, with those that may be asked when it fails."""
        now = asyncio.get_running_loop().time
        for day in policy.days:
            self.days.join(day)
        ledger = Ledger(
            policy.requests,
            policy.input_tokens,
            policy.output_tokens,
            money=policy.money,
            shared=lambda: [self.days.account(day) for day in policy.days],
        )
        route = self.routes[policy.route]
        door = Door(
            policy=policy,
            provider=route.provider.kind,
            replayed=route.provider.replayed,
            scrub=route.scrub,
            ledger=ledger,
            told=told,
            protocols=route.protocols,
            translations=route.translations,
            circuit=route.circuit,
            pace=Pace(policy.requests_per_second, now),
            deadline=None if policy.seconds is None else now() + policy.seconds,
        )
        others = ((way, self.routes[way.route]) for way in policy.fallback)
        door.fallbacks = tuple(door.by(way, to) for way, to in others)
        return door


async def serve_routes(
    control: socket.socket, doors: socket.socket, make_provider: MakeProvider, clock: Callable[[], float]
) -> None:
    """Read the routes, then serve doors until the worker closes the control channel or is gone."""

    def today() -> str:
        return datetime.fromtimestamp(clock(), UTC).date().isoformat()

    def begin(frame: Frame, channel: Control) -> MakeDoor:
        return Routes(channel, _routes(frame, make_provider), Days(today)).door

    await serve(control, doors, begin)


def _routes(frame: Frame, make_provider: MakeProvider) -> dict[str, Route]:
    routes = {}
    for config, blob in zip(frame.header["routes"], frame.blobs, strict=True):
        provider = make_provider(config, blob)
        scrub = Scrubber(config["credential"], _derived(provider))
        protocols = tuple(config["protocols"])
        translations = {wire: TRANSLATIONS[wire, asked_in(wire, protocols) or ""] for wire in config["translate"]}
        routes[config["name"]] = Route(provider, tuple(config["models"]), protocols, scrub, translations)
    return routes


def _derived(provider: ModelProvider) -> Callable[[], tuple[str, ...]]:
    return lambda: provider.derived
