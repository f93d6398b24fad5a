"""The egress proxy's process from inside: the door that each command's policy makes.

It holds no secret, no file, no log and no boundary. What it may reach it is told with each door; what was
tried it reports, and waits.
"""

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from ringfence.child.agent_socket import AgentSocket
from ringfence.child.serving import Behind, Control, MakeDoor, serve
from ringfence.child.wire import Frame
from ringfence.domain.hosts import HostRule
from ringfence.egress.attempt import Attempt, to_frame
from ringfence.egress.connection import LOOKUPS_OF_A_DOOR, Names, ProxyConnection
from ringfence.egress.door import Door, Meter
from ringfence.ports.egress import EgressPolicy


@dataclass(frozen=True, slots=True)
class Reporting:
    """Has attempts recorded by the worker."""

    control: Control

    async def record(self, attempt: Attempt) -> bool:
        """Whether the worker has it."""
        return await self.control.record(to_frame(attempt))


@dataclass(frozen=True, slots=True)
class Proxy:
    """Makes doors; names are looked up in one place for all of them."""

    control: Control
    names: Names
    #: By run, for as long as a door of it is open; the next door is told anew what is left.
    meters: "WeakValueDictionary[str, Meter]" = field(default_factory=WeakValueDictionary)

    def door(self, number: int, fields: dict[str, Any]) -> Behind | str:
        """What is behind a door."""
        policy = _policy(fields)
        meter = self.meters.get(policy.run)
        if meter is None:
            meter = self.meters[policy.run] = Meter(policy.requests, policy.sent, policy.received)
        door = Door(policy, meter, lambda code: self.control.tell("denied", id=number, code=code))
        turn, recorder = asyncio.Semaphore(LOOKUPS_OF_A_DOOR), Reporting(self.control)

        def connection(agent: AgentSocket) -> ProxyConnection:
            return ProxyConnection(door, self.names, turn, recorder, agent)

        return Behind(connection, lambda: door.exhausted)


async def serve_doors(control: socket.socket, doors: socket.socket) -> None:
    """Serve doors until the worker closes the control channel or is gone."""

    def begin(frame: Frame, channel: Control) -> MakeDoor:
        pinned = {str(name): tuple(map(str, found)) for name, found in frame.header["names"].items()}
        return Proxy(channel, Names(pinned)).door

    await serve(control, doors, begin)


def _policy(fields: dict[str, Any]) -> EgressPolicy:
    rules = tuple(_rule(rule) for rule in fields["rules"])
    service = _rule(fields["service"]) if fields["service"] is not None else None
    return EgressPolicy(**{**fields, "rules": rules, "service": service})


def _rule(fields: dict[str, Any]) -> HostRule:
    return HostRule(**{**fields, "cidrs": tuple(fields["cidrs"])})
