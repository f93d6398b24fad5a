"""The kill switch against real workers: obeying, hung, restarted, and with a broken or locked database."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringfence.domain import events as e
from ringfence.wiring import make_sandboxes
from waiting import children_of, until
from worksite import REPOSITORY, TICKET, Worksite

RUN = f"{TICKET}-r1"
#: Far above what is wanted (a second), so that a busy machine fails nothing.
SOON = 10.0


@contextmanager
def at_work(site: Worksite, *argv: str) -> "Iterator[subprocess.Popen[str]]":
    """A worker whose agent sleeps in its sandbox."""
    site.story("echo started > value.txt; sleep 300")
    worker = site.start(*(argv or ("run", TICKET)))
    try:
        sandboxes = make_sandboxes(site.settings)

        def asleep() -> bool:
            assert worker.poll() is None, (site.root / "commands.log").read_text()[-3000:]
            return any(one.name == "sleep" for one in sandboxes.processes(RUN))

        until(asleep)
        yield worker
    finally:
        with_end(worker)


def with_end(worker: "subprocess.Popen[str]") -> None:
    worker.send_signal(signal.SIGCONT)
    worker.kill()
    worker.wait()


def nothing_left(site: Worksite) -> bool:
    return make_sandboxes(site.settings).processes(RUN) == ()


def halted(site: Worksite, *argv: str) -> tuple[int, dict[str, object]]:
    done = site.ringfence("halt", "--reason", "the test says so", "--json", *argv)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("scope", [("--all",), ("--run", RUN), ("--repository", REPOSITORY)], ids=lambda s: s[0])
def test_halt_ends_what_it_covers_and_the_worker_says_so(site: Worksite, scope: tuple[str, ...]) -> None:
    with at_work(site) as worker:
        code, done = halted(site, *scope)
        assert (code, done["worker"], done["runs"], done["left"]) == (0, "closed its runs", [RUN], 0), done
        assert isinstance(done["last_process"], float) and 0 < done["last_process"] < SOON
        assert isinstance(done["last_door"], float) and 0 < done["last_door"] < SOON
        print(f"last process {done['last_process']} s, last door {done['last_door']} s")
        assert nothing_left(site)
        assert worker.wait(30) == 7
    history = site.events(RUN)
    [closed] = [event for event in history if isinstance(event, e.RunHalted)]
    assert closed.reason == "the test says so" and closed.seconds < SOON
    stopped = [event.reason for event in history if isinstance(event, e.RunStopped)]
    assert stopped == ["halted"]
    minted = {event.grant for event in history if isinstance(event, e.GrantMinted)}
    assert minted == {event.grant for event in history if isinstance(event, e.GrantRevoked)}
    assert list((site.state / "runs").iterdir()) == []
    assert set(site.refs()) == {"refs/heads/main"}


def test_a_halt_of_another_repository_or_run_ends_nothing(site: Worksite) -> None:
    with at_work(site) as worker:
        for scope in (("--repository", "acme/other"), ("--run", "T-9-r1")):
            code, done = halted(site, *scope)
            assert (code, done["processes"]) == (0, 0)
        time.sleep(1)
        assert worker.poll() is None and not nothing_left(site)


def test_a_hung_worker_is_ended_and_its_sandbox_with_it(site: Worksite) -> None:
    with at_work(site) as worker:
        worker.send_signal(signal.SIGSTOP)
        code, done = halted(site, "--all", "--patience", "1")
        assert worker.wait(10) == -signal.SIGKILL
        assert (code, done["worker"], done["left"]) == (0, "did not answer and was ended", 0)
        assert isinstance(done["last_process"], float) and done["last_process"] < SOON
        assert nothing_left(site)
    after, view = site.run()
    assert (after, view.id, view.reason) == (7, RUN, "halted"), "in force over a restart"


def test_a_hung_worker_with_a_halt_of_one_run_is_left_and_said_to_be_silent(site: Worksite) -> None:
    with at_work(site) as worker:
        worker.send_signal(signal.SIGSTOP)
        code, done = halted(site, "--run", RUN, "--patience", "1")
        assert (code, done["worker"], done["left"], done["last_door"]) == (9, "did not answer", 0, None)
        assert nothing_left(site) and worker.poll() is None
        worker.send_signal(signal.SIGCONT)
        assert worker.wait(30) == 7
    assert [view.reason for view in site.views()] == ["halted"]


def test_halt_works_with_a_corrupt_database(site: Worksite) -> None:
    with at_work(site) as worker:
        for name in ("audit.sqlite", "audit.sqlite-wal", "engine.sqlite", "engine.sqlite-wal"):
            (site.state / name).write_bytes(os.urandom(65536))
        code, done = halted(site, "--all", "--patience", "1")
        assert (done["worker"], done["left"]) == ("did not answer and was ended", 0), done
        # All is dead; what the runs had been granted stands in the log, which nobody can read.
        assert code == 9 and nothing_left(site) and "grants" in str(done["open"])
        assert worker.wait(10) == -signal.SIGKILL


def test_halt_works_with_a_locked_database(site: Worksite) -> None:
    with at_work(site) as worker:
        locks = [sqlite3.connect(site.state / name, isolation_level=None) for name in ("audit.sqlite", "engine.sqlite")]
        for lock in locks:
            lock.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        code, done = halted(site, "--repository", REPOSITORY, "--patience", "1")
        assert time.monotonic() - began < SOON
        assert (code, done["worker"], done["left"]) == (9, "did not answer", 0)
        assert nothing_left(site)
        for lock in locks:
            lock.close()
        assert worker.wait(60) == 7


def test_a_halt_by_file_is_obeyed_within_a_second(site: Worksite) -> None:
    with at_work(site) as worker:
        began = time.monotonic()
        (site.state / "halts" / "all").write_text("pulled the plug by hand\n")
        until(lambda: nothing_left(site), SOON)
        print(f"dead after {time.monotonic() - began:.2f} s")
        assert worker.wait(30) == 7
    [closed] = [event for event in site.events(RUN) if isinstance(event, e.RunHalted)]
    assert closed.reason == "pulled the plug by hand"


def test_a_halt_by_signal_is_obeyed_and_stays_in_force(site: Worksite) -> None:
    with at_work(site, "worker", "--every", "0.2") as worker:
        worker.send_signal(signal.SIGUSR1)
        until(lambda: nothing_left(site), SOON)
        until(lambda: site.views()[0].outcome == "stopped")
        assert worker.poll() is None, "the worker stays, and takes nothing"
        site.ticket("T-2", title="Another")
        time.sleep(2)  # in which it looks ten times
        assert [view.id for view in site.views()] == [RUN]
    refused = site.ringfence("run", "T-2")
    assert refused.returncode == 7 and "the worker was sent SIGUSR1" in refused.stderr


def test_new_runs_are_refused_with_the_reason_until_resume(site: Worksite) -> None:
    assert halted(site, "--repository", REPOSITORY)[0] == 0
    refused = site.ringfence("run", TICKET)
    assert refused.returncode == 7 and "the test says so" in refused.stderr and "resume" in refused.stderr
    assert site.ringfence("worker", "--once").returncode == 0
    assert site.views() == []
    assert "there is no such halt" in site.ringfence("resume", "--all").stdout
    assert site.ringfence("run", TICKET).returncode == 7
    assert "lifted: repository acme/tiny" in site.ringfence("resume", "--repository", REPOSITORY).stdout
    code, view = site.run()
    assert (code, view.outcome) == (0, "pull_request")


def test_a_halt_file_that_nobody_understands_halts_everything(site: Worksite) -> None:
    halts = site.state / "halts"
    halts.mkdir(parents=True)
    (halts / "EVERYTHING").touch()
    assert site.ringfence("run", TICKET).returncode == 7
    assert site.ringfence("resume", "--all").returncode == 0
    assert list(halts.iterdir()) == []


def test_exactly_one_scope_is_taken(site: Worksite) -> None:
    assert site.ringfence("halt", "--reason", "x").returncode == 2
    assert site.ringfence("halt", "--reason", "x", "--all", "--run", RUN).returncode == 2
    assert site.ringfence("halt", "--reason", "x", "--run", "../../etc").returncode == 2


def slow_push(site: Worksite) -> tuple[Path, Path]:
    """The code host commits a push when the second file is there; the first says that it waits for it."""
    begun, go = site.root / "push-begun", site.root / "push-may-end"
    hook = site.server.root / "hooks" / "reference-transaction"
    wait = f"touch {begun}; until [ -e {go} ] || ! [ -d {site.root} ]; do sleep 0.1; done"
    hook.write_text(f'#!/bin/sh\nif [ "$1" = prepared ]; then {wait}; fi\nexit 0\n')
    hook.chmod(0o755)
    return begun, go


@pytest.mark.parametrize("hung", [False, True], ids=["obeying", "hung"])
def test_a_push_in_flight_is_aborted_whole_or_not_at_all(site: Worksite, hung: bool) -> None:
    begun, go = slow_push(site)
    worker = site.start("run", TICKET)
    try:
        until(begun.exists)
        if hung:
            worker.send_signal(signal.SIGSTOP)
        code, done = halted(site, "--all", "--patience", "8" if not hung else "1")
        assert (code, done["left"]) == (0, 0), done
        # One that obeys may have ended git before the command has found it.
        assert isinstance(done["processes"], int) and done["processes"] >= hung, "git itself was ended"
        assert isinstance(done["last_process"], float) and done["last_process"] < SOON
        worker.wait(60)
    finally:
        go.touch()
        with_end(worker)
    assert site.server.process is not None
    host = site.server.process.pid
    until(lambda: children_of(host) == [])  # the host's own git has ended, either way
    patches = [event.commit for event in site.events(RUN) if isinstance(event, e.PatchProduced)]
    branches = {commit for ref, commit in site.refs().items() if ref != "refs/heads/main"}
    assert branches <= {patches[-1]}, "the host's ref is unchanged, or exactly the commit"
    history = site.events(RUN)
    assert not [event for event in history if isinstance(event, e.PullRequestOpened | e.BranchPushed)]
    assert hung or [event.reason for event in history if isinstance(event, e.RunStopped)] == ["halted"]


@pytest.fixture(autouse=True)
def _nothing_left_of_killed_workers(site: Worksite) -> Iterator[None]:
    """A worker that a test kills has a successor that clears up; these have none."""
    yield
    assert make_sandboxes(site.settings).end(None).left == 0
