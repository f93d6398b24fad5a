"""The egress proxy's process from inside: the door that each command's policy makes.

It holds no file, no log and no boundary, and of the secrets those alone that it puts on requests. What it may reach
it is told with each door; what was tried it reports, and waits.
"""

import base64
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from ringfence.child.agent_socket import AgentSocket
from ringfence.child.serving import Behind, Control, MakeDoor, serve
from ringfence.child.wire import Frame
from ringfence.domain.errors import InputError
from ringfence.domain.hosts import Credential, HostRule
from ringfence.domain.leaks import Leaks
from ringfence.egress.attempt import Attempt, to_frame
from ringfence.egress.authority import Authority, outward
from ringfence.egress.connection import Names, ProxyConnection, Turns
from ringfence.egress.door import Door, Holdings, Meter, Upstream
from ringfence.ports.egress import EgressPolicy


@dataclass(frozen=True, slots=True)
class Reporting:
    """Has attempts recorded by the worker."""

    control: Control

    async def record(self, attempt: Attempt) -> bool:
        """Whether the worker has it."""
        return await self.control.record(to_frame(attempt))


#: Authorities that were made and whose door was not opened yet; the oldest goes when there are more.
_WAITING_AUTHORITIES = 256


@dataclass(frozen=True, slots=True)
class Proxy:
    """Makes doors; names are looked up in one place for all of them."""

    control: Control
    names: Names
    holdings: Holdings
    #: By run, for as long as a door of it is open; the next door is told anew what is left.
    meters: "WeakValueDictionary[str, Meter]" = field(default_factory=WeakValueDictionary)

    #: By their certificates, until the door of their sandbox takes them.
    authorities: dict[str, Authority] = field(default_factory=dict)

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Make an authority for one sandbox, and tell its certificate."""
        made = Authority(float(question["now"]), float(question["seconds"]))
        while len(self.authorities) >= _WAITING_AUTHORITIES:
            del self.authorities[next(iter(self.authorities))]
        self.authorities[made.certificate] = made
        return {"certificate": made.certificate}

    def door(self, number: int, fields: dict[str, Any]) -> Behind | str:
        """What is behind a door; the reason when what its rules need is not there."""
        policy = _policy(fields)
        needed = {rule.credential.secret for rule in policy.rules if rule.credential is not None}
        if not needed <= set(self.holdings.credentials):
            return "a rule names a credential that the proxy was not started with"
        authority = self.authorities.pop(policy.authority, None)
        if policy.authority and authority is None:
            return "the authority of this sandbox is gone"
        meter = self.meters.get(policy.run)
        if meter is None:
            meter = self.meters[policy.run] = Meter(policy.requests, policy.sent, policy.received)

        def told(code: str) -> None:
            self.control.tell("denied", id=number, code=code)

        door = Door(policy, meter, told, self.holdings, authority)
        turns, recorder = Turns(), Reporting(self.control)

        def connection(agent: AgentSocket) -> ProxyConnection:
            return ProxyConnection(door, self.names, turns, recorder, agent)

        return Behind(connection, lambda: door.exhausted)


async def serve_doors(control: socket.socket, doors: socket.socket) -> None:
    """Serve doors until the worker closes the control channel or is gone."""

    def begin(frame: Frame, channel: Control) -> MakeDoor:
        pinned = {str(name): tuple(map(str, found)) for name, found in frame.header["names"].items()}
        proxy = Proxy(channel, Names(pinned), _holdings(frame.header))
        channel.answers = proxy.answer
        return proxy.door

    await serve(control, doors, begin)


def _policy(fields: dict[str, Any]) -> EgressPolicy:
    rules = tuple(_rule(rule) for rule in fields["rules"])
    service = _rule(fields["service"]) if fields["service"] is not None else None
    return EgressPolicy(**{**fields, "rules": rules, "service": service})


def _rule(fields: dict[str, Any]) -> HostRule:
    lists = {name: tuple(fields[name]) for name in ("cidrs", "methods", "paths")}
    put = fields["credential"]
    return HostRule(**{**fields, **lists, "credential": Credential(**put) if put is not None else None})


def _holdings(header: dict[str, Any]) -> Holdings:
    """What the first frame brings. Errors: `InputError` when it cannot be used."""
    credentials, upstream = dict(header["credentials"]), header["upstream"]
    watched = {name: value.encode() for name, value in {**credentials, **header["canaries"]}.items()}
    by = None
    if upstream is not None:
        by = Upstream(upstream["host"], upstream["port"], _basic(upstream["credential"]))
        if upstream["credential"]:
            watched["the upstream proxy's credential"] = upstream["credential"].encode()
    leaks = Leaks(watched)
    if leaks.too_short:
        mend = "use longer, random values: what is looked for must not turn up by chance"
        raise InputError(f"too short to be looked for: {', '.join(leaks.too_short)}", mend=mend)
    try:
        trust = outward(header["authorities"]) if header["authorities"] else None
    except (ssl.SSLError, ValueError) as error:
        mend = "name a bundle of certificates in PEM as egress.authorities"
        raise InputError(f"the authorities cannot be used: {error}", mend=mend) from None
    return Holdings(trust, credentials, leaks, by)


def _basic(credential: str) -> str:
    return "Basic " + base64.b64encode(credential.encode()).decode() if credential else ""
