"""The embedded content store: one file a blob, named by the digest of what it holds.

Nothing is ever changed in place; a blob is visible whole or not at all, also after a power cut. It keeps
no index and counts no references: what a run needs stands in that run's log, and a sweep is told what to keep.
"""

import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from ringfence.domain.errors import EvidenceBroken

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Without NONBLOCK, opening a planted fifo would hang for ever.
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HEX = frozenset("0123456789abcdef")
_MEND = "look at the disk (space, permissions, who else touches the directory)"


class DirectoryArtifacts:
    """Redacted blobs under `root` (0700, files 0600), shared by threads and processes."""

    def __init__(self, root: Path, *, redact: Callable[[bytes], bytes]) -> None:
        self._root = root
        self._redact = redact
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as failure:
            raise EvidenceBroken(f"no content store: {failure.strerror}", where=str(root), mend=_MEND) from failure

    def put(self, content: bytes) -> str:
        """Redact and store a blob durably; the digest is that of the redacted bytes."""
        clean = self._redact(content)
        name = hashlib.sha256(clean).hexdigest()
        try:
            with self._shard(name, create=True) as folder:
                fcntl.flock(folder, fcntl.LOCK_SH)  # a sweep does not take away what is being put
                if _read(folder, name) == clean:
                    os.utime(name, dir_fd=folder, follow_symlinks=False)  # it was put just now, as a sweep sees it
                else:
                    _write(folder, name, clean)  # also mends a blob that was damaged
        except OSError as failure:
            raise EvidenceBroken(
                f"a blob cannot be stored: {failure.strerror}", where=str(self._root), mend=_MEND
            ) from failure
        return f"sha256:{name}"

    def get(self, digest: str) -> bytes:
        """The blob, checked against its digest."""
        algorithm, _, name = digest.partition(":")
        if algorithm != "sha256" or len(name) != 64 or not _HEX.issuperset(name):
            raise EvidenceBroken(f"{digest[:80]!r} is no digest", where=str(self._root))
        try:
            with self._shard(name, create=False) as folder:
                content = _read(folder, name)
        except OSError:
            content = None
        if content is None:
            raise EvidenceBroken(f"the content store does not have {digest}", where=str(self._root))
        if hashlib.sha256(content).hexdigest() != name:
            raise EvidenceBroken(f"the blob {digest} was changed", where=str(self._root))
        return content

    def sweep(self, named: Set[str], before: float) -> int:
        """Remove blobs that are not named and were last put before a time, and what a killed process left of one."""
        try:
            shards = [path for path in self._root.iterdir() if len(path.name) == 2 and _HEX.issuperset(path.name)]
            return sum(self._swept(shard, named, before) for shard in shards)
        except OSError as failure:
            raise EvidenceBroken(
                f"a blob cannot be removed: {failure.strerror}", where=str(self._root), mend=_MEND
            ) from failure

    def _swept(self, shard: Path, named: Set[str], before: float) -> int:
        removed = 0
        with self._shard(shard.name, create=False) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)
            for name in [path.name for path in shard.iterdir() if f"sha256:{path.name}" not in named]:
                if os.lstat(name, dir_fd=folder).st_mtime < before:
                    os.unlink(name, dir_fd=folder)
                    removed += 1
        return removed

    @contextmanager
    def _shard(self, name: str, *, create: bool) -> Iterator[int]:
        root = os.open(self._root, _DIRECTORY)
        try:
            if create:
                with suppress(FileExistsError):
                    os.mkdir(name[:2], 0o700, dir_fd=root)
                    os.fsync(root)
            folder = os.open(name[:2], _DIRECTORY, dir_fd=root)
        finally:
            os.close(root)
        try:
            yield folder
        finally:
            os.close(folder)


def _read(folder: int, name: str) -> bytes | None:
    """The bytes of a regular file; None when there is none (a link, a fifo or a device is none)."""
    try:
        opened = os.open(name, _OLD_FILE, dir_fd=folder)
    except OSError:
        return None
    with os.fdopen(opened, "rb") as file:
        return file.read() if stat.S_ISREG(os.fstat(opened).st_mode) else None


def _write(folder: int, name: str, content: bytes) -> None:
    temporary = f".{name}.{os.getpid()}.{threading.get_native_id()}"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=folder)  # left by a killed process that had our number
    try:
        with os.fdopen(os.open(temporary, _NEW_FILE, 0o600, dir_fd=folder), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)
