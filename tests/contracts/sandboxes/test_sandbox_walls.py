"""The contract of ports/sandbox.py, with real sandboxes: doors, what is refused, and users."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sandboxing import ROOT, USR, Spec, limits, needs_root, python, run

from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.domain.errors import ControlMissing
from ringfence.ports.sandbox import Mount, Sandboxes, SandboxSpec, Workspace

# --- doors ---


def test_door_works_in_both_directions(sandboxes: Sandboxes, spec: Spec) -> None:
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


def test_door_is_not_on_the_host(sandboxes: Sandboxes, spec: Spec) -> None:
    with sandboxes.hold(spec("true", doors=(45917,))), socket.socket() as attempt:
        assert attempt.connect_ex(("127.0.0.1", 45917)) != 0


def test_door_that_was_taken_belongs_to_the_taker(sandboxes: Sandboxes, spec: Spec) -> None:
    with sandboxes.hold(spec("true", doors=(3128, 8080))) as held:
        taken = held.doors[3128]
        held.run()
    assert taken.fileno() >= 0
    taken.close()


def test_network_holds_nothing_but_the_doors(sandboxes: Sandboxes, spec: Spec) -> None:
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
def test_what_cannot_be_confined_is_refused(sandboxes: Sandboxes, spec: Spec, changes: dict[str, Any]) -> None:
    with pytest.raises(ControlMissing) as refusal, sandboxes.hold(spec("true", **changes)):
        pass
    assert refusal.value.mend


def test_workspace_that_is_a_link_is_refused(sandboxes: Sandboxes, spec: Spec, tree: Path, state: Path) -> None:
    (state / "link").symlink_to(tree)
    with pytest.raises(ControlMissing), sandboxes.hold(spec("true", workspace=Workspace(state / "link"))):
        pass


# --- users ---


@needs_root
def test_runs_have_users_of_their_own(sandboxes: Sandboxes, spec: Spec) -> None:
    with (
        sandboxes.hold(spec("id -u", workspace=None)) as one,
        sandboxes.hold(spec("id -u", workspace=None, run="run-2")) as two,
        sandboxes.hold(spec("id -u", workspace=None)) as same,
    ):
        users = [held.run().output for held in (one, two, same)]
    assert users[0] == users[2] != users[1]
    assert b"0\n" not in users


@needs_root
def test_tree_of_another_run_is_refused(sandboxes: Sandboxes, spec: Spec) -> None:
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
