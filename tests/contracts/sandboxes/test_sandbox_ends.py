"""The contract of ports/sandbox.py, with real sandboxes: held, ended, and the death of the worker."""

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandboxing import CGROUP, LIMITS, ROOT, Spec, alive, eventually, run

from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.adapters.sandboxes.bubblewrap.limits import cgroup
from ringfence.ports.sandbox import Sandboxes


def test_nothing_is_executed_while_it_is_held(sandboxes: Sandboxes, spec: Spec, tree: Path) -> None:
    with sandboxes.hold(spec("echo ran > ran")) as held:
        time.sleep(0.3)
        assert list(tree.iterdir()) == []
        assert held.run().exit_code == 0
    assert (tree / "ran").exists()


def test_leaving_without_running_leaves_nothing(sandboxes: Sandboxes, spec: Spec, tree: Path, word: str) -> None:
    with sandboxes.hold(spec(f"echo {word} > ran")):
        assert alive(word)
    assert list(tree.iterdir()) == []
    assert eventually(lambda: not alive(word), 1.0)


def test_controls_and_level_name_what_confines(sandboxes: Sandboxes, spec: Spec) -> None:
    with sandboxes.hold(spec("true")) as held:
        controls = held.controls
    assert {"seccomp", "netns:empty", "no-capabilities"} <= set(controls)
    assert "uid:0" not in controls
    assert ("cgroup" in sandboxes.level.replace("no cgroup", "")) == CGROUP
    assert ("dedicated uid" in sandboxes.level) == ROOT


def test_daemons_that_ignore_signals_die_with_the_command(
    sandboxes: Sandboxes, spec: Spec, tree: Path, word: str
) -> None:
    script = f"""
    for i in 1 2 3 4 5; do
      setsid sh -c 'trap "" TERM HUP INT; while :; do echo beat-{word} >> beats; sleep 0.02; done' >/dev/null 2>&1 &
    done
    sleep 0.3
    """
    outcome = run(sandboxes, spec(script))
    assert outcome.exit_code == 0
    before = (tree / "beats").stat().st_size
    assert before > 0
    time.sleep(0.3)
    assert (tree / "beats").stat().st_size == before
    assert not alive(word)


def test_cancelling_ends_a_command_within_a_second(sandboxes: Sandboxes, spec: Spec) -> None:
    asked: list[float] = []

    def stop() -> str | None:
        asked.append(time.monotonic())
        return "cancelled" if len(asked) > 2 else None

    outcome = run(sandboxes, spec("trap '' TERM INT; while :; do sleep 0.1; done"), stop=stop)
    assert (outcome.exit_code, outcome.stopped) == (None, "cancelled")
    assert time.monotonic() - asked[-1] < 1.0
    assert max(b - a for a, b in itertools.pairwise(asked)) < 0.5


def test_an_error_of_the_caller_ends_the_command_too(sandboxes: Sandboxes, spec: Spec, word: str) -> None:
    def see(piece: bytes) -> None:
        raise ValueError("the log is full")

    with pytest.raises(ValueError, match="the log is full"), sandboxes.hold(spec(f"echo x; sleep 60.{word}")) as held:
        held.run(output=see)
    assert eventually(lambda: not alive(word), 1.0)


def test_other_threads_keep_their_own_children(sandboxes: Sandboxes, spec: Spec) -> None:
    codes: list[int] = []

    def others() -> None:
        codes.extend(subprocess.run(["sh", "-c", "exit 9"], check=False).returncode for _ in range(25))

    thread = threading.Thread(target=others)
    thread.start()
    outcomes = [run(sandboxes, spec("exit 4")).exit_code for _ in range(4)]
    thread.join()
    assert outcomes == [4] * 4
    assert codes == [9] * 25


def test_several_sandboxes_run_at_once(sandboxes: Sandboxes, spec: Spec) -> None:
    said: list[bytes] = []

    def one(number: int) -> None:
        said.append(run(sandboxes, spec(f"sleep 0.2; echo {number}", workspace=None, run=f"run-{number}")).output)

    threads = [threading.Thread(target=one, args=(number,)) for number in (1, 2, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == [b"1\n", b"1\n", b"2\n", b"2\n"]


# --- the death of the worker ---

WORKER = """
import sys, time
from pathlib import Path
from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.domain.boundary import SandboxLimits
from ringfence.ports.sandbox import Mount, SandboxSpec, Workspace
state, tree, goes, limits = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "run", sys.argv[4]
word = sys.argv[5]
sandboxes = BubblewrapSandboxes(state)
sandboxes.own("run-1", tree)
script = f"echo {word} > started; setsid sh -c 'trap \\"\\" TERM; while :; do sleep 0.05; done' & sleep 60.{word}"
spec = SandboxSpec("run-1", "agent", ("/bin/sh", "-c", script), SandboxLimits.model_validate_json(limits), 60.0,
                   Workspace(tree), (Mount(Path("/usr"), "/usr"),))
with sandboxes.hold(spec) as held:
    print("held", flush=True)
    if goes:
        held.run()
    else:
        time.sleep(60)
"""


def start_worker(state: Path, tree: Path, goes: str, word: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", WORKER, str(state), str(tree), goes, json.dumps(LIMITS), word]
    worker = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"held\n"
    return worker


def sigkill(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()
    assert worker.stdout is not None
    worker.stdout.close()


@pytest.fixture
def dead_workers_state(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    state = tmp_path / "state"
    tree = state / "tree"
    tree.mkdir(parents=True)
    yield state, tree
    BubblewrapSandboxes(state).reclaim("run-1")


def test_running_sandbox_dies_with_a_killed_worker(dead_workers_state: tuple[Path, Path], word: str) -> None:
    state, tree = dead_workers_state
    worker = start_worker(state, tree, "run", word)
    assert eventually(lambda: (tree / "started").exists())
    sigkill(worker)
    assert eventually(lambda: not alive(word), 2.0)
    again = BubblewrapSandboxes(state)
    assert again.reclaim("run-1") == 0
    assert cgroup.leftovers(f"ringfence.{again._worker}.run-1.") == []


def test_held_sandbox_of_a_killed_worker_never_runs_and_is_reclaimed(
    dead_workers_state: tuple[Path, Path], word: str
) -> None:
    state, tree = dead_workers_state
    sigkill(start_worker(state, tree, "hold", word))
    time.sleep(0.5)
    assert not (tree / "started").exists()
    assert BubblewrapSandboxes(state).reclaim("run-1") >= 1
    assert eventually(lambda: not alive(word), 2.0)
    assert not (tree / "started").exists()
    assert BubblewrapSandboxes(state).reclaim("run-1") == 0
