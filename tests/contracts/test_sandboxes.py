"""The contract of ports/sandbox.py, run against every adapter with real sandboxes."""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.adapters.sandboxes.bubblewrap.limits import cgroup
from ringfence.domain.boundary import SandboxLimits
from ringfence.domain.errors import ControlMissing
from ringfence.ports.sandbox import Mount, Outcome, Sandboxes, SandboxSpec, Workspace

ROOT = os.geteuid() == 0
CGROUP = cgroup.find() is not None
needs_root = pytest.mark.skipif(not ROOT, reason="only a root worker leases users")
needs_cgroup = pytest.mark.skipif(not CGROUP, reason="no control group can be made here")
LIMITS = {
    "memory": "128MiB", "processes": 32, "cpus": 1.0, "cpu_time": "20s", "file": "32MiB", "disk": "48MiB",
    "temporary": "16MiB", "output": "64KiB", "cgroup": "preferred",
}  # fmt: skip
USR = Mount(Path("/usr"), "/usr")


def limits(**changes: Any) -> SandboxLimits:
    return SandboxLimits.model_validate({**LIMITS, **changes})


@pytest.fixture
def state(tmp_path: Path) -> Path:
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    return place


@pytest.fixture(params=[BubblewrapSandboxes])
def sandboxes(request: pytest.FixtureRequest, state: Path) -> Iterator[Sandboxes]:
    made = request.param(state)
    yield made
    for run in ("run-1", "run-2"):
        assert made.reclaim(run) == 0


@pytest.fixture
def tree(sandboxes: Sandboxes, state: Path) -> Path:
    place = state / "tree"
    place.mkdir()
    sandboxes.own("run-1", place)
    return place


@pytest.fixture
def word() -> str:
    """A number by which this test's processes are known; other tests run at the same time."""
    return f"{os.getpid()}{time.monotonic_ns()}"


@pytest.fixture
def spec(tree: Path) -> Callable[..., SandboxSpec]:
    def make(script: str, **changes: Any) -> SandboxSpec:
        fields: dict[str, Any] = {
            "run": "run-1", "role": "agent", "argv": ("/bin/sh", "-c", script), "limits": limits(), "timeout": 20.0,
            "workspace": Workspace(tree), "mounts": (USR,),
        }  # fmt: skip
        return SandboxSpec(**{**fields, **changes})

    return make


def python(program: str) -> tuple[str, ...]:
    return ("/usr/bin/env", "python3", "-I", "-S", "-c", program)


def run(sandboxes: Sandboxes, spec: SandboxSpec, **changes: Any) -> Outcome:
    with sandboxes.hold(spec) as held:
        outcome = held.run(**changes)
    assert outcome.processes_left == 0
    return outcome


def alive(word: str) -> list[int]:
    """Processes of this host, zombies apart, that have a word in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def eventually(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# --- a command and what it may see ---


def test_command_runs_and_what_it_said_comes_back(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    outcome = run(sandboxes, spec("echo out; echo err >&2; exit 3"))
    assert (outcome.exit_code, outcome.stopped, outcome.output) == (3, None, b"out\nerr\n")
    assert outcome.output_bytes == 8
    assert 0 < outcome.seconds < 10
    assert outcome.peak_memory > 0


def test_output_is_seen_as_it_comes(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    pieces: list[tuple[float, bytes]] = []
    run(sandboxes, spec("echo one; sleep 0.4; echo two"), output=lambda b: pieces.append((time.monotonic(), b)))
    assert [piece for _, piece in pieces] == [b"one\n", b"two\n"]
    assert pieces[1][0] - pieces[0][0] > 0.2


def test_command_that_is_not_there_is_a_failure_with_words(
    sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]
) -> None:
    outcome = run(sandboxes, spec("", argv=("no-such-program",)))
    assert outcome.exit_code not in (0, None)
    assert b"no-such-program" in outcome.output


def test_death_by_a_signal_is_told_as_a_shell_does(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    assert run(sandboxes, spec("kill -SEGV $$")).exit_code == 128 + signal.SIGSEGV


def test_workspace_is_written_and_read_by_the_worker(
    sandboxes: Sandboxes, spec: Callable[..., SandboxSpec], tree: Path
) -> None:
    (tree / "before").write_text("given\n")
    outcome = run(sandboxes, spec("pwd; cat before; echo made > after"))
    assert outcome.output == b"/workspace\ngiven\n"
    assert (tree / "after").read_text() == "made\n"


def test_workspace_can_be_read_only(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec], tree: Path) -> None:
    outcome = run(sandboxes, spec("echo x > file", workspace=Workspace(tree, writable=False)))
    assert outcome.exit_code != 0
    assert list(tree.iterdir()) == []


@pytest.fixture
def stacked(sandboxes: Sandboxes, state: Path, tree: Path) -> Workspace:
    """A room over a tree of the run's and one of the worker's, where this host can show trees over each other."""
    if not sandboxes.stacks:
        pytest.skip("this worker copies trees: only root lays them over each other")
    own, kept = state / "own", state / "kept"
    for place in (own, kept):
        (place / "both").mkdir(parents=True)
        (place / "both" / "which").write_text(f"{place.name}\n")
        (place / "both" / place.name).write_text("x")
    (kept / "folder").mkdir()
    (kept / "folder" / "closed").write_text("closed\n")
    (kept / "folder" / "closed").chmod(0o600)
    (kept / "large").write_bytes(b"x" * (48 << 20))
    sandboxes.own("run-1", own)
    return Workspace(state / "room", lower=(own, kept))


def test_trees_are_shown_over_each_other_and_none_is_written(
    sandboxes: Sandboxes, spec: Callable[..., SandboxSpec], state: Path, stacked: Workspace
) -> None:
    script = """
        cat both/which folder/closed && ls both && stat -c %u both folder | uniq | wc -l
        mv folder moved && echo more >> moved/closed && rm both/which && echo new > both/new && cat moved/closed"""
    outcome = run(sandboxes, spec(script, workspace=stacked))
    assert outcome.output == b"own\nclosed\nkept\nown\nwhich\n1\nclosed\nmore\n"
    again = run(sandboxes, spec("cat moved/closed both/new; ls both", workspace=replace(stacked, writable=False)))
    assert again.output == b"closed\nmore\nnew\nkept\nnew\nown\n", "what was written stays, for a reader too"
    assert (stacked.written / "both" / "new").read_text() == "new\n"
    assert (state / "kept" / "folder" / "closed").read_text() == "closed\n"
    assert (state / "own" / "both" / "which").read_text() == "own\n"
    assert (state / "kept" / "large").stat().st_uid == os.geteuid()


def test_the_disk_limit_is_for_what_is_written_over_other_trees(
    sandboxes: Sandboxes, spec: Callable[..., SandboxSpec], stacked: Workspace
) -> None:
    small = limits(disk="32MiB", file="32MiB")
    assert run(sandboxes, spec("wc -c < large", workspace=stacked, limits=small)).output == b"50331648\n"
    script = "for n in 1 2 3; do head -c 16777216 /dev/zero > f$n; done; sleep 20"
    assert run(sandboxes, spec(script, workspace=stacked, limits=small)).stopped == "disk"


def test_mounts_and_files_are_there_and_read_only(
    sandboxes: Sandboxes, spec: Callable[..., SandboxSpec], state: Path
) -> None:
    tool = state / "tool"
    tool.mkdir()
    (tool / "name").write_text("hammer")
    outcome = run(
        sandboxes,
        spec(
            "cat /opt/tool/name /home/agent/.config/x; (echo y > /opt/tool/name); (echo y > /home/agent/.config/x)",
            mounts=(USR, Mount(tool, "/opt/tool")),
            files={"/home/agent/.config/x": b"setting\n"},
        ),
    )
    assert outcome.output.startswith(b"hammersetting\n")
    assert outcome.output.count(b"Read-only") + outcome.output.count(b"Permission denied") == 2
    assert (tool / "name").read_text() == "hammer"


def test_only_what_is_named_is_visible(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    outcome = run(sandboxes, spec("ls -A / /home /home/agent /tmp | sort -u"))
    names = set(outcome.output.decode().split())
    assert names <= {
        "/:", "/home:", "/home/agent:", "/tmp:", "bin", "sbin", "lib", "lib64", "usr", "etc", "dev", "proc", "home",
        "tmp", "workspace", "agent",
    }  # fmt: skip


def test_environment_is_built_from_empty(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    outcome = run(sandboxes, spec("", argv=("/usr/bin/env",), environment={"LANG": "C.UTF-8", "PATH": "/usr/bin"}))
    assert sorted(outcome.output.decode().splitlines()) == [
        "HOME=/home/agent", "LANG=C.UTF-8", "PATH=/usr/bin", "PWD=/workspace",
    ]  # fmt: skip


def test_without_a_workspace_a_command_starts_at_home(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    outcome = run(sandboxes, spec("pwd; echo x > y && cat y", workspace=None))
    assert outcome.output == b"/home/agent\nx\n"


def test_streams_can_be_handed_through(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            held = sandboxes.hold(spec("echo aside >&2; exec cat"), stdin=theirs.fileno(), stdout=theirs.fileno())
            with held as sandbox:
                theirs.close()
                ours.sendall(b"to and fro")
                ours.shutdown(socket.SHUT_WR)
                outcome = sandbox.run()
        assert ours.recv(100) == b"to and fro"
    assert outcome.output == b"aside\n"
    assert outcome.exit_code == 0


# --- held, and ended ---


def test_nothing_is_executed_while_it_is_held(
    sandboxes: Sandboxes, spec: Callable[..., SandboxSpec], tree: Path
) -> None:
    with sandboxes.hold(spec("echo ran > ran")) as held:
        time.sleep(0.3)
        assert list(tree.iterdir()) == []
        assert held.run().exit_code == 0
    assert (tree / "ran").exists()


def test_leaving_without_running_leaves_nothing(
    sandboxes: Sandboxes, spec: Callable[..., SandboxSpec], tree: Path, word: str
) -> None:
    with sandboxes.hold(spec(f"echo {word} > ran")):
        assert alive(word)
    assert list(tree.iterdir()) == []
    assert eventually(lambda: not alive(word), 1.0)


def test_controls_and_level_name_what_confines(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    with sandboxes.hold(spec("true")) as held:
        controls = held.controls
    assert {"seccomp", "netns:empty", "no-capabilities"} <= set(controls)
    assert "uid:0" not in controls
    assert ("cgroup" in sandboxes.level.replace("no cgroup", "")) == CGROUP
    assert ("dedicated uid" in sandboxes.level) == ROOT


def test_daemons_that_ignore_signals_die_with_the_command(
    sandboxes: Sandboxes, spec: Callable[..., SandboxSpec], tree: Path, word: str
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


def test_cancelling_ends_a_command_within_a_second(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    asked: list[float] = []

    def stop() -> str | None:
        asked.append(time.monotonic())
        return "cancelled" if len(asked) > 2 else None

    outcome = run(sandboxes, spec("trap '' TERM INT; while :; do sleep 0.1; done"), stop=stop)
    assert (outcome.exit_code, outcome.stopped) == (None, "cancelled")
    assert time.monotonic() - asked[-1] < 1.0
    assert max(b - a for a, b in itertools.pairwise(asked)) < 0.5


def test_an_error_of_the_caller_ends_the_command_too(
    sandboxes: Sandboxes, spec: Callable[..., SandboxSpec], word: str
) -> None:
    def see(piece: bytes) -> None:
        raise ValueError("the log is full")

    with pytest.raises(ValueError, match="the log is full"), sandboxes.hold(spec(f"echo x; sleep 60.{word}")) as held:
        held.run(output=see)
    assert eventually(lambda: not alive(word), 1.0)


def test_other_threads_keep_their_own_children(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    codes: list[int] = []

    def others() -> None:
        codes.extend(subprocess.run(["sh", "-c", "exit 9"], check=False).returncode for _ in range(25))

    thread = threading.Thread(target=others)
    thread.start()
    outcomes = [run(sandboxes, spec("exit 4")).exit_code for _ in range(4)]
    thread.join()
    assert outcomes == [4] * 4
    assert codes == [9] * 25


def test_several_sandboxes_run_at_once(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    said: list[bytes] = []

    def one(number: int) -> None:
        said.append(run(sandboxes, spec(f"sleep 0.2; echo {number}", workspace=None, run=f"run-{number}")).output)

    threads = [threading.Thread(target=one, args=(number,)) for number in (1, 2, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == [b"1\n", b"1\n", b"2\n", b"2\n"]


# --- limits, each really hit ---


def test_time_ends_a_command(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    outcome = run(sandboxes, spec("trap '' TERM; while :; do sleep 0.05; done", timeout=0.5))
    assert (outcome.exit_code, outcome.stopped) == (None, "timeout")
    assert 0.5 <= outcome.seconds < 1.5


def test_memory_ends_a_command(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    program = "b = []\nwhile True: b.append(bytearray(b'x' * (1 << 20)))"
    outcome = run(sandboxes, spec("", argv=python(program), limits=limits(memory="64MiB")))
    assert (outcome.exit_code, outcome.stopped) == (None, "memory")


@needs_cgroup
def test_memory_of_a_child_counts_too(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    program = "python3 -I -S -c 'b = bytearray(b\"x\" * (200 << 20))'; echo survived; sleep 20"
    outcome = run(sandboxes, spec(program, limits=limits(memory="64MiB")))
    assert outcome.stopped == "memory"
    assert outcome.seconds < 10


def test_output_ends_a_command_and_is_cut(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    seen = bytearray()
    outcome = run(sandboxes, spec("yes"), output=seen.extend)
    assert (outcome.exit_code, outcome.stopped) == (None, "output")
    assert len(outcome.output) == 64 << 10
    assert outcome.output_bytes > 64 << 10
    assert bytes(seen) == outcome.output


def test_disk_ends_a_command(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    script = "i=0; while :; do i=$((i+1)); head -c 4000000 /dev/zero > d$i; sleep 0.05; done"
    outcome = run(sandboxes, spec(script))
    assert (outcome.exit_code, outcome.stopped) == (None, "disk")


def test_disk_is_measured_after_a_quick_command_too(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    outcome = run(sandboxes, spec("for i in 1 2; do head -c 30000000 /dev/zero > d$i; done"))
    assert (outcome.exit_code, outcome.stopped) == (None, "disk")


def test_processes_end_a_command(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    outcome = run(sandboxes, spec("for i in $(seq 60); do sleep 5 & done; wait", limits=limits(processes=20)))
    assert (outcome.exit_code, outcome.stopped) == (None, "processes")
    assert outcome.seconds < 4


def test_one_file_has_a_size_limit(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec], tree: Path) -> None:
    outcome = run(sandboxes, spec("exec head -c 40000000 /dev/zero > big", limits=limits(disk="1GiB")))
    assert outcome.exit_code == 128 + signal.SIGXFSZ
    assert (tree / "big").stat().st_size == 32 << 20


def test_one_process_has_a_cpu_limit(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    outcome = run(sandboxes, spec("while :; do :; done", limits=limits(cpu_time="1s")))
    assert outcome.exit_code == 128 + signal.SIGXCPU
    assert outcome.cpu_seconds > 0.8


def test_temporary_files_have_a_size(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    script = "for d in /tmp /home/agent /dev/shm; do head -c 20000000 /dev/zero > $d/x; stat -c %s $d/x; done"
    outcome = run(sandboxes, spec(script))
    assert outcome.output.count(b"No space left") == 3
    assert outcome.output.decode().splitlines()[1::2] == [str(16 << 20)] * 3


@needs_cgroup
def test_processor_time_is_shared_out(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    outcome = run(sandboxes, spec("while :; do :; done", timeout=1.5, limits=limits(cpus=0.2)))
    assert 0.05 < outcome.cpu_seconds / outcome.seconds < 0.35


@pytest.mark.skipif(CGROUP, reason="a control group can be made here")
def test_a_control_group_that_is_required_and_missing_is_refused(
    sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]
) -> None:
    with pytest.raises(ControlMissing) as refusal, sandboxes.hold(spec("true", limits=limits(cgroup="required"))):
        pass
    assert refusal.value.mend


# --- doors ---


def test_door_works_in_both_directions(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    program = """
import socket
for port in (3128, 8080):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(b"hello from inside"); print(s.recv(100).decode())
"""
    heard: list[bytes] = []

    def answer(listener: socket.socket, word: bytes) -> None:
        with listener, listener.accept()[0] as connection:
            heard.append(connection.recv(100))
            connection.sendall(word)

    with sandboxes.hold(spec("", argv=python(program), doors=(3128, 8080))) as held:
        assert set(held.doors) == {3128, 8080}
        threads = [threading.Thread(target=answer, args=(held.doors[p], b"door %d" % p)) for p in (3128, 8080)]
        for thread in threads:
            thread.start()
        outcome = held.run()
        for thread in threads:
            thread.join(5)
    assert outcome.output == b"door 3128\ndoor 8080\n"
    assert heard == [b"hello from inside"] * 2


def test_door_is_not_on_the_host(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    with sandboxes.hold(spec("true", doors=(45917,))), socket.socket() as attempt:
        assert attempt.connect_ex(("127.0.0.1", 45917)) != 0


def test_door_that_was_taken_belongs_to_the_taker(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    with sandboxes.hold(spec("true", doors=(3128, 8080))) as held:
        taken = held.doors[3128]
        held.run()
    assert taken.fileno() >= 0
    taken.close()


def test_network_holds_nothing_but_the_doors(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    program = """
import socket
print([name for _, name in socket.if_nameindex()], len(open("/proc/net/route").readlines()))
s = socket.socket(); print(s.connect_ex(("127.0.0.1", 9)) != 0)
"""
    assert run(sandboxes, spec("", argv=python(program))).output == b"['lo'] 1\nTrue\n"


# --- what is refused ---


@pytest.mark.parametrize(
    "changes",
    [
        {"mounts": (USR, Mount(Path("/usr"), "/workspace/tools"))},
        {"mounts": (USR, Mount(Path("/usr"), "/workspace"))},
        {"files": {"/workspace/.cache/x": b""}},
        {"files": {"/workspace/../workspace/x": b""}},
        {"mounts": (USR, Mount(Path("/usr"), "/proc/sys"))},
        {"mounts": (Mount(Path("/usr"), "/"),)},
        {"mounts": (USR, Mount(Path("/no/such/tree"), "/opt/tool"))},
        {"files": {"etc/passwd": b""}},
        {"run": "../../escape"},
        {"run": "a.b"},
        {"argv": ()},
        {"argv": ("a\0b",)},
        {"environment": {"A=B": "c"}},
        {"doors": (0,)},
        {"doors": (80, 80)},
        {"cwd": "workspace"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_cannot_be_confined_is_refused(
    sandboxes: Sandboxes, spec: Callable[..., SandboxSpec], changes: dict[str, Any]
) -> None:
    with pytest.raises(ControlMissing) as refusal, sandboxes.hold(spec("true", **changes)):
        pass
    assert refusal.value.mend


def test_workspace_that_is_a_link_is_refused(
    sandboxes: Sandboxes, spec: Callable[..., SandboxSpec], tree: Path, state: Path
) -> None:
    (state / "link").symlink_to(tree)
    with pytest.raises(ControlMissing), sandboxes.hold(spec("true", workspace=Workspace(state / "link"))):
        pass


# --- users ---


@needs_root
def test_runs_have_users_of_their_own(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    with (
        sandboxes.hold(spec("id -u", workspace=None)) as one,
        sandboxes.hold(spec("id -u", workspace=None, run="run-2")) as two,
        sandboxes.hold(spec("id -u", workspace=None)) as same,
    ):
        users = [held.run().output for held in (one, two, same)]
    assert users[0] == users[2] != users[1]
    assert b"0\n" not in users


@needs_root
def test_tree_of_another_run_is_refused(sandboxes: Sandboxes, spec: Callable[..., SandboxSpec]) -> None:
    with (
        sandboxes.hold(spec("true")),
        pytest.raises(ControlMissing, match="belongs to user"),
        sandboxes.hold(spec("true", run="run-2")),
    ):
        pass


@needs_root
def test_users_run_out_and_idle_ones_are_given_on(state: Path, tmp_path: Path) -> None:
    small = BubblewrapSandboxes(state, uid_base=730_000, uid_count=1, leases=tmp_path / "leases")
    spec = SandboxSpec("one", "agent", ("id", "-u"), limits(), 5, mounts=(USR,))
    other = SandboxSpec("two", "agent", ("id", "-u"), limits(), 5, mounts=(USR,))
    with small.hold(spec), pytest.raises(ControlMissing, match="no user is free"), small.hold(other):
        pass
    with small.hold(other) as held:
        assert held.run().output == b"730000\n"


@needs_root
def test_a_resumed_worker_gets_the_same_user(state: Path, tmp_path: Path) -> None:
    spec = SandboxSpec("one", "agent", ("id", "-u"), limits(), 5, mounts=(USR,))
    source = (
        "import sys; from pathlib import Path\n"
        "from ringfence.adapters.sandboxes.bubblewrap.uids import Uids\n"
        "uids = Uids(Path(sys.argv[1]), Path(sys.argv[2]), 730_000, 8)\n"
        "print([uids.of(run) for run in ('other', 'one')])\n"
    )
    leases = tmp_path / "leases"
    said = subprocess.run([sys.executable, "-c", source, state, leases], capture_output=True, check=True).stdout
    with BubblewrapSandboxes(state, uid_base=730_000, uid_count=8, leases=leases).hold(spec) as held:
        assert f"[730000, {held.run().output.decode().strip()}]\n" == said.decode()


def test_owning_a_tree_never_follows_a_link(sandboxes: Sandboxes, state: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    tree = state / "fresh"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "link").symlink_to(outside)
    (tree / "deep" / "file-link").symlink_to(outside / "file")
    (tree / "deep" / "er" / "file").write_text("x")
    sandboxes.own("run-1", tree)
    owners = {path.lstat().st_uid for path in [tree, *tree.rglob("*")]}
    assert owners == {(tree / "deep" / "er" / "file").stat().st_uid}
    assert (os.geteuid() in owners) == (not ROOT)
    assert {outside.stat().st_uid, (outside / "file").stat().st_uid} == {os.geteuid()}


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


def test_tools_of_these_tests_are_there() -> None:
    assert shutil.which("python3", path="/usr/bin:/usr/local/bin"), "the tests run python3 of /usr inside sandboxes"
