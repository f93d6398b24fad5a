"""A network of its own, with a proxy in it."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from world import Client, World, client, own_network, world


@pytest.fixture
def network(tmp_path: Path) -> Iterator[World]:
    """Hosts that may be reached and addresses that never may; at the end no trap has caught anything."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a network with these addresses for the proxy")
    with own_network(), world(tmp_path) as made:
        yield made
        assert made.caught == []


Opening = Callable[..., AbstractContextManager[Client]]


@pytest.fixture
def door(network: World) -> Iterator[Client]:
    """One open door."""
    with ExitStack() as stack:
        yield stack.enter_context(client(network))
