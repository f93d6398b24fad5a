"""Fixtures that several suites use. That this file is here also lets tests import the modules beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from hosting import Hosted, Server, hosted, running_server
from worksite import Worksite, worksite

# No example database: the tests also pass as a user who cannot write the checkout, and the same way every time.
settings.register_profile("plain", database=None)
settings.load_profile("plain")


@pytest.fixture(scope="session")
def code_host_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server process for a whole session of tests; each test has a repository of its own on it."""
    with running_server(tmp_path_factory.mktemp("code-host") / "root") as server:
        yield server


@pytest.fixture
def code_host(code_host_server: Server, tmp_path: Path) -> Hosted:
    """A fresh repository on the shared server, with tokens for every role."""
    return hosted(code_host_server, tmp_path / "source")


@pytest.fixture
def work(code_host: Hosted, tmp_path: Path) -> Path:
    """A clone of it."""
    return code_host.clone(tmp_path / "work")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Worksite]:
    """A worker's whole surroundings."""
    with worksite(tmp_path / "site") as made:
        yield made
