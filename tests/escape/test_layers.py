"""Group C: poisoning what set-up left, from a sandbox, by a patch, or on the worker's disk.

Numbers from C40 on are our own: the catalogue has no entry for what is kept between runs.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from caging import EPILOGUE, PRELUDE, RUN, Cage

from ringfence.domain.errors import ControlMissing
from ringfence.pipeline.layers import Layer, Shelf, Unfit
from ringfence.pipeline.trees import copy_beside, remove_tree
from ringfence.ports.sandbox import Workspace

KEY = "sha256:" + "1" * 64
MOST = 1 << 20


@dataclass
class Kept:
    """A layer on a shelf, with what it held when it was sealed."""

    shelf: Shelf
    place: Path
    layer: Layer

    def found(self) -> Layer | Unfit:
        return self.shelf.find(KEY, newer_than=0.0)

    @property
    def tool(self) -> Path:
        return self.layer.tree / ".deps" / "tool"


@pytest.fixture
def kept(cage: Cage) -> Iterator[Kept]:
    room = cage.state / "setup"
    (room / ".deps").mkdir(parents=True)
    (room / ".deps" / "tool").write_text("#!/bin/sh\necho honest\n")
    (room / ".deps" / "tool").chmod(0o755)
    (room / ".deps" / "secret").write_text(cage.canary)
    (room / ".deps" / "secret").chmod(0o600)
    (room / ".deps" / "outside").symlink_to(cage.canary_file)
    place = cage.state / "layers" / "acme"
    layer, left_out = Shelf(place).keep(KEY, room, frozenset({"value.txt"}), most=MOST, made=1.0)
    assert left_out == 0
    yield Kept(Shelf(place), place, layer)


def given(cage: Cage, kept: Kept, name: str, *, copied: bool = False) -> Workspace:
    """A room with the layer in it, as this host makes one: over it, or with a copy of it."""
    room = cage.state / name
    if cage.sandboxes.stacks and not copied:
        return Workspace(room, lower=(kept.layer.tree,))
    room.mkdir(mode=0o755)
    copy_beside(kept.layer.tree, room)
    cage.sandboxes.own(RUN, room)
    return Workspace(room)


def untouched(kept: Kept, before: dict[str, str]) -> None:
    assert contents(kept.layer.tree) == before
    found = kept.found()
    assert isinstance(found, Layer), found
    assert found.content == kept.layer.content


def contents(tree: Path) -> dict[str, str]:
    return {
        str(path.relative_to(tree)): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(tree.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


WRITES = """
import fcntl, mmap, shutil
deed = lambda name, do: print("did", name) if attempt_quietly(do) else print("blocked", name, flush=True)
def attempt_quietly(do):
    try:
        do(); return True
    except (OSError, ValueError, AttributeError, subprocess.SubprocessError):
        return False
tool = "/workspace/.deps/tool"
print("saw", open(tool).read().split()[-1])
deed("append", lambda: open(tool, "a").write("echo poisoned\\n"))
deed("truncate", lambda: os.truncate(tool, 0))
deed("chmod", lambda: os.chmod(tool, 0o4777))
deed("hard link", lambda: os.link(tool, "/workspace/link"))
deed("write by the link", lambda: open("/workspace/link", "a").write("echo poisoned\\n"))
deed("rename over", lambda: os.replace("/workspace/link", tool))
deed("rename the folder", lambda: os.rename("/workspace/.deps", "/workspace/moved"))
deed("write there", lambda: open("/workspace/moved/tool", "w").write("poisoned"))
deed("remove", lambda: shutil.rmtree("/workspace/moved"))
deed("remake", lambda: os.makedirs("/workspace/.deps/new"))
deed("attributes", lambda: os.setxattr("/workspace/.deps", "trusted.overlay.opaque", b"y"))
deed("redirect", lambda: os.setxattr("/workspace/.deps", "trusted.overlay.redirect", b"/../../.."))
deed("whiteout", lambda: os.mknod("/workspace/whiteout", 0o20000, os.makedev(0, 0)))
"""


@pytest.mark.parametrize("copied", [False, True], ids=["as this host does it", "copied"])
def test_c40_writing_what_set_up_left_changes_only_one_s_own(cage: Cage, kept: Kept, copied: bool) -> None:
    """Everything that an owner may do to a file, and marks of the filesystem that lays trees over each other."""
    before = contents(kept.layer.tree)
    (kept.layer.tree / ".deps" / "secret").read_bytes()
    done = run(cage, kept, "first", WRITES, copied=copied)
    assert "saw honest" in done
    assert "did append" in done
    assert "blocked attributes" in done
    assert "blocked redirect" in done
    untouched(kept, before)
    assert "saw honest" in run(cage, kept, "second", WRITES, copied=copied), "and the next one sees nothing of it"
    untouched(kept, before)


def run(cage: Cage, kept: Kept, name: str, program: str, *, copied: bool = False) -> str:
    argv = ("/usr/bin/env", "python3", "-I", "-S", "-c", PRELUDE + program + EPILOGUE)
    with cage.sandboxes.hold(cage.spec(*argv, workspace=given(cage, kept, name, copied=copied))) as held:
        outcome = held.run()
    text = outcome.output.decode()
    assert text.endswith("DONE\n"), text
    assert outcome.processes_left == 0
    return text


def test_c40_the_lower_tree_is_nowhere_to_be_written(cage: Cage, kept: Kept) -> None:
    """Ways beside the workspace: the process table's views, mounts, and handles."""
    before = contents(kept.layer.tree)
    text = run(
        cage,
        kept,
        "room",
        f"""
host = {str(kept.tool)!r}
for way in (host, "/proc/1/root" + host, "/proc/self/root" + host, "/mnt/2/.deps/tool", "/mnt/2.1/.deps/tool",
            "/proc/1/root/mnt/2.1/.deps/tool", "/proc/1/cwd/mnt/2.1/.deps/tool", "/oldroot" + host):
    attempt("write " + way, lambda: open(way, "a").write("poisoned"))
attempt("remount", lambda: checked(libc.mount(b"none", b"/workspace", b"", 0x20, b"")))
attempt("unmount", lambda: checked(libc.umount2(b"/workspace", 2)))
attempt("overlay of one's own", lambda: checked(libc.mount(b"o", b"/tmp", b"overlay", 0, b"lowerdir=/workspace:/usr")))
attempt("namespace", lambda: checked(libc.unshare(0x10020000)))
handle = ctypes.create_string_buffer(bytes([128, 0, 0, 0]) + bytes(132))
where = ctypes.c_int()
name = b"/workspace/.deps/tool"
attempt("handle", lambda: (checked(libc.name_to_handle_at(-100, name, handle, ctypes.byref(where), 0)),
                           checked(libc.open_by_handle_at(3, handle, 2))))
for pid in [name for name in os.listdir("/proc") if name.isdigit()]:
    for fd in (os.listdir(f"/proc/{{pid}}/fd") if os.access(f"/proc/{{pid}}/fd", os.R_OK) else ()):
        attempt("descriptor", lambda: open(f"/proc/{{pid}}/fd/{{fd}}/.deps/tool", "a"))
print("mounts", [line for line in open("/proc/self/mountinfo") if {str(cage.state / "layers")!r} in line])
""",
    )
    assert [line for line in text.splitlines() if line.startswith("GOT")] == []
    assert "mounts []" in text
    untouched(kept, before)


def test_c40_another_repository_s_sandbox_has_no_way_to_a_layer(cage: Cage, kept: Kept) -> None:
    """A sandbox that was not given it: neither by its path nor by a link in its own tree."""
    secret = kept.layer.tree / ".deps" / "secret"
    cage.attack(f"""
os.symlink({str(kept.place)!r}, "way")
for path in ({str(secret)!r}, "way/{KEY[7:]}/tree/.deps/secret", {str(kept.place)!r}, "/proc/1/root" + {str(secret)!r}):
    attempt(path, lambda: os.listdir(path) if os.path.isdir(path) else open(path).read())
    attempt(path, lambda: open(path).read())
""")
    for path in (kept.place, kept.layer.tree.parent):
        assert path.stat().st_mode & 0o077 == 0, "the worker's user alone may enter it"


def appended(kept: Kept) -> None:
    with kept.tool.open("a") as handle:
        handle.write("echo poisoned\n")


def same_size_and_time(kept: Kept) -> None:
    state = kept.tool.stat()
    kept.tool.write_text(kept.tool.read_text().replace("honest", "hostil"))
    os.utime(kept.tool, ns=(state.st_atime_ns, state.st_mtime_ns))


def another_inode(kept: Kept) -> None:
    text = kept.tool.read_text()
    kept.tool.unlink()
    kept.tool.write_text(text)
    kept.tool.chmod(0o755)


def added(kept: Kept) -> None:
    (kept.layer.tree / "sitecustomize.py").write_text("evil")


def removed(kept: Kept) -> None:
    kept.tool.unlink()


def linked_elsewhere(kept: Kept) -> None:
    os.link(kept.tool, kept.place.parent / "another-name")


def set_user_id(kept: Kept) -> None:
    kept.tool.chmod(0o4755)


def replaced_by_a_link(kept: Kept) -> None:
    whole = kept.layer.tree.parent
    whole.rename(whole.with_name("elsewhere"))
    whole.symlink_to("elsewhere")


def tree_replaced_by_a_link(kept: Kept) -> None:
    kept.layer.tree.rename(kept.layer.tree.parent / "was")
    kept.layer.tree.symlink_to("was")


def listing_forged(kept: Kept) -> None:
    listing = kept.layer.tree.parent / "contents"
    listing.write_bytes(listing.read_bytes().replace(b".deps/tool", b".deps/tooI"))


def times_forged(kept: Kept) -> None:
    """The file is changed, and so is what the listing says of it."""
    before = str(kept.tool.stat().st_ctime_ns).encode()
    same_size_and_time(kept)
    listing = kept.layer.tree.parent / "marks"
    listing.write_bytes(listing.read_bytes().replace(before, str(kept.tool.stat().st_ctime_ns).encode()))


def half_made(kept: Kept) -> None:
    (kept.layer.tree.parent / "layer.json").unlink()


def cut_off(kept: Kept) -> None:
    about = kept.layer.tree.parent / "layer.json"
    about.write_text(about.read_text()[:20])


def under_another_key(kept: Kept) -> None:
    about = kept.layer.tree.parent / "layer.json"
    about.write_text(about.read_text().replace("1" * 64, "2" * 64))


def open_to_others(kept: Kept) -> None:
    kept.layer.tree.parent.chmod(0o777)


POISONS = (
    appended, same_size_and_time, another_inode, added, removed, linked_elsewhere, set_user_id, replaced_by_a_link,
    tree_replaced_by_a_link, listing_forged, times_forged, half_made, cut_off, under_another_key, open_to_others,
)  # fmt: skip


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.__name__)
def test_c41_a_layer_that_is_not_as_it_was_sealed_is_found_and_never_used(
    kept: Kept, poison: Callable[[Kept], None]
) -> None:
    """Whoever could write the worker's disk: what is changed, half made or a link is put aside."""
    assert isinstance(kept.found(), Layer), "as it was sealed it is used"
    poison(kept)
    found = kept.found()
    assert isinstance(found, Unfit)
    assert found.why not in ("", "there was none")
    assert kept.found() == Unfit("there was none"), "it is out of the way of the next one"
    kept.shelf.sweep(newer_than=0.0)
    assert not [path for path in kept.place.iterdir() if path.name.startswith(".")]


def test_c41_what_a_crash_left_half_made_is_no_layer(cage: Cage, kept: Kept) -> None:
    """It has another name until it is whole, and is swept."""
    place = cage.state / "layers" / "other"
    fresh = place / ".new-0123456789abcdef"
    (fresh / "tree" / ".deps").mkdir(parents=True)
    shelf = Shelf(place)
    assert shelf.find(KEY, newer_than=0.0) == Unfit("there was none")
    shelf.sweep(newer_than=0.0)
    assert list(place.iterdir()) == []


def test_c41_two_runs_that_make_the_same_layer_keep_the_first(cage: Cage, kept: Kept) -> None:
    """The second one finds it there; nobody gets half of each."""
    room = cage.state / "setup-2"
    (room / ".deps").mkdir(parents=True)
    (room / ".deps" / "tool").write_text("another")
    layer, _left_out = kept.shelf.keep(KEY, room, frozenset(), most=MOST, made=2.0)
    assert layer.content == kept.layer.content
    assert [path.name for path in kept.place.iterdir()] == [KEY[7:]]


def test_c42_links_of_a_layer_are_followed_by_nobody_on_the_host(cage: Cage, kept: Kept) -> None:
    """Keeping, verifying and copying take a link as a link, and write through none that a commit has."""
    outside = cage.state / "outside"
    outside.mkdir()
    room = cage.state / "copy"
    room.mkdir()
    (room / ".deps").symlink_to(outside)
    copy_beside(kept.layer.tree, room)
    assert list(outside.iterdir()) == [], "what the commit has as a link is not written through"
    (room / ".deps").unlink()
    copy_beside(kept.layer.tree, room)
    assert str((room / ".deps" / "outside").readlink()) == str(cage.canary_file)
    assert (room / ".deps" / "tool").stat().st_mode & 0o7777 == 0o755
    assert cage.canary.encode() not in kept.layer.contents


def test_c42_odd_files_and_privileges_do_not_come_into_a_layer(cage: Cage) -> None:
    """Pipes and sockets, set-user-id, directories that nobody may enter, and further names of a file outside."""
    room = cage.state / "odd"
    (room / "closed").mkdir(parents=True)
    (room / "closed" / "file").write_text("x")
    (room / "tracked.txt").write_text("a commit's")
    os.link(room / "tracked.txt", room / "name")
    os.mkfifo(room / "pipe")
    (room / "tool").write_text("x")
    (room / "tool").chmod(0o6755)
    (room / "closed").chmod(0o2000)
    (room / ".git").mkdir()
    (room / ".git" / "config").write_text("[core]")
    layer, left_out = Shelf(cage.state / "layers" / "odd").keep(
        KEY, room, frozenset({"tracked.txt"}), most=MOST, made=1.0
    )
    assert left_out == 1
    assert sorted(contents(layer.tree)) == ["closed/file", "name", "tool"]
    assert (layer.tree / "tool").stat().st_mode & 0o7000 == 0
    assert (layer.tree / "name").stat().st_nlink == 1
    assert (layer.tree / "closed").stat().st_mode & 0o7777 == 0o700
    (room / "tracked.txt").unlink()
    assert isinstance(Shelf(cage.state / "layers" / "odd").find(KEY, newer_than=0.0), Layer)


def test_c42_a_link_or_a_stranger_s_tree_is_no_lower_tree(cage: Cage, kept: Kept) -> None:
    """The adapter opens what lies beneath by descriptor, and takes only the worker's and the run's own."""
    if not cage.sandboxes.stacks:
        pytest.skip("this worker copies layers: there are no lower trees")
    link = cage.state / "link"
    link.symlink_to(kept.layer.tree)
    strange = cage.state / "strange"
    strange.mkdir()
    os.chown(strange, 4321, 4321)
    planted = cage.state / "planted"
    planted.mkdir()
    (planted / "upper").symlink_to(kept.layer.tree)
    for workspace in (
        Workspace(cage.state / "a", lower=(link,)),
        Workspace(cage.state / "b", lower=(strange,)),
        Workspace(planted, lower=(kept.layer.tree,)),
    ):
        with pytest.raises(ControlMissing), cage.sandboxes.hold(cage.spec("/usr/bin/true", workspace=workspace)):
            pass
    untouched(kept, contents(kept.layer.tree))


def test_c27_one_room_s_residue_is_not_in_the_next(cage: Cage, kept: Kept) -> None:
    """Two rooms over the same trees, at the same time and one after the other."""
    run(cage, kept, "one", "open('/workspace/residue', 'w').write('x'); os.remove('/workspace/.deps/tool')")
    text = run(cage, kept, "two", "print('left', os.path.exists('/workspace/residue'), os.listdir('/workspace/.deps'))")
    assert "left False" in text
    assert "'tool'" in text
    remove_tree(cage.state / "one")
    untouched(kept, contents(kept.layer.tree))


def test_c28_no_mount_is_left_on_the_host(cage: Cage, kept: Kept) -> None:
    """What is laid over each other is so in the sandbox's own namespace, also while it runs."""
    argv = ("/usr/bin/sleep", "20")
    with cage.sandboxes.hold(cage.spec(*argv, workspace=given(cage, kept, "held"))):
        assert str(cage.state) not in Path("/proc/self/mountinfo").read_text()
        assert " overlay " not in "".join(
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "/mnt" in line
        )
