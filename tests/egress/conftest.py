"""A network of its own, with a proxy in it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from sandboxed import BUNDLE, RUN, Room
from world import Client, World, client, may_make_networks, own_network, world

from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes


@pytest.fixture
def network(tmp_path: Path) -> Iterator[World]:
    """Hosts that may be reached and addresses that never may; at the end no trap has caught anything."""
    if not may_make_networks():
        pytest.skip(
            "only root makes a network for the proxy, or who has a user namespace: see test_as_ordinary_user.py"
        )
    with own_network(), world(tmp_path) as made:
        yield made
        assert made.caught == []


Opening = Callable[..., AbstractContextManager[Client]]


@pytest.fixture
def door(network: World) -> Iterator[Client]:
    """One open door."""
    with ExitStack() as stack:
        yield stack.enter_context(client(network))


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    if not BUNDLE.is_file():
        pytest.skip("there is no bundle of certificates on this machine")
    sandboxes = BubblewrapSandboxes(tmp_path)
    tree = tmp_path / "tree"
    tree.mkdir()
    sandboxes.own(RUN, tree)
    log = SqliteAuditLog(tmp_path / "audit.sqlite", clock=SystemClock(), redact=lambda text: text)
    yield Room(sandboxes, log, tree)
    log.close()
    sandboxes.reclaim(RUN)
