"""The gateway as the worker sees it: a process of its own with the model credentials, and the doors to it."""

import json
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ringfence.child.process import Answer, DoorProcess, Point
from ringfence.child.wire import Frame
from ringfence.domain.errors import InputError
from ringfence.domain.wires import SPOKEN
from ringfence.gateway.call import Call, RouteConfig, from_frame
from ringfence.ports.gateway import DoorPolicy, OpenDoor


class GatewayProcess(DoorProcess[Call]):
    """Implements ports/gateway.py.

    `record` is called, from several threads, with each call of each door; when it returns, the call is on
    record, and when it raises, what it asked for is denied.
    """

    def __init__(
        self,
        routes: tuple[RouteConfig, ...],
        record: Callable[[Call], Answer | None],
        *,
        user: int | None = None,
        patience: float = 10.0,
    ) -> None:
        point = Point(
            name="model gateway",
            code="gateway",
            module="ringfence.gateway_main",
            compare="compare the boundary's model routes with those the worker was started with",
            read=_call,
            record=record,
            words=tuple(sorted({route.provider for route in routes})),
        )
        super().__init__(point, lambda: _first(routes), user=user, patience=patience)

    def open(self, listener: socket.socket, policy: DoorPolicy) -> AbstractContextManager[OpenDoor]:
        """Serve a planted listener under a policy until the block ends. Errors: `ControlMissing`."""
        return self.serving(listener, run=policy.run, door=policy.door, policy=asdict(policy))


def _call(frame: Frame) -> Call:
    return from_frame(frame.header["call"], *frame.blobs)


def _first(routes: tuple[RouteConfig, ...]) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    scripts = tuple(_script(route) for route in routes)
    return {"kind": "routes", "routes": [_frame(route) for route in routes]}, scripts


def _frame(route: RouteConfig) -> dict[str, Any]:
    return {
        "name": route.name,
        "provider": route.provider,
        "endpoint": route.endpoint,
        "models": list(route.models),
        "protocols": list(route.protocols or SPOKEN.get(route.provider, ())),
        "translate": list(route.translate),
        "credential": route.credential.reveal() if route.credential is not None else None,
        "authorities": route.authorities,
        "region": route.region,
        "api_version": route.api_version,
    }


def _script(route: RouteConfig) -> bytes:
    """A replay's script as JSON: the process reads no files and knows no YAML."""
    if route.provider != "replay":
        return b""
    try:
        return json.dumps(YAML(typ="safe", pure=True).load(Path(route.endpoint))).encode()
    except (OSError, YAMLError, ValueError, TypeError) as error:
        raise InputError(
            f"the replay script cannot be read: {error}",
            where=route.endpoint,
            mend="docs/replay.md describes the script",
        ) from None
