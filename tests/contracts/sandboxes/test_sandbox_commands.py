"""The contract of ports/sandbox.py, with real sandboxes: a command, and what it may see."""

import os
import shutil
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sandboxing import USR, Spec, limits, run

from ringfence.ports.sandbox import Mount, Sandboxes, Workspace


def test_command_runs_and_what_it_said_comes_back(sandboxes: Sandboxes, spec: Spec) -> None:
    outcome = run(sandboxes, spec("echo out; echo err >&2; exit 3"))
    assert (outcome.exit_code, outcome.stopped, outcome.output) == (3, None, b"out\nerr\n")
    assert outcome.output_bytes == 8
    assert 0 < outcome.seconds < 10
    assert outcome.peak_memory > 0


def test_output_is_seen_as_it_comes(sandboxes: Sandboxes, spec: Spec) -> None:
    pieces: list[tuple[float, bytes]] = []
    run(sandboxes, spec("echo one; sleep 0.4; echo two"), output=lambda b: pieces.append((time.monotonic(), b)))
    assert [piece for _, piece in pieces] == [b"one\n", b"two\n"]
    assert pieces[1][0] - pieces[0][0] > 0.2


def test_command_that_is_not_there_is_a_failure_with_words(sandboxes: Sandboxes, spec: Spec) -> None:
    outcome = run(sandboxes, spec("", argv=("no-such-program",)))
    assert outcome.exit_code not in (0, None)
    assert b"no-such-program" in outcome.output


def test_death_by_a_signal_is_told_as_a_shell_does(sandboxes: Sandboxes, spec: Spec) -> None:
    assert run(sandboxes, spec("kill -SEGV $$")).exit_code == 128 + signal.SIGSEGV


def test_workspace_is_written_and_read_by_the_worker(sandboxes: Sandboxes, spec: Spec, tree: Path) -> None:
    (tree / "before").write_text("given\n")
    outcome = run(sandboxes, spec("pwd; cat before; echo made > after"))
    assert outcome.output == b"/workspace\ngiven\n"
    assert (tree / "after").read_text() == "made\n"


def test_workspace_can_be_read_only(sandboxes: Sandboxes, spec: Spec, tree: Path) -> None:
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
    sandboxes: Sandboxes, spec: Spec, state: Path, stacked: Workspace
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
    sandboxes: Sandboxes, spec: Spec, stacked: Workspace
) -> None:
    small = limits(disk="32MiB", file="32MiB")
    assert run(sandboxes, spec("wc -c < large", workspace=stacked, limits=small)).output == b"50331648\n"
    script = "for n in 1 2 3; do head -c 16777216 /dev/zero > f$n; done; sleep 20"
    assert run(sandboxes, spec(script, workspace=stacked, limits=small)).stopped == "disk"


def test_mounts_and_files_are_there_and_read_only(sandboxes: Sandboxes, spec: Spec, state: Path) -> None:
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


def test_only_what_is_named_is_visible(sandboxes: Sandboxes, spec: Spec) -> None:
    outcome = run(sandboxes, spec("ls -A / /home /home/agent /tmp | sort -u"))
    names = set(outcome.output.decode().split())
    assert names <= {
        "/:", "/home:", "/home/agent:", "/tmp:", "bin", "sbin", "lib", "lib64", "usr", "etc", "dev", "proc", "home",
        "tmp", "workspace", "agent",
    }  # fmt: skip


def test_environment_is_built_from_empty(sandboxes: Sandboxes, spec: Spec) -> None:
    outcome = run(sandboxes, spec("", argv=("/usr/bin/env",), environment={"LANG": "C.UTF-8", "PATH": "/usr/bin"}))
    assert sorted(outcome.output.decode().splitlines()) == [
        "HOME=/home/agent", "LANG=C.UTF-8", "PATH=/usr/bin", "PWD=/workspace",
    ]  # fmt: skip


def test_without_a_workspace_a_command_starts_at_home(sandboxes: Sandboxes, spec: Spec) -> None:
    outcome = run(sandboxes, spec("pwd; echo x > y && cat y", workspace=None))
    assert outcome.output == b"/home/agent\nx\n"


def test_streams_can_be_handed_through(sandboxes: Sandboxes, spec: Spec) -> None:
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


def test_tools_of_these_tests_are_there() -> None:
    assert shutil.which("python3", path="/usr/bin:/usr/local/bin"), "the tests run python3 of /usr inside sandboxes"
