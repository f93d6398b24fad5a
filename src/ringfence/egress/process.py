"""The egress proxy as the worker sees it: a process of its own, and the doors to it."""

import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any

from ringfence.child.process import DoorProcess, Point
from ringfence.child.wire import Frame
from ringfence.domain.errors import ControlMissing
from ringfence.egress.attempt import Attempt, from_frame
from ringfence.ports.broker import Secret
from ringfence.ports.egress import EgressPolicy, OpenDoor


@dataclass(frozen=True, slots=True)
class UpstreamProxy:
    """The proxy of the operator's own network; `credential` is `user:password`."""

    host: str
    port: int
    credential: Secret | None = None


@dataclass(frozen=True, slots=True)
class Inspecting:
    """What the process needs to open TLS: whom it trusts (PEM), what it puts on requests and looks for, and the time.

    `now`: seconds since 1970.
    """

    authorities: str
    now: Callable[[], float]
    credentials: Mapping[str, Secret] = field(default_factory=dict)
    canaries: Mapping[str, Secret] = field(default_factory=dict)


class EgressProcess(DoorProcess[Attempt]):
    """Implements ports/egress.py.

    `record` is called, from several threads, with each attempt of each door; when it raises, what was asked
    for is denied. `names` pins addresses of hosts; all others are looked up as the worker's host does. Without
    `inspecting` no rule that inspects lets anything through; with `upstream` everything goes out by that proxy.
    """

    def __init__(
        self,
        record: Callable[[Attempt], None],
        *,
        names: Mapping[str, tuple[str, ...]] | None = None,
        inspecting: Inspecting | None = None,
        upstream: UpstreamProxy | None = None,
        user: int | None = None,
        patience: float = 10.0,
    ) -> None:
        point = Point(
            name="egress proxy",
            code="egress",
            module="ringfence.egress.main",
            compare="start the worker again; this should not happen",
            read=_attempt,
            record=record,
        )
        self._inspecting = inspecting
        pinned = {name: list(found) for name, found in (names or {}).items()}
        super().__init__(point, lambda: (_first(pinned, inspecting, upstream), ()), user=user, patience=patience)

    def authority(self, seconds: float) -> str:
        """Make an authority for one sandbox, for this long; its certificate as PEM. Errors: `ControlMissing`."""
        if self._inspecting is None:
            mend = "start the egress proxy with the authorities that it is to trust"
            raise ControlMissing("this egress proxy cannot open TLS, and a rule inspects", mend=mend)
        answer = self.ask({"now": self._inspecting.now(), "seconds": seconds})
        return str(answer["certificate"])

    def open(self, listener: socket.socket, policy: EgressPolicy) -> AbstractContextManager[OpenDoor]:
        """Serve a planted listener under a policy until the block ends. Errors: `ControlMissing`."""
        return self.serving(listener, run=policy.run, door=policy.door, policy=asdict(policy))


def _first(
    pinned: dict[str, list[str]], inspecting: Inspecting | None, upstream: UpstreamProxy | None
) -> dict[str, Any]:
    """The frame that the process begins with; made when it is started, so that no value lies about before."""
    by = None
    if upstream is not None:
        credential = upstream.credential.reveal() if upstream.credential is not None else ""
        by = {"host": upstream.host, "port": upstream.port, "credential": credential}
    return {
        "kind": "begin",
        "names": pinned,
        "authorities": inspecting.authorities if inspecting is not None else "",
        "credentials": _values(inspecting.credentials if inspecting is not None else {}),
        "canaries": _values(inspecting.canaries if inspecting is not None else {}),
        "upstream": by,
    }


def _values(secrets: Mapping[str, Secret]) -> dict[str, str]:
    return {name: secret.reveal() for name, secret in secrets.items()}


def _attempt(frame: Frame) -> Attempt:
    return from_frame(frame.header["call"])
