"""A started gateway for the loopback tests."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from agent_side import POLICY, USER, Agent, Records, Start, listening

from ringfence.gateway.call import RouteConfig
from ringfence.gateway.process import GatewayProcess


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a gateway for routes and open one door: `start(route(...), requests=3)`."""
    with ExitStack() as stack:

        def starting(*routes: RouteConfig, **policy: Any) -> Agent:
            records = Records()
            gateway = stack.enter_context(GatewayProcess(routes, records, user=USER))
            listener = stack.enter_context(listening())
            door = stack.enter_context(gateway.open(listener, replace(POLICY, **policy)))
            return Agent(listener.getsockname()[1], door, records, gateway)

        yield starting
