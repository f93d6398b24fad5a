"""Rooms: what an agent left is taken in as it is, whatever was done to times, modes, names and git's own directory."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitsite import GitSite, git_site
from ringfence.domain.errors import RunStopped
from ringfence.domain.events import CheckoutRemoved, CommandRan, SandboxDestroyed
from ringfence.pipeline.ports import Places
from ringfence.pipeline.rooms import Room, remove_tree
from ringfence.pipeline.stages.cleanup import sweep

FILES = {"value.txt": "1\n", "run.sh": "exit 0\n", "keep/deep/er.txt": "kept\n", ".gitignore": "ignored/\n*.log\n"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GitSite]:
    with git_site(tmp_path / "site", FILES) as made:
        yield made


@pytest.fixture
def room(site: GitSite) -> Room:
    return site.rooms.make("agent-1", site.source)


def just_after_a_second_began() -> None:
    """Leave room for a checkout and a change within one second."""
    time.sleep(1.02 - time.time() % 1)


def test_a_change_of_the_same_size_in_the_same_second_is_collected_seconds_later(site: GitSite) -> None:
    for _ in range(5):
        just_after_a_second_began()
        room = site.rooms.make("agent-1", site.source)
        changed = room.path / "value.txt"
        with changed.open("r+") as handle:
            handle.write("2")
        if int(changed.stat().st_mtime) == room.index_time:
            break
    else:
        pytest.fail("no change fell into the second of the checkout")
    time.sleep(2.1)
    found = site.collect(room)
    assert {path: site.content(change) for path, change in found.items()} == {"value.txt": b"2\n"}


def test_a_forged_time_hides_no_change(site: GitSite, room: Room) -> None:
    time.sleep(1.1)
    site.inside(room, "cp -p value.txt /tmp/before; echo 2 > value.txt; touch -r /tmp/before value.txt; stat value.txt")
    assert site.content(site.collect(room)["value.txt"]) == b"2\n"


def test_times_far_from_now_hide_no_change(site: GitSite, room: Room) -> None:
    site.inside(room, "echo 2 > value.txt; touch -d @0 value.txt; echo 'exit 1' > run.sh; touch -d @4000000000 run.sh")
    assert set(site.collect(room)) == {"value.txt", "run.sh"}


def test_files_that_were_not_touched_are_not_changed(site: GitSite, room: Room) -> None:
    site.inside(room, "touch value.txt; cat run.sh > copy && mv copy run.sh")
    assert site.collect(room) == {}


def test_ignored_files_are_left_behind(site: GitSite, room: Room) -> None:
    site.inside(room, "mkdir ignored; echo x > ignored/x; echo x > a.log; echo x > kept.txt")
    assert set(site.collect(room)) == {"kept.txt"}


def test_tracked_files_are_taken_even_when_the_agent_ignores_them(site: GitSite, room: Room) -> None:
    site.inside(room, "echo '*' > .gitignore; echo '*' > .git/info/exclude; echo 2 > value.txt; echo x > new.txt")
    assert set(site.collect(room)) == {".gitignore", "value.txt"}


def test_flags_of_the_agent_s_index_hide_no_change(site: GitSite, room: Room) -> None:
    site.inside(
        room,
        "git update-index --assume-unchanged value.txt; git update-index --skip-worktree run.sh;"
        "echo 2 > value.txt; echo 'exit 1' > run.sh; git config core.fileMode false; chmod +x value.txt",
    )
    found = site.collect(room)
    assert {path: change.new_mode for path, change in found.items()} == {"value.txt": "100755", "run.sh": "100644"}


@pytest.mark.parametrize(
    "deed",
    [
        "find .git -mindepth 1 -delete",
        "rm -rf .git",
        "rm -rf .git; echo nonsense > .git",
        "rm -rf .git; echo 'gitdir: /nowhere' > .git",
        "rm -rf .git; ln -s /etc .git",
        "rm -rf .git; ln -s . .git",
        "rm -rf .git; mkfifo .git",
        "rm .git/index; mkfifo .git/index",
        "rm .git/HEAD; ln -s /etc/passwd .git/HEAD",
        "echo '[core' > .git/config",
        "mv .git elsewhere && rm -rf elsewhere && git init -q && git commit -q --allow-empty -m x",
    ],
)
def test_whatever_became_of_the_agent_s_git_directory_does_not_matter(site: GitSite, room: Room, deed: str) -> None:
    site.inside(room, f"export GIT_AUTHOR_NAME=a EMAIL=a@example.internal; {deed}; echo 2 > value.txt")
    assert set(site.collect(room)) == {"value.txt"}


def test_a_git_directory_that_cannot_be_read_does_not_matter(site: GitSite, room: Room) -> None:
    # From outside: the disk watch of a worker that is not root ends a command that leaves such a directory.
    site.inside(room, "echo 2 > value.txt")
    (room.path / ".git").chmod(0)
    assert set(site.collect(room)) == {"value.txt"}


def test_modes_links_and_deletions_come_through(site: GitSite, room: Room) -> None:
    site.inside(room, "chmod +x run.sh; ln -s keep/deep there; rm -r keep; rm value.txt; ln -s run.sh value.txt")
    found = site.collect(room)
    assert {path: (c.status, c.old_mode, c.new_mode, c.link) for path, c in found.items()} == {
        "run.sh": ("M", "100644", "100755", None),
        "there": ("A", "000000", "120000", "keep/deep"),
        "keep/deep/er.txt": ("D", "100644", "000000", None),
        "value.txt": ("T", "100644", "120000", "run.sh"),
    }


def test_odd_names_come_through_byte_by_byte(site: GitSite, room: Room) -> None:
    names = [
        b"new\nline",
        b"tab\t",
        b"-rf",
        b"--",
        b" ",
        b"\xff\xfe",
        b'"quoted"',
        b"$(touch x)",
        b"*",
        b":(top)",
        b"\\",
    ]
    for name in names:
        path = room.path / os.fsdecode(name)
        path.write_bytes(name)
        os.chown(path, *room.path.stat()[4:6])
    found = site.collect(room)
    assert {os.fsencode(path): site.content(change) for path, change in found.items()} == {name: name for name in names}


def test_a_directory_that_cannot_be_read_is_named_and_ends_the_run(site: GitSite, room: Room) -> None:
    site.inside(room, "mkdir closed; echo x > closed/x")
    (room.path / "closed").chmod(0)
    with pytest.raises(RunStopped, match="could not be taken in") as stop:
        site.collect(room)
    assert stop.value.reason == "collect_failed"
    assert "closed" in stop.value.where
    assert site.last(CommandRan).role == "collect"
    assert site.last(SandboxDestroyed).processes_left == 0


def test_a_file_that_cannot_be_read_is_named_and_ends_the_run(site: GitSite, room: Room) -> None:
    site.inside(room, "echo 2 > value.txt; chmod 000 value.txt")
    with pytest.raises(RunStopped) as stop:
        site.collect(room)
    assert (stop.value.reason, "value.txt" in stop.value.where) == ("collect_failed", True)


@pytest.mark.parametrize("name", [".gitignore", ".gitattributes", ".gitmodules", "keep/.gitattributes"])
def test_a_pipe_that_git_would_read_for_ever_ends_the_run_at_once(site: GitSite, room: Room, name: str) -> None:
    site.inside(room, f"rm -f {name}; mkfifo {name}; echo 2 > value.txt")
    began = time.monotonic()
    with pytest.raises(RunStopped) as stop:
        site.collect(room)
    assert (stop.value.reason, name in stop.value.where) == ("collect_failed", True)
    assert time.monotonic() - began < 30


def test_other_pipes_and_sockets_are_left_behind(site: GitSite, room: Room) -> None:
    listen = "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('socket')\""
    site.inside(room, f"mkfifo pipe; {listen}; echo 2 > value.txt")
    assert set(site.collect(room)) == {"value.txt"}


def test_a_refused_object_ends_the_collection_at_once_although_much_was_still_to_come(
    site: GitSite, room: Room
) -> None:
    """git inside takes a directory that some file systems call `.git`; git outside does not, and hangs up early."""
    lines = "import os; os.mkdir('.g\\u200cit'); open('.g\\u200cit/config', 'w').write('x')"
    site.inside(room, f'python3 -c "{lines}"; head -c 12000000 /dev/urandom > big')
    began = time.monotonic()
    with pytest.raises(RunStopped) as stop:
        site.collect(room)
    assert (stop.value.reason, "hasDotgit" in stop.value.where) == ("collect_failed", True)
    assert time.monotonic() - began < 60, "the sandbox was left waiting for a reader"
    assert site.objects.resolve(site.intake, "refs/quarantine/1") is None


def test_a_stopped_run_ends_a_collection(site: GitSite, room: Room) -> None:
    site.inside(room, "for part in 1 2 3; do head -c 15000000 /dev/urandom > big$part; done")
    site.stop.append("cancelled")
    with pytest.raises(RunStopped) as stop:
        site.collect(room)
    assert stop.value.reason == "cancelled"
    assert site.last(SandboxDestroyed).processes_left == 0


def test_a_room_is_made_afresh_whatever_was_left_under_its_name(site: GitSite, room: Room) -> None:
    site.inside(room, "echo 2 > value.txt; ln -s / root")
    (room.path / "keep").chmod(0)
    again = site.rooms.make("agent-1", site.source)
    assert (again.path / "value.txt").read_text() == "1\n"
    assert site.collect(again) == {}


def test_trees_are_removed_whatever_their_depth_modes_and_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "kept").mkdir(parents=True)
    (outside / "kept" / "file").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "closed" / "inner").mkdir(parents=True)
    (tree / "closed" / "inner" / "five").write_text("12345")
    (tree / "out").symlink_to(outside)
    (tree / "closed" / "out").symlink_to(outside / "kept" / "file")
    os.link(outside / "kept" / "file", tree / "hard")
    os.mkfifo(tree / "pipe")
    for name in ("lifted-0", "lifted-1"):  # names that the removal itself would choose
        (tree / name / "x").mkdir(parents=True)
    dig(tree, 1200)
    before = (outside.stat().st_mode, (outside / "kept" / "file").stat().st_mtime_ns)
    (tree / "closed" / "inner").chmod(0)
    (tree / "closed").chmod(0)
    tree.chmod(0)
    assert remove_tree(tree) >= 5
    assert not os.path.lexists(tree)
    assert (outside.stat().st_mode, (outside / "kept" / "file").stat().st_mtime_ns) == before
    assert (outside / "kept" / "file").read_text() == "kept"


def dig(tree: Path, depth: int) -> None:
    """A chain of directories, deeper than Python may recurse; made from within, as its path would be too long."""
    lines = f"import os\nfor _ in range({depth}):\n    os.mkdir('deeper'); os.chdir('deeper')\nopen('end', 'w').close()"
    subprocess.run(["/usr/bin/python3", "-c", lines], cwd=tree, check=True, timeout=60)


def test_a_link_in_the_place_of_a_tree_is_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("kept")
    (tmp_path / "tree").symlink_to("outside")
    assert remove_tree(tmp_path / "tree") == 0
    assert (tmp_path / "outside" / "kept").read_text() == "kept"
    assert remove_tree(tmp_path / "tree") == 0, "what is gone is gone"


def test_a_run_whose_tree_is_endlessly_deep_is_swept_like_any_other(site: GitSite, room: Room) -> None:
    dig(room.path, 1200)
    places = Places(site.root / "state")
    (places.state / "cancel").mkdir()
    sweep("T-1-r1", places, site.sandboxes, site.log)
    assert list((places.state / "runs").iterdir()) == []
    assert site.last(CheckoutRemoved).bytes > 0
