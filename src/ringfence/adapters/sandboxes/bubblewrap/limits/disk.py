"""A watch of how much a workspace holds, in slices, so that a large tree never delays the end of a command.

The tree is hostile: links are never followed, directories are entered by descriptor, and what cannot be
measured (too deep, not readable) counts as over the limit. It sees names, so a file that is open and has
none is bounded by the file size limit and by what must stay free on the filesystem.
"""

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

_DEEPEST = 128  # each level costs two descriptors of the worker while it is measured
_SLICE = 0.02  # seconds of work in one step
_LEAST_PAUSE = 0.2
_ENTRY = 1024  # bytes that a name costs whatever is in the file, so that empty files count too
_FLOOR = 64 << 20  # bytes that must stay free on the filesystem
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class _Level:
    fd: int
    entries: "os._ScandirIterator[str]"


class DiskWatch:
    """Measures the tree at a descriptor again and again."""

    def __init__(self, root: int, limit: int) -> None:
        self._root = root
        self._limit = limit
        self._walk: Iterator[None] | None = None
        self._total = 0
        self._seen: set[int] = set()
        self._spent = 0.0
        self._next = 0.0

    def over(self) -> bool:
        """Do a slice of work; True when the limit is passed or the tree cannot be measured."""
        now = time.monotonic()
        if self._walk is None:
            if now < self._next:
                return False
            if self._filesystem_full():
                return True
            self._walk, self._spent = self._measure(), 0.0
        done = self._advance(now + _SLICE)
        self._spent += time.monotonic() - now
        if done:
            self._walk = None
            # A tree that takes long to measure is measured less often: at most a tenth of the time.
            self._next = time.monotonic() + max(_LEAST_PAUSE, 10 * self._spent)
        return self._total > self._limit

    def finish(self) -> bool:
        """Measure the whole tree once more, after the command's end."""
        self.close()
        for _ in self._measure():
            if self._total > self._limit:
                break
        return self._total > self._limit

    def close(self) -> None:
        """Forget a measurement in progress."""
        self._walk = None

    def _filesystem_full(self) -> bool:
        state = os.fstatvfs(self._root)
        return state.f_bavail * state.f_frsize < _FLOOR

    def _advance(self, deadline: float) -> bool:
        assert self._walk is not None
        for _ in self._walk:
            if self._total > self._limit:
                return True
            if time.monotonic() > deadline:
                return False
        return True

    def _measure(self) -> Iterator[None]:
        """Depth first, a step for each name; `_total` grows as it goes."""
        self._total, self._seen = 0, set()
        levels: list[_Level] = []
        try:
            self._enter(".", self._root, levels)
            while levels:
                entry = next(levels[-1].entries, None)
                if entry is None:
                    _leave(levels)
                    continue
                if self._count(entry):
                    self._enter(entry.name, levels[-1].fd, levels)
                yield
        finally:
            while levels:
                _leave(levels)

    def _enter(self, name: str, directory: int, levels: list[_Level]) -> None:
        if len(levels) >= _DEEPEST:
            self._total = self._limit + 1
            return
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except OSError as error:
            # Gone or swapped meanwhile is nothing to measure; not readable is hiding something.
            if error.errno not in _GONE:
                self._total = self._limit + 1
            return
        levels.append(_Level(fd, os.scandir(fd)))

    def _count(self, entry: os.DirEntry[str]) -> bool:
        """Add one name, a file with several names once; True for a directory."""
        try:
            state = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return False
        if state.st_nlink > 1 and state.st_ino in self._seen:
            self._total += _ENTRY
        else:
            self._total += max(state.st_blocks * 512, _ENTRY)
        if state.st_nlink > 1:
            self._seen.add(state.st_ino)
        return entry.is_dir(follow_symlinks=False)


def _leave(levels: list[_Level]) -> None:
    level = levels.pop()
    level.entries.close()
    os.close(level.fd)
