"""A run whose credentials for code are leased by a vault: had late, on the record, and dead at the host at the end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ringfence.adapters.token_minters.local import LocalTokenMinter
from ringfence.domain import events as e
from ringfence.ports.broker import Secret
from ringfence.wiring import _broker, reading
from worksite import BRANCH, REPOSITORY, TICKET, Worksite

SERVER = Path(__file__).parents[1] / "contracts" / "vault_server.py"
RUN = f"{TICKET}-r1"
WHY = "the vault leases tokens of minutes; the host's own minter is the vault's alone"


@dataclass
class Leased:
    """A site whose worker has nothing but a login at a vault."""

    site: Worksite
    url: str

    @property
    def record(self) -> dict[str, Any]:
        with httpx2.Client(trust_env=False) as client:
            found: dict[str, Any] = client.post(f"{self.url}/record", json={}).json()
            return found

    def dead(self, token: str) -> bool:
        return LocalTokenMinter(self.site.server.url).refuses(Secret(token))


@contextmanager
def vault(site: Worksite) -> Iterator[str]:
    body = {"repositories": [REPOSITORY], "expires_in": 900}
    config = {
        "tokens": [], "approle": ["role-1", "secret-id-1f9c"], "token_ttl": 600, "lease_ttl": 600, "kv": {},
        "dynamic": [],
        "host": [site.server.url, site.mint],
        "minting": {
            "host/creds/read": {**body, "permissions": {"contents": "read"}},
            "host/creds/write": {**body, "permissions": {"contents": "write"}, "branch_prefix": BRANCH},
        },
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, str(SERVER), json.dumps(config)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


@pytest.fixture
def leased(site: Worksite) -> Iterator[Leased]:
    with vault(site) as url:
        login = site.root / "secrets" / "login"
        login.touch(mode=0o600)
        login.write_text("secret-id-1f9c")
        settings = site.settings_path.read_text().partition("[secrets.host-mint]")[0]
        site.settings_path.write_text(
            f"""{settings}[secrets.login]
file = "secrets/login"
[secrets.host-read]
vault = {{ path = "host/creds/read", field = "token" }}
[secrets.host-write]
vault = {{ path = "host/creds/write", field = "token" }}
[vault]
url = "{url}"
role_id = "role-1"
secret_id = "login"
"""
        )
        uses = [
            {"name": f"host-{what}", "purpose": purpose, "repositories": [REPOSITORY], "kind": "durable", "reason": WHY}
            for what, purpose in (("read", "checkout"), ("write", "publish"))
        ]
        site.boundary({"secrets": uses})
        yield Leased(site, url)


def test_a_run_with_leased_credentials_ends_with_dead_ones(leased: Leased) -> None:
    site = leased.site
    code, view = site.run()
    assert (code, view.outcome) == (0, "pull_request")
    made = leased.record["made"]
    assert len(made) == 2 and all(leased.dead(token) for token in made)
    assert leased.record["leases"] == []
    events = site.events(view.id)
    minted = [event for event in events if isinstance(event, e.GrantMinted)]
    assert [(event.purpose, event.source, bool(event.lease)) for event in minted] == [
        ("checkout", "leased", True), ("publish", "leased", True),
    ]  # fmt: skip
    revoked = [event for event in events if isinstance(event, e.GrantRevoked)]
    assert [(event.how, event.confirmed) for event in revoked] == [("lease ended", True)] * 2
    assert [path for path, content in site.kept() for token in made if token.encode() in content] == []


#: A worker that is killed while it has a lease.
CRASH = """
import os, signal, sys
from pathlib import Path
from ringfence.settings import load
from ringfence.wiring import _broker, reading
with reading(load(Path(sys.argv[1]))) as look, _broker(look).grant(sys.argv[2], "publish", sys.argv[3]) as grant:
    print(grant.secret.reveal(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("way", ["the next worker", "a halt"])
def test_f01_a_lease_that_a_killed_worker_had_is_ended_from_the_log(leased: Leased, way: str) -> None:
    """F01, after a crash: the lease is in the log, and ending it ends the token at the host."""
    site = leased.site
    words = [sys.executable, "-c", CRASH, str(site.settings_path), RUN, REPOSITORY]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL, done.stderr
    token = done.stdout.strip()
    assert not leased.dead(token) and len(leased.record["leases"]) == 1, "it lives until somebody ends it"
    if way == "a halt":
        halted = site.ringfence("halt", "--all", "--reason", "x", "--json")
        assert (halted.returncode, json.loads(halted.stdout)["grants"]) == (0, 1), halted.stderr
    else:
        with reading(site.settings) as look:
            assert _broker(look).reclaim(RUN) == 1
    assert leased.dead(token) and leased.record["leases"] == []
    with reading(site.settings) as look:
        found = [event for event in look.events(RUN) if isinstance(event, e.GrantRevoked)]
    assert [(event.how, event.confirmed) for event in found] == [("lease ended", True)]
