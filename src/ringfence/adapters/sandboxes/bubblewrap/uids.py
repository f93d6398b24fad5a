"""Users that sandboxes run as: one for each run when the worker is root, the worker's own otherwise.

A lease is a locked file in a directory of the host, so that two workers never share a user and a dead
worker's lease frees itself. Which user a run had is also written below the worker's state: a run that is
resumed finds its trees owned by the user that it gets again. Accounts are not made: a number is enough.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ringfence.domain.errors import ControlMissing


@dataclass(slots=True)
class _Lease:
    uid: int
    lock: int
    holds: int = 0
    used: float = 0.0


class Uids:
    """Leases of this process. Safe to use from several threads."""

    def __init__(self, state: Path, leases: Path, first: int, count: int) -> None:
        self._state = state / "uids"
        self._leases = leases
        self._pool = range(first, first + count)
        self._guard = threading.Lock()
        self._held: dict[str, _Lease] = {}

    @property
    def first(self) -> int:
        """The first of the pool, for a trial that starts nothing."""
        return self._pool[0]

    @contextmanager
    def use(self, run: str) -> Iterator[int]:
        """The user of a run, kept while a sandbox of it exists."""
        if os.geteuid() != 0:
            yield os.geteuid()
            return
        with self._guard:
            lease = self._lease(run)
            lease.holds += 1
        try:
            yield lease.uid
        finally:
            with self._guard:
                lease.holds -= 1
                lease.used = time.monotonic()

    def of(self, run: str) -> int:
        """The user of a run, without a sandbox."""
        with self.use(run) as uid:
            return uid

    def release(self, run: str) -> None:
        """The run is over: its user may serve another."""
        if os.geteuid() != 0:
            return
        with self._guard:
            lease = self._held.get(run)
            if lease is None or lease.holds == 0:
                with suppress(FileNotFoundError):
                    (self._state / run).unlink()
            if lease is not None and lease.holds == 0:
                self._drop(run)

    def _lease(self, run: str) -> _Lease:
        lease = self._held.get(run)
        if lease is None:
            self._leases.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
            lease = self._take(run) or self._take_from_idle(run)
            if lease is None:
                raise ControlMissing(
                    f"no user is free for run {run}: all {len(self._pool)} of the pool are in use",
                    where=str(self._leases),
                    mend="raise the number of sandbox users, or run fewer runs at a time",
                )
            self._held[run] = lease
            (self._state / run).write_text(f"{lease.uid}\n")
        lease.used = time.monotonic()
        return lease

    def _take(self, run: str) -> _Lease | None:
        busy = _uids_in_use()
        for uid in self._preferred_first(run):
            fd = os.open(self._leases / str(uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                continue
            if uid in busy:  # something of a dead worker still runs under it
                os.close(fd)
                continue
            return _Lease(uid, fd)
        return None

    def _take_from_idle(self, run: str) -> _Lease | None:
        idle = [(lease.used, name) for name, lease in self._held.items() if lease.holds == 0]
        if not idle:
            return None
        self._drop(min(idle)[1])
        return self._take(run)

    def _drop(self, run: str) -> None:
        os.close(self._held.pop(run).lock)

    def _preferred_first(self, run: str) -> list[int]:
        try:
            before = int((self._state / run).read_text())
        except (FileNotFoundError, ValueError):
            return list(self._pool)
        rest = [uid for uid in self._pool if uid != before]
        return [before, *rest] if before in self._pool else rest


def _uids_in_use() -> set[int]:
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                found.add(entry.stat().st_uid)
    return found


def give(path: Path, uid: int) -> None:
    """Make `uid` the owner of a tree. Links are changed themselves and never followed, whatever the tree holds."""
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(root, uid, uid)
        waiting = [os.dup(root)]
        while waiting:
            directory = waiting.pop()
            try:
                _give_entries(directory, uid, waiting)
            finally:
                os.close(directory)
    finally:
        os.close(root)


def _give_entries(directory: int, uid: int, waiting: list[int]) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            os.chown(entry.name, uid, uid, dir_fd=directory, follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                waiting.append(os.open(entry.name, flags, dir_fd=directory))
