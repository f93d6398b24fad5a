"""Opens the tree that a command works in, and what lies beneath it: by descriptor, never through a link.

A tree beneath that belongs to the worker is shown to a run as its own: the kernel maps the owner (an idmapped mount),
so that nothing on disk has to change hands, and nobody but the worker may open it by its path.
"""

import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ringfence.adapters.sandboxes.bubblewrap.stage import Stacked, stage
from ringfence.domain.errors import ControlMissing
from ringfence.ports.sandbox import Workspace

_TREE = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A workspace by descriptor: what is to be shown inside, and where on the host it is written."""

    shown: int | Stacked
    written: int


def open_workspace(workspace: Workspace, uid: int, unshare: str, stack: ExitStack) -> Opened:
    """Open it for a run's user. Errors: `ControlMissing` for a link in its place, or another owner."""
    if workspace.lower:
        return _open_stacked(workspace, uid, unshare, stack)
    fd = _open(workspace.path, stack)
    if workspace.writable:
        _require_owner(fd, uid, workspace.path)
    return Opened(fd, fd)


def can_stack(state: Path, uid: int, unshare: str) -> bool:
    """Whether this host can show trees over each other, by doing it once in the worker's state directory."""
    if os.geteuid() != 0:
        return False
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stack-", dir=state) as found, ExitStack() as stack:
        place = Path(found)
        (place / "lower").mkdir()
        try:
            opened = open_workspace(Workspace(place / "room", lower=(place / "lower",)), uid, unshare, stack)
            os.close(stage([opened.shown]))
        except ControlMissing:
            return False
    return True


def _open_stacked(workspace: Workspace, uid: int, unshare: str, stack: ExitStack) -> Opened:
    if os.geteuid() != 0:
        raise ControlMissing(
            "only a worker that is root shows trees over each other",
            where=str(workspace.path),
            mend="copy them into one tree",
        )
    for path, owner in ((workspace.path, 0), (workspace.written, uid), (workspace.path / "work", 0)):
        if not os.path.lexists(path):
            path.mkdir(parents=True, mode=0o755 if owner else 0o700)
            os.chown(path, owner, owner, follow_symlinks=False)
    place = _open(workspace.path, stack)
    _require_owner(place, 0, workspace.path)
    written = _open(workspace.written, stack)
    _require_owner(written, uid, workspace.written)
    lower = tuple(_open(path, stack) for path in workspace.lower)
    owners = []
    for fd, path in zip(lower, workspace.lower, strict=True):
        own = os.fstat(fd).st_uid == uid
        if not own:
            _require_owner(fd, 0, path)
        owners.append(None if own else _owners_namespace(uid, unshare, stack))
    return Opened(Stacked(place, lower, tuple(owners)), written)


def _open(path: Path, stack: ExitStack) -> int:
    try:
        fd = os.open(path, _TREE)
    except OSError as error:
        raise ControlMissing(
            f"the workspace cannot be opened: {error.strerror}",
            where=str(path),
            mend="it must be a directory, not a link",
        ) from error
    stack.callback(os.close, fd)
    return fd


def _require_owner(fd: int, uid: int, path: Path) -> None:
    owner = os.fstat(fd).st_uid
    if owner != uid:
        raise ControlMissing(
            f"the workspace belongs to user {owner}, not to {uid}",
            where=str(path),
            mend="give it to the run with `own` first",
        )


def _owners_namespace(uid: int, unshare: str, stack: ExitStack) -> int:
    """A user namespace in which root is `uid` and nobody else is anybody. It lives by its descriptor."""
    mine = os.stat("/proc/self/ns/user").st_ino  # noqa: PTH116
    with subprocess.Popen(
        [unshare, "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={}
    ) as holder:
        try:
            space = Path(f"/proc/{holder.pid}")
            ends = time.monotonic() + _SECONDS
            while (space / "ns/user").stat().st_ino == mine:
                if time.monotonic() > ends:
                    raise TimeoutError("no user namespace was made")
                time.sleep(0.0005)
            for name in ("uid_map", "gid_map"):
                (space / name).write_text(f"0 {uid} 1\n")
            fd = os.open(space / "ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ControlMissing(
                f"a user namespace for the owners of a tree cannot be made: {error}",
                where="sandbox",
                mend="allow root to make user namespaces",
            ) from error
        finally:
            # `cat` ends with its input.
            if holder.stdin is not None:
                holder.stdin.close()
    stack.callback(os.close, fd)
    return fd
