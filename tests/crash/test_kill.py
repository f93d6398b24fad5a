"""The worker is killed with -9 at every stage boundary and at random moments: nothing lost, doubled or left behind.

`script/crash` does it at 50 random moments; the ordinary test run at fewer (RINGFENCE_CRASHES says how many).
"""

import json
import os
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from ringfence.domain import events as e
from ringfence.domain.chain import first_break
from ringfence.wiring import make_sandboxes, reading
from waiting import until
from worksite import REPOSITORY, TICKET, Worksite

KILLS = int(os.environ.get("RINGFENCE_CRASHES", "6"))
PATIENCE = 240.0


def boundaries(site: Worksite) -> set[tuple[str, str, int]]:
    """The stage boundaries on the log so far."""
    path = site.state / "audit.sqlite"
    if not path.exists():
        return set()
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        rows = database.execute("SELECT event FROM records").fetchall()
    except sqlite3.OperationalError:  # the table is not there yet
        return set()
    finally:
        database.close()
    stored = [json.loads(row[0]) for row in rows]
    return {
        (event["kind"], event["stage"], event["attempt"])
        for event in stored
        if event["kind"] in (e.StageStarted.kind, e.StageEnded.kind)
    }


def worked(site: Worksite, kill_when: Callable[[], bool]) -> bool:
    """Start a worker and kill it when told to; True when it ended by itself with nothing left to do."""
    worker = site.start("worker", "--once", "--every", "0.2")
    deadline = time.monotonic() + PATIENCE
    try:
        while worker.poll() is None:
            assert time.monotonic() < deadline, (site.root / "commands.log").read_text()[-4000:]
            if kill_when():
                return False
            time.sleep(0.002)
    finally:
        worker.kill()
        worker.wait()
    assert worker.returncode == 0, (site.root / "commands.log").read_text()[-4000:]
    return True


def require_whole(site: Worksite, tickets: set[str]) -> None:
    """One run, one branch and one pull request a ticket; a whole log; nothing of a run left anywhere."""
    views = {view.id: view for view in site.views()}
    assert {run: view.outcome for run, view in views.items()} == {f"{ticket}-r1": "pull_request" for ticket in tickets}
    refs = {ref: commit for ref, commit in site.refs().items() if ref != "refs/heads/main"}
    assert sorted(refs.values()) == sorted(view.commit for view in views.values())
    assert {view.pull_request.rsplit("/", 1)[1] for view in views.values()} == {
        str(number) for number in range(1, len(tickets) + 1)
    }, "numbers without a gap: no pull request was opened twice"
    assert list((site.state / "runs").iterdir()) == []
    assert list((site.state / "cancel").iterdir()) == []
    require_nothing_mounted(site)
    assert not [path for path in (site.state / "layers").glob("*/*") if path.name.startswith(".")], "half-made layers"
    sandboxes = make_sandboxes(site.settings)
    assert {run: sandboxes.reclaim(run) for run in views} == dict.fromkeys(views, 0)
    with reading(site.settings) as look:
        for run in views:
            assert first_break(look.log.records(run), run) is None
    for run in views:
        require_no_repeated_spending(site, run)
        bundle = site.state / "bundles" / f"{run}.bundle.tar"
        verified = site.ringfence("verify", str(bundle))
        assert verified.returncode == 0, verified.stdout


def require_nothing_mounted(site: Worksite) -> None:
    """No process has anything of this site's state mounted, in whichever namespace."""
    seen: set[str] = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                space = str((process / "ns/mnt").readlink())
                if space not in seen:
                    seen.add(space)
                    mounts = (process / "mountinfo").read_text()
                    assert str(site.state) not in mounts, process
            except OSError:
                continue


def require_no_repeated_spending(site: Worksite, run: str) -> None:
    """Once a work stage has ended, its model is asked no more."""
    ended: set[str] = set()
    for event in site.events(run):
        if isinstance(event, e.StageEnded) and event.stage == "work":
            ended.add(f"agent/{event.attempt}")
        if isinstance(event, e.ModelAsked):
            assert event.door not in ended


def test_killed_while_set_up_runs_and_while_its_layer_is_kept(site: Worksite) -> None:
    """C41: what a killed worker left of a layer is never one; the next worker makes it, and keeps it once."""
    setup = ["sh", "-c", "mkdir -p .deps; for n in $(seq 400); do echo $n > .deps/$n; done; sleep 0.3"]
    key = f"commands.repositories.{REPOSITORY}"
    site.boundary({f"{key}.setup": [setup], f"{key}.setup_inputs": ["check.sh"]})
    chance = random.Random(7)
    kills = 0
    while kills < 3:
        begun: list[float] = []
        wait = chance.uniform(0.0, 1.5)

        def in_the_baseline(begun: list[float] = begun, wait: float = wait) -> bool:
            if not begun and (site.state / "runs" / f"{TICKET}-r1" / "setup").exists():
                begun.append(time.monotonic())
            return bool(begun) and time.monotonic() > begun[0] + wait

        if worked(site, in_the_baseline):
            break
        kills += 1
    assert kills >= 1
    assert worked(site, lambda: False)
    require_whole(site, {TICKET})
    assert len(list((site.state / "layers").glob("*/*/layer.json"))) == 1
    made = [event for event in site.events(f"{TICKET}-r1") if isinstance(event, e.LayerMade)]
    used = [event for event in site.events(f"{TICKET}-r1") if isinstance(event, e.LayerUsed)]
    assert [event.scope for event in made] == ["repository"] * len(made)
    assert made or used


def test_killed_at_every_stage_boundary(site: Worksite) -> None:
    seen: set[tuple[str, str, int]] = set()

    def at_a_new_boundary() -> bool:
        fresh = boundaries(site) - seen
        seen.update(fresh)
        return bool(fresh)

    kills = 0
    while not worked(site, at_a_new_boundary):
        kills += 1
    print(f"killed {kills} times at {len(seen)} boundaries")
    stages = {stage for _kind, stage, _attempt in seen}
    assert stages == {
        "admission", "checkout", "context", "baseline", "work", "validation", "repair", "evidence", "publish",
        "cleanup",
    }  # fmt: skip
    assert kills >= 15
    require_whole(site, {TICKET})


def test_killed_at_random_moments(site: Worksite) -> None:
    chance = random.Random(20261123)
    tickets, kills = {TICKET}, 0
    while kills < KILLS:
        limit = time.monotonic() + chance.uniform(0.2, 6.0)
        if worked(site, lambda limit=limit: time.monotonic() > limit):  # type: ignore[misc]
            ticket = f"T-{len(tickets) + 1}"
            site.ticket(ticket, title=f"Number {ticket}")
            tickets.add(ticket)
        else:
            kills += 1
    assert worked(site, lambda: False)
    print(f"killed {kills} times over {len(tickets)} runs")
    require_whole(site, tickets)


def test_a_killed_worker_leaves_no_sandbox(site: Worksite, tmp_path: Path) -> None:
    """The sandbox dies with the worker, not with its successor."""
    site.story("sleep 300")
    worker = site.start("run", TICKET)
    started = [False]

    def in_the_agent() -> bool:
        assert worker.poll() is None
        database = site.state / "audit.sqlite"
        if database.exists() and not started[0]:
            started[0] = ("stage.started", "work", 1) in boundaries(site)
        return started[0]

    until(in_the_agent)
    sandboxes = make_sandboxes(site.settings)
    time.sleep(0.5)
    worker.kill()
    worker.wait()
    time.sleep(0.5)
    assert sandboxes.reclaim(f"{TICKET}-r1") == 0
