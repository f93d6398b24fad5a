"""The broker against the real local host: grants are narrow, on the log, used once and ended (ATTACKS F01, I06)."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hosting import run_git
from ringfence.adapters.git import GitTransport
from ringfence.adapters.token_minters.local import LocalTokenMinter
from ringfence.broker.grants import BoundaryBroker, Keys
from ringfence.domain import events as e
from ringfence.domain.errors import ControlMissing, EvidenceBroken, HostFailed
from ringfence.ports.broker import Grant, Secret
from ringfence.ports.token_minter import Wanted
from ringfence.web.host.creation import NewPrincipal, create_principal, create_repository
from ringfence.web.host.principals import Permission
from ringfence.wiring import Reading, reading
from worksite import REPOSITORY, Worksite

RUN = "T-1-r1"


class SetClock:
    """The worker's clock as a test sets it; wall clock and monotonic clock apart."""

    def __init__(self) -> None:
        self.wall, self.steady, self.count = 1_800_000_000.0, 1000.0, 0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def token(self, size: int) -> str:
        self.count += 1
        return f"{os.getpid():08x}{self.count:08x}".rjust(2 * size, "0")


class Bench:
    """A broker over a site, with a clock of its own."""

    def __init__(self, site: Worksite, look: Reading, url: str = "") -> None:
        self.site = site
        self.look = look
        self.clock = SetClock()
        self.learned: list[str] = []
        minter = LocalTokenMinter(url or site.server.url, timeout=5)
        keys = Keys(look.secrets, minter, lambda secret: self.learned.append(secret.reveal()))
        self.broker = BoundaryBroker(look.boundary, keys, look.log, self.clock)

    def events(self, run: str = RUN) -> list[e.Event]:
        return [e.from_json(record.event) for record in self.look.log.records(run)]

    def of(self, kind: type[Any], run: str = RUN) -> list[Any]:
        return [event for event in self.events(run) if isinstance(event, kind)]

    def ls_remote(self, token: str, repository: str = REPOSITORY) -> "subprocess.CompletedProcess[str]":
        url = f"{self.site.server.url}/{repository}.git"
        return run_git(self.site.root, "ls-remote", url, token=token, check=False)

    def push(self, token: str, ref: str = "refs/heads/ringfence/x") -> "subprocess.CompletedProcess[str]":
        where = self.site.root / "clone"
        if not where.exists():
            run_git(self.site.root, "clone", "-q", str(self.site.host), str(where))
            run_git(where, "commit", "-q", "--allow-empty", "-m", "x")
        url = f"{self.site.server.url}/{REPOSITORY}.git"
        return run_git(where, "push", url, f"HEAD:{ref}", token=token, check=False)


def tokens_of(site: Worksite) -> list[tuple[str, bool]]:
    """The minted tokens that the host keeps: reference, and whether it is revoked."""
    database = sqlite3.connect(f"file:{site.server.root / 'records.sqlite'}?mode=ro", uri=True, timeout=10)
    try:
        rows = database.execute("SELECT reference, revoked FROM tokens ORDER BY created").fetchall()
    finally:
        database.close()
    return [(reference, revoked is not None) for reference, revoked in rows]


@pytest.fixture
def bench(site: Worksite) -> Iterator[Bench]:
    with reading(site.settings) as look:
        yield Bench(site, look)


def test_a_read_grant_reads_one_repository_for_minutes_and_ends_with_its_block(bench: Bench) -> None:
    create_repository(bench.site.server.root, "acme/other")
    with bench.broker.grant(RUN, "checkout", REPOSITORY) as grant:
        token = grant.secret.reveal()
        assert (grant.permissions, grant.host, grant.run) == ("read", bench.site.server.url, RUN)
        assert bench.learned[-1] == token, "redaction knows it before anybody uses it"
        assert bench.ls_remote(token).returncode == 0
        assert bench.ls_remote(token, "acme/other").returncode != 0
        assert bench.push(token).returncode != 0
    assert bench.ls_remote(token).returncode != 0
    with pytest.raises(ControlMissing, match="ended"):
        grant.secret.reveal()


def test_a_write_grant_for_a_branch_writes_that_very_branch(bench: Bench) -> None:
    """F01: another ticket's branch is another's, also when its name begins with ours."""
    with bench.broker.grant(RUN, "publish", REPOSITORY, branch="ringfence/T-1-x") as grant:
        token = grant.secret.reveal()
        assert grant.permissions == "write:ringfence/T-1-x"
        for ref in ("ringfence/T-1-xy", "ringfence/T-1-x/y", "ringfence/T-1", "ringfence/T-2-x", "main"):
            refused = bench.push(token, f"refs/heads/{ref}")
            rule = "[protected-branch]" if ref == "main" else "[branch-prefix]"
            assert refused.returncode != 0 and rule in refused.stderr, ref
        assert bench.push(token, "refs/heads/ringfence/T-1-x").returncode == 0
    [minted] = bench.of(e.GrantMinted)
    assert minted.permissions == "write:ringfence/T-1-x"
    with (
        pytest.raises(HostFailed, match="would not mint"),
        bench.broker.grant(RUN, "publish", REPOSITORY, branch="main"),
    ):
        pytest.fail("a grant outside of the minter's own prefix")


def test_a_write_grant_writes_below_the_prefix_and_is_revoked_at_once(bench: Bench) -> None:
    with bench.broker.grant(RUN, "publish", REPOSITORY) as grant:
        token = grant.secret.reveal()
        assert grant.permissions == "write:ringfence/"
        assert bench.push(token, "refs/heads/ringfence/x").returncode == 0
        assert bench.push(token, "refs/heads/other/x").returncode != 0
    assert bench.push(token, "refs/heads/ringfence/y").returncode != 0


def test_the_log_says_asked_minted_used_and_revoked_and_never_the_value(bench: Bench) -> None:
    with bench.broker.grant(RUN, "publish", REPOSITORY) as grant:
        token = grant.secret.reveal()
        grant.secret.reveal()
    asked, minted, used, revoked = bench.events()
    assert asked == e.GrantAsked(grant.id, "publish", REPOSITORY, "host-write", "host-mint")
    assert isinstance(minted, e.GrantMinted) and isinstance(revoked, e.GrantRevoked)
    assert (minted.source, minted.permissions, minted.host) == ("minted", "write:ringfence/", bench.site.server.url)
    assert minted.expires == grant.expires
    assert used == e.GrantUsed(grant.id)
    assert (revoked.confirmed, revoked.uses) == (True, 2)
    assert "tried afterwards, and refused" in revoked.how
    assert token not in json.dumps([record.event for record in bench.look.log.records(RUN)])


def test_an_unused_grant_is_recorded_as_unused(bench: Bench) -> None:
    with bench.broker.grant(RUN, "checkout", REPOSITORY):
        pass
    assert bench.of(e.GrantUsed) == []
    assert [event.uses for event in bench.of(e.GrantRevoked)] == [0]


def test_a_grant_ends_when_its_block_fails(bench: Bench) -> None:
    with pytest.raises(HostFailed), bench.broker.grant(RUN, "checkout", REPOSITORY):
        raise HostFailed("the host went away")
    assert [event.confirmed for event in bench.of(e.GrantRevoked)] == [True]
    assert [revoked for _, revoked in tokens_of(bench.site)] == [True]


def test_nothing_is_minted_that_the_boundary_does_not_list(bench: Bench) -> None:
    for purpose, repository in (("checkout", "acme/other"), ("mint", REPOSITORY), ("registry", REPOSITORY)):
        with pytest.raises(ControlMissing), bench.broker.grant(RUN, purpose, repository):
            pass
    assert tokens_of(bench.site) == []


def test_a_grant_that_cannot_be_recorded_is_not_had(site: Worksite) -> None:
    with reading(site.settings) as look:
        bench = Bench(site, look)
        (site.state / "audit.sqlite").rename(site.state / "gone.sqlite")
        with pytest.raises(EvidenceBroken), bench.broker.grant(RUN, "checkout", REPOSITORY):
            pass
    assert tokens_of(site) == []


# --- clocks (I06)


@pytest.mark.parametrize("off", [-86_400.0 * 365, -3600.0, 3600.0, 86_400.0 * 365])
def test_a_worker_whose_clock_is_wrong_gets_no_longer_and_no_shorter_grant(bench: Bench, off: float) -> None:
    bench.clock.wall += off
    with bench.broker.grant(RUN, "checkout", REPOSITORY) as grant:
        bench.clock.steady += 590
        token = grant.secret.reveal()
        assert bench.ls_remote(token).returncode == 0
        bench.clock.steady += 12  # past the ten minutes of the boundary
        with pytest.raises(ControlMissing, match="ended"):
            grant.secret.reveal()
    assert [event.confirmed for event in bench.of(e.GrantRevoked)] == [True]


# --- what a crash leaves

CRASH = """
import os, signal, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from pathlib import Path
from test_grants import Bench, RUN
from ringfence.settings import load
from ringfence.wiring import reading
from types import SimpleNamespace
site = SimpleNamespace(server=SimpleNamespace(url=sys.argv[4]), root=Path(sys.argv[3]).parent)
with reading(load(Path(sys.argv[3]))) as look:
    with Bench(site, look).broker.grant(RUN, sys.argv[5], sys.argv[6]) as grant:
        print(grant.secret.reveal(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def crashed_with(site: Worksite, purpose: str) -> str:
    """The token that a worker had when it was killed."""
    here = Path(__file__).parent
    words = [str(here), str(here.parent), str(site.settings_path), site.server.url, purpose, REPOSITORY]
    done = subprocess.run([sys.executable, "-c", CRASH, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("purpose", ["checkout", "publish"])
def test_what_a_killed_worker_was_granted_is_revoked_from_the_log(bench: Bench, purpose: str) -> None:
    token = crashed_with(bench.site, purpose)
    assert bench.ls_remote(token).returncode == 0, "it lives until somebody ends it"
    assert bench.of(e.GrantRevoked) == []
    assert bench.broker.reclaim(RUN) == 1
    assert bench.ls_remote(token).returncode != 0
    (revoked,) = bench.of(e.GrantRevoked)
    assert revoked.confirmed
    assert bench.broker.reclaim(RUN, last=True) == 0, "doing it twice changes nothing"
    assert len(bench.of(e.GrantRevoked)) == 1


@pytest.mark.parametrize("scope", [("--all",), ("--repository", REPOSITORY), ("--run", RUN)])
def test_a_halt_revokes_what_a_dead_worker_was_granted(site: Worksite, scope: tuple[str, ...]) -> None:
    """F01: nobody is there who would give it back; that it is dead is found by trying it."""
    token = crashed_with(site, "publish")
    with reading(site.settings) as look:
        bench = Bench(site, look)
        assert bench.push(token, "refs/heads/ringfence/x").returncode == 0, "it lives until somebody ends it"
        assert site.ringfence("halt", "--run", "T-9-r9", "--reason", "another's").returncode == 0
        assert bench.push(token, "refs/heads/ringfence/y").returncode == 0
        done = site.ringfence("halt", *scope, "--reason", "the test says so", "--json")
        assert (done.returncode, json.loads(done.stdout)["grants"]) == (0, 1), done.stdout + done.stderr
        assert bench.push(token, "refs/heads/ringfence/z").returncode != 0
        assert LocalTokenMinter(site.server.url).refuses(Secret(token))
        (revoked,) = bench.of(e.GrantRevoked)
        assert revoked.confirmed


def test_a_halt_says_that_a_grant_could_not_be_revoked(site: Worksite) -> None:
    crashed_with(site, "publish")
    site.server.stop()
    done = site.ringfence("halt", "--all", "--reason", "the host is away")
    assert done.returncode == 9
    assert "NOT CONFIRMED" in done.stdout and "could not be revoked" in done.stdout


def test_a_mint_whose_answer_was_lost_is_revoked_too(bench: Bench) -> None:
    """The worker was killed between asking and hearing: the host has a token that nobody knows."""
    bench.look.log.append(RUN, e.GrantAsked("publish-lost-answer", "publish", REPOSITORY, "host-write", "host-mint"))
    minter = LocalTokenMinter(bench.site.server.url)
    key = bench.look.secrets.open("host-mint").secret
    lost = minter.mint(key, Wanted("publish-lost-answer", REPOSITORY, "ringfence/", 300))
    assert bench.broker.reclaim(RUN) == 1
    assert minter.refuses(lost.secret)


def test_a_mint_that_is_still_on_its_way_comes_too_late(bench: Bench) -> None:
    bench.look.log.append(RUN, e.GrantAsked("publish-on-its-way", "publish", REPOSITORY, "host-write", "host-mint"))
    assert bench.broker.reclaim(RUN) == 1
    key = bench.look.secrets.open("host-mint").secret
    with pytest.raises(HostFailed, match="409"):
        LocalTokenMinter(bench.site.server.url).mint(key, Wanted("publish-on-its-way", REPOSITORY, "ringfence/", 300))


def test_a_host_that_is_away_is_asked_again_until_the_last_time(bench: Bench) -> None:
    with bench.broker.grant(RUN, "checkout", REPOSITORY) as grant:
        token = grant.secret.reveal()
        port = int(bench.site.server.url.rsplit(":", 1)[1])
        bench.site.server.stop()
    assert bench.of(e.GrantRevoked) == [], "what could not be revoked stays open on the log"
    assert bench.broker.reclaim(RUN) == 0
    bench.site.server.start(port)
    assert bench.ls_remote(token).returncode == 0
    assert bench.broker.reclaim(RUN) == 1
    assert bench.ls_remote(token).returncode != 0
    with bench.broker.grant("T-2-r1", "checkout", REPOSITORY):
        bench.site.server.stop()
    assert bench.broker.reclaim("T-2-r1", last=True) == 1
    (given_up,) = bench.of(e.GrantRevoked, "T-2-r1")
    assert (given_up.confirmed, "could not be revoked" in given_up.how) == (False, True)
    bench.site.server.start(port)


# --- grants that are not minted


def test_a_durable_secret_is_let_go_and_said_to_outlive_the_run(site: Worksite) -> None:
    token = create_principal(site.server.root, NewPrincipal("old", "worker", {REPOSITORY: Permission()}))
    path = site.root / "secrets" / "old"
    path.touch(mode=0o600)
    path.write_text(token)
    with site.settings_path.open("a") as handle:
        handle.write('[secrets.old]\nfile = "secrets/old"\n')
    durable = {"name": "old", "purpose": "checkout", "repositories": [REPOSITORY], "kind": "durable",
               "reason": "a host that cannot mint"}  # fmt: skip
    site.boundary({"secrets": [durable], "repositories.0.stage": "observe"})
    with reading(site.settings) as look:
        bench = Bench(site, look)
        with bench.broker.grant(RUN, "checkout", REPOSITORY) as grant:
            assert grant.secret.reveal() == token
            assert grant.expires is None
        (minted,), (revoked,) = bench.of(e.GrantMinted), bench.of(e.GrantRevoked)
        assert (minted.source, minted.expires) == ("durable", None)
        assert (revoked.confirmed, "outlives" in revoked.how) == (False, True)
        assert bench.of(e.GrantAsked)[0].minter == ""


# --- a grant is bound to its host and its purpose


def test_git_shows_a_grant_to_its_own_host_alone(bench: Bench, tmp_path: Path) -> None:
    git = GitTransport(tmp_path / "mirrors")
    with bench.broker.grant(RUN, "checkout", REPOSITORY) as grant:
        elsewhere = f"{bench.site.server.url}0/{REPOSITORY}.git"
        with pytest.raises(ControlMissing, match="alone"):
            git.refresh_mirror(REPOSITORY, elsewhere, grant)
        with pytest.raises(ControlMissing, match="not for pushing"):
            git.push(tmp_path, f"{bench.site.server.url}/{REPOSITORY}.git", "0" * 40, "refs/heads/ringfence/x", grant)
    assert bench.of(e.GrantUsed) == []


def test_grants_have_no_text_form() -> None:
    grant = Grant("g", "publish", REPOSITORY, "x", Secret("canary-77"), "write", "http://h", 1.0, RUN)
    assert "canary" not in f"{grant} {grant!r}"
