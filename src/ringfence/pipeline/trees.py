"""Untrusted trees on the host's disk, handled by descriptor: whatever is in them, no link is followed.

Nobody works in a tree any more when this is done to it: its sandboxes are dead.
"""

import ctypes
import fcntl
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringfence.domain.errors import RunStopped

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: As deep as the watch of a sandbox's disk goes, with some room.
_DEEPEST = 160
_FICLONE = 0x40049409  # ioctl: let two files share their blocks, where the filesystem can


@dataclass(frozen=True, slots=True)
class Seen:
    """One name of a tree: what it is, and the descriptor of the directory that it is in."""

    path: str  # from the top of the tree
    name: str
    directory: int
    state: os.stat_result


def walk(top: Path, *, into: Callable[[str], bool] = lambda _path: True, unlock: bool = False) -> Iterator[Seen]:
    """Every name below a directory, a directory before what is in it, which is looked into when `into` says so.

    `unlock` gives owners every right to their directories on the way, and takes set-group-id and the like away.
    Errors: `RunStopped` for a tree that is too deep, `OSError` when `top` is no directory.
    """
    directory = os.open(top, _DIRECTORY)
    try:
        yield from _walk(directory, "", 0, into, unlock)
    finally:
        os.close(directory)


def _walk(directory: int, prefix: str, depth: int, into: Callable[[str], bool], unlock: bool) -> Iterator[Seen]:
    if depth > _DEEPEST:
        raise RunStopped("tree_too_deep", f"a tree is more than {_DEEPEST} levels deep", where=prefix[:200])
    with os.scandir(directory) as entries:
        found = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
    for name, state in found:
        path = prefix + name
        yield Seen(path, name, directory, state)
        if stat.S_ISDIR(state.st_mode) and into(path):
            deeper = open_unlocked(name, directory) if unlock else os.open(name, _DIRECTORY, dir_fd=directory)
            try:
                yield from _walk(deeper, f"{path}/", depth + 1, into, unlock)
            finally:
                os.close(deeper)


def copy_beside(source: Path, target: Path) -> None:
    """Copy what is in one tree into another that lacks it: what is there stays, and hides what lies below it.

    Blocks are shared where the filesystem can. Owners are the worker's; times and modes come along.
    """
    onto = {"": os.open(target, _DIRECTORY)}
    skipped: set[str] = set()
    try:
        for seen in walk(source, into=lambda path: path not in skipped):
            above = seen.path.rpartition("/")[0]
            for done in [path for path in onto if path and path != above and not above.startswith(f"{path}/")]:
                os.close(onto.pop(done))
            if not stat.S_ISDIR(seen.state.st_mode):
                with suppress(FileExistsError):
                    copy_one(seen, onto[above], seen.name)
            elif (made := _directory_beside(seen, onto[above])) is not None:
                onto[seen.path] = made
            else:
                skipped.add(seen.path)
    finally:
        for descriptor in onto.values():
            os.close(descriptor)


def _directory_beside(seen: Seen, onto: int) -> int | None:
    with suppress(FileExistsError):
        os.mkdir(seen.name, seen.state.st_mode & 0o777 | stat.S_IRWXU, dir_fd=onto)
    try:
        return os.open(seen.name, _DIRECTORY, dir_fd=onto)
    except OSError:  # a file or a link is there
        return None


def copy_one(seen: Seen, onto: int, name: str) -> None:
    """Copy a file or a link into a directory under a name that is not there. Errors: `FileExistsError`."""
    if stat.S_ISLNK(seen.state.st_mode):
        os.symlink(os.readlink(seen.name, dir_fd=seen.directory), name, dir_fd=onto)
        return
    source = os.open(seen.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=seen.directory)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(name, flags, 0o600, dir_fd=onto)
        try:
            _copy_content(source, target)
            os.fchmod(target, stat.S_IMODE(seen.state.st_mode) & 0o777)
            # Programs compare times: compiled Python files name that of their source.
            os.utime(target, ns=(seen.state.st_atime_ns, seen.state.st_mtime_ns))
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_content(source: int, target: int) -> None:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        while os.copy_file_range(source, target, 1 << 24):
            pass


def make_durable(path: Path) -> None:
    """Have all that was written to the filesystem of a path on its disk."""
    descriptor = os.open(path, _DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), f"syncfs {path}")
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> int:
    """Remove an untrusted tree, whatever its modes and its depth, without following anything; the bytes of its files.

    Directories are lifted to the top one by one and removed there, so that a tree that is deeper than a path
    can be long, or than this process may recurse or open, is taken away like any other.
    """
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return 0
    top = open_unlocked(str(path), None)
    try:
        with os.scandir(top) as entries:
            taken = frozenset(entry.name for entry in entries)
        lifted = (free for free in map("lifted-{}".format, itertools.count()) if free not in taken)
        waiting, removed = _empty(top, top, lifted)
        while waiting:
            name = waiting.pop()
            directory = open_unlocked(name, top)
            try:
                deeper, size = _empty(directory, top, lifted)
            finally:
                os.close(directory)
            os.rmdir(name, dir_fd=top)
            waiting += deeper
            removed += size
    finally:
        os.close(top)
    path.rmdir()
    return removed


def _empty(directory: int, top: int, names: Iterator[str]) -> tuple[list[str], int]:
    """Unlink what is in a directory and lift its directories to the top; what they are called there, and the bytes."""
    waiting, removed = [], 0
    with os.scandir(directory) as entries:
        found = list(entries)
    for entry in found:
        if not entry.is_dir(follow_symlinks=False):
            removed += entry.stat(follow_symlinks=False).st_size
            os.unlink(entry.name, dir_fd=directory)
        elif directory == top:
            waiting.append(entry.name)
        else:
            # Moving a directory writes in it (its `..`), so its owner must be allowed to.
            os.close(open_unlocked(entry.name, directory))
            waiting.append(next(names))
            os.rename(entry.name, waiting[-1], src_dir_fd=directory, dst_dir_fd=top)
    return waiting, removed


def open_unlocked(name: str, directory: int | None) -> int:
    """Open a directory to read, never a link, after giving its owner every right to it."""
    place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        mode = stat.S_IMODE(os.fstat(place).st_mode)
        if mode & stat.S_IRWXU != stat.S_IRWXU or mode & ~0o777:
            Path(f"/proc/self/fd/{place}").chmod(mode & 0o777 | stat.S_IRWXU)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)
