"""The engine port: finished steps are never done again, cut-off runs go on, errors replay as they were."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ringfence.adapters import place
from ringfence.domain.errors import ControlMissing

#: A worker whose runs write a line a step, and wait in step `slow` while a file `hold` is there.
WORKER = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from ringfence.adapters.engines.dbos import DbosEngine
from ringfence.domain.errors import RunStopped

state = Path(sys.argv[1])
journal = state / "journal"

@dataclass(frozen=True, slots=True)
class Value:
    name: str
    parts: tuple[tuple[str, int], ...]

def note(word):
    with journal.open("a") as handle:
        handle.write(word + "\\n")

def once(run, word):
    note(f"{run} {word}")
    return Value(word, ((word, 1),))

def slow(run):
    note(f"{run} slow-begun")
    while (state / "hold").exists():
        time.sleep(0.01)
    return once(run, "slow")

def refuse(run):
    note(f"{run} refuse")
    raise RunStopped("no_changes", "nothing changed", mend="say more")

def fault(run):
    raise KeyError("a fault of ours")

def carry(run, ticket, step):
    first = step("first", Value, lambda: once(run, "first"))
    assert first == Value("first", (("first", 1),)), first
    step("slow", Value, lambda: slow(run))
    for what in ("refuse", "fault"):
        if ticket == what:
            try:
                step(what, Value, lambda: globals()[what](run))
            except RunStopped as stop:
                note(f"{run} {stop.reason} {stop.mend}")
    step("last", Value, lambda: once(run, "last"))
    return "ended"

engine = DbosEngine(state, carry, concurrency=2)
print("resumed", *engine.start(), flush=True)
for argument in sys.argv[2:]:
    run, ticket = argument.split(":")
    engine.submit(run, ticket)
    engine.submit(run, ticket)
for run in [*engine.unfinished()]:
    engine.wait(run)
print("unfinished", *engine.unfinished(), flush=True)
engine.close()
"""


def start(state: Path, *runs: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(state), *runs], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.splitlines()


def journal(state: Path) -> list[str]:
    path = state / "journal"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(state: Path, line: str) -> None:
    for _ in range(3000):
        if line in journal(state):
            return
        time.sleep(0.01)
    pytest.fail(f"{line!r} never came: {journal(state)}")


def test_a_run_is_carried_once_however_often_it_is_submitted(tmp_path: Path) -> None:
    assert finish(start(tmp_path, "a-r1:plain")) == ["resumed", "unfinished"]
    assert journal(tmp_path) == ["a-r1 first", "a-r1 slow-begun", "a-r1 slow", "a-r1 last"]


def test_a_killed_worker_is_followed_by_one_that_goes_on(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    cut_off = start(tmp_path, "a-r1:plain", "b-r1:plain")
    wait_for(tmp_path, "a-r1 slow-begun")
    wait_for(tmp_path, "b-r1 slow-begun")
    os.kill(cut_off.pid, signal.SIGKILL)
    cut_off.communicate(timeout=30)
    (tmp_path / "hold").unlink()
    said = finish(start(tmp_path))
    assert set(said[0].split()) == {"resumed", "a-r1", "b-r1"}
    for run in ("a-r1", "b-r1"):
        mine = [line.split()[1] for line in journal(tmp_path) if line.startswith(run)]
        assert mine == ["first", "slow-begun", "slow-begun", "slow", "last"], "only the cut step is done again"


@pytest.mark.parametrize(("ticket", "line"), [("refuse", "no_changes say more"), ("fault", "internal_error ")])
def test_an_error_is_a_step_result(tmp_path: Path, ticket: str, line: str) -> None:
    finish(start(tmp_path, f"a-r1:{ticket}"))
    assert f"a-r1 {line}".strip() in [entry.strip() for entry in journal(tmp_path)]
    assert journal(tmp_path)[-1] == "a-r1 last"


def test_a_second_worker_is_refused(tmp_path: Path) -> None:
    assert not place.is_taken(tmp_path)
    (tmp_path / "hold").touch()
    first = start(tmp_path, "a-r1:plain")
    wait_for(tmp_path, "a-r1 slow-begun")
    assert place.is_taken(tmp_path)
    second = start(tmp_path)
    _, err = second.communicate(timeout=30)
    assert second.returncode != 0
    assert ControlMissing.__name__ in err
    (tmp_path / "hold").unlink()
    finish(first)


def test_nothing_in_the_database_is_a_pickle(tmp_path: Path) -> None:
    finish(start(tmp_path, "a-r1:plain"))
    content = b"".join(path.read_bytes() for path in tmp_path.glob("engine.sqlite*"))
    assert b'"value"' in content
    assert b"gASV" not in content, "base64 of a pickle's first bytes"
