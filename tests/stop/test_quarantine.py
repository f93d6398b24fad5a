"""Quarantine, release and the incident bundle, against real workers and real frozen processes."""

import hashlib
import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringfence.adapters.sandboxes.bubblewrap.limits import cgroup
from ringfence.domain import events as e
from ringfence.domain.marks import worker_mark
from ringfence.ports.sandbox import Seen
from ringfence.wiring import make_sandboxes
from waiting import until
from worksite import TICKET, Worksite

RUN = f"{TICKET}-r1"
CANARY = "canary-7f3a9c51e2d84b60aa"
#: It counts, so that a tree that stands still is told from one that only looks so.
BUSY = "ln -s /etc/passwd link; i=0; while true; do i=$((i+1)); echo $i > count.txt; sleep 0.05; done"


@contextmanager
def counting(site: Worksite) -> "Iterator[subprocess.Popen[str]]":
    """A worker whose agent writes a file again and again."""
    site.story(BUSY)
    worker = site.start("run", TICKET)
    try:
        until(lambda: tree(site) is not None and (tree(site) / "count.txt").exists())
        yield worker
    finally:
        (site.state / "quarantine" / RUN).unlink(missing_ok=True)
        worker.kill()
        worker.wait()
        make_sandboxes(site.settings).end((RUN,))


def tree(site: Worksite) -> Path:
    """Where the agent writes: over the commit's tree where the host can do that, else the tree itself."""
    room = site.state / "runs" / RUN / "agent-1"
    return room / "upper" if os.geteuid() == 0 else room


def seen(site: Worksite) -> tuple[Seen, ...]:
    return make_sandboxes(site.settings).processes(RUN)


def ticks(site: Worksite) -> dict[int, int]:
    """Processor time of each process: nobody gets any while it is frozen."""
    found = {}
    for one in seen(site):
        fields = Path(f"/proc/{one.pid}/stat").read_bytes().rpartition(b")")[2].split()
        found[one.pid] = int(fields[11]) + int(fields[12])
    return found


def contents(site: Worksite) -> dict[str, str]:
    files = (path for path in tree(site).rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def quarantined(site: Worksite) -> None:
    done = site.ringfence("quarantine", RUN, "--reason", "it counts", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert len(shown["processes"]) >= 3 and shown["on_the_log"], shown


def test_a_quarantined_run_stands_still_and_is_kept_until_it_is_released(site: Worksite) -> None:
    site.boundary({"limits.run.time": "60s"})
    with counting(site) as worker:
        quarantined(site)
        before, spent = contents(site), ticks(site)
        time.sleep(2.5)
        assert contents(site) == before and ticks(site) == spent
        assert worker.poll() is None
        for command in ("sweep", "cancel"):
            assert site.ringfence(command, *([RUN] if command == "cancel" else [])).returncode == 0
        time.sleep(1.5)
        assert contents(site) == before and ticks(site) == spent, "neither swept nor cancelled"
        assert site.views()[0].quarantined
        assert site.ringfence("release", RUN).returncode == 0
        assert worker.wait(30) == 7
        assert seen(site) == () and not tree(site).exists()
    history = site.events(RUN)
    kinds = [event.kind for event in history]
    assert kinds.index("run.quarantined") < kinds.index("run.released") < kinds.index("run.ended")
    assert [event.reason for event in history if isinstance(event, e.RunStopped)] == ["quarantined"]
    assert list((site.state / "quarantine").iterdir()) == []


def test_a_quarantine_outlives_its_worker(site: Worksite) -> None:
    with counting(site) as worker:
        quarantined(site)
        worker.kill()
        worker.wait()
        before = contents(site)
        assert before
        refused = site.ringfence("run", TICKET)
        assert refused.returncode == 7 and "quarantined" in refused.stderr
        successor = site.start("worker", "--once", "--every", "0.2")
        try:
            until(lambda: "worker.ready" in (site.root / "commands.log").read_text())
            time.sleep(2)
            assert successor.poll() is None and contents(site) == before
            assert site.ringfence("release", RUN).returncode == 0
            assert successor.wait(60) == 0
        finally:
            successor.kill()
            successor.wait()
        assert not tree(site).exists()
    assert site.views()[0].reason == "quarantined"


def test_a_halt_of_everything_leaves_a_quarantined_run_frozen_and_says_so(site: Worksite) -> None:
    with counting(site):
        quarantined(site)
        spent = ticks(site)
        done = site.ringfence("halt", "--all", "--reason", "x", "--json", "--patience", "2")
        shown = json.loads(done.stdout)
        assert (done.returncode, shown["processes"]) == (9, 0)
        assert any("quarantined" in sentence for sentence in shown["open"])
        assert ticks(site) == spent
        assert site.ringfence("release", RUN).returncode == 0


def test_signals_freeze_where_no_control_group_does(site: Worksite) -> None:
    """The fallback: what is stopped stays stopped, also when one process wakes another."""
    with counting(site):
        # Of this worker alone: other tests have runs of this name at the same time.
        mine = f"ringfence.{worker_mark(str(site.settings.state.absolute()))}.{RUN}."
        groups = [
            Path(path)
            for path, _, _ in os.walk("/sys/fs/cgroup/freezer")
            if mine in path and os.access(Path(path).parent, os.W_OK)
        ]
        found = cgroup.find()
        second = found is not None and found.version == "v2"  # which has no groups of a freezer alone
        assert bool(groups) == (found is not None) or second
        for group in groups:
            for pid in (group / "cgroup.procs").read_text().split():
                (group.parent / "cgroup.procs").write_text(pid)
            group.rmdir()
        quarantined(site)
        assert {one.state for one in seen(site)} <= {"T", "D"} or second
        before = ticks(site)
        time.sleep(1)
        assert ticks(site) == before
        assert site.ringfence("release", RUN).returncode == 0
        until(lambda: seen(site) == ())


def test_the_incident_bundle_tells_the_story_and_no_secret(site: Worksite, tmp_path: Path) -> None:
    token = site.mint
    site.boundary({"logs.redaction.patterns": [{"name": "canary", "pattern": "canary-[0-9a-f]{18}"}]})
    hostile = (
        f"echo {CANARY} > {CANARY}.txt; echo {token} > plain.txt; ln -s /etc/{CANARY} away; mkfifo pipe; sleep 300"
    )
    site.story(hostile)
    worker = site.start("run", TICKET)
    try:
        until(lambda: any(one.name == "sleep" for one in seen(site)))
        quarantined(site)
        target = tmp_path / "incident.tar"
        done = site.ringfence("incident", RUN, "--output", str(target))
        assert done.returncode == 0, done.stderr
        assert target.stat().st_mode & 0o777 == 0o600
        assert CANARY.encode() not in target.read_bytes() and token.encode() not in target.read_bytes()
        with tarfile.open(target) as bundle:
            parts = {entry.name: bundle.extractfile(entry).read() for entry in bundle}  # type: ignore[union-attr]
        files = {one["path"]: one for one in json.loads(parts["files.json"])}
        written = tree(site).relative_to(site.state / "runs" / RUN)
        assert files[f"{written}/plain.txt"]["sha256"] == hashlib.sha256(token.encode() + b"\n").hexdigest()
        assert files[f"{written}/pipe"]["mode"].startswith("p") and "sha256" not in files[f"{written}/away"]
        assert any(one["name"] == "sleep" for one in json.loads(parts["processes.json"]))
        story = parts["timeline.md"].decode()
        for expected in ("**run.quarantined**", "it counts", "**grant.minted**", "**model.called**"):
            assert expected in story
        assert json.loads(parts["facts.json"])["quarantine"]["reason"] == "it counts"
        assert site.ringfence("release", RUN).returncode == 0
        worker.wait(30)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        make_sandboxes(site.settings).end((RUN,))


def test_what_is_not_there_or_over_is_refused(site: Worksite) -> None:
    assert site.ringfence("quarantine", "T-9-r1", "--reason", "x").returncode == 2
    _code, view = site.run()
    over = site.ringfence("quarantine", view.id, "--reason", "x")
    assert over.returncode == 2 and "has ended" in over.stderr
    assert site.ringfence("release", view.id).returncode == 2
    assert site.ringfence("incident", view.id, "--output", str(site.root / "x.tar")).returncode == 0


@pytest.fixture(autouse=True)
def _no_frozen_groups_left(site: Worksite) -> Iterator[None]:
    yield
    assert make_sandboxes(site.settings).end((RUN,)).left == 0
