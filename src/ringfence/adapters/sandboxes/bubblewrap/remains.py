"""What there is of runs on this host, found without their worker: by marks, namespaces and control groups.

So that a kill switch and a freeze work when the worker hangs, and reclaiming when it is dead. It holds nothing and
asks /proc and the control groups anew each time.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringfence.adapters.sandboxes.bubblewrap.limits import cgroup, processes
from ringfence.domain.errors import ControlMissing
from ringfence.ports.sandbox import Ended, Frozen, Seen

_PAUSE = 0.005
_DEAD = frozenset("ZX")
_STOPPED = frozenset("TtZX")


@dataclass(frozen=True, slots=True)
class Remains:
    """What is to be looked for: marks that `wanted` says yes to, and control groups whose name `named` says yes to."""

    wanted: Callable[[str], bool]
    prefix: str
    named: Callable[[str], bool]

    def end(self, seconds: float) -> Ended:
        """Kill all of it, again and again until nothing is left; how much there was and how long it took."""
        began, seen, gone = time.monotonic(), set[int](), 0.0
        spaces: set[int] = set()
        while True:
            groups = self._groups()
            spaces |= self._spaces()
            left = self._pids(groups, spaces)
            seen |= left
            if not left or time.monotonic() - began > seconds:
                break
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for group in groups:
                group.thaw()
            gone = time.monotonic() - began
            time.sleep(_PAUSE)
        if not left:
            gone = time.monotonic() - began if seen else 0.0
            for group in groups:
                # The worker may be busy removing the same.
                with suppress(ControlMissing):
                    group.remove(0.5)
        return Ended(len(seen), len(left), gone)

    def freeze(self, seconds: float) -> Frozen:
        """Stop all of it where it is: by control group, and by signals what is in none that can."""
        deadline = time.monotonic() + seconds
        groups = self._groups()
        by_group = [group for group in groups if group.freeze()]
        spaces = self._spaces()
        while True:
            waiting = [group for group in by_group if not group.frozen()]
            covered = {pid for group in by_group for pid in group.processes()}
            # Inside, one process can wake another: those left awake are stopped until there are none.
            awake = [pid for pid in self._pids(groups, spaces) - covered if not _stopped(pid)]
            for pid in awake:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            if not awake and not waiting:
                how = "control group" if covered else "signals"
                return Frozen(tuple(sorted(self._pids(groups, spaces))), how)
            if time.monotonic() > deadline:
                raise ControlMissing(
                    f"{len(awake)} processes could not be stopped, {len(waiting)} control groups are not frozen",
                    where=", ".join(map(str, awake[:10])),
                    mend="`ringfence halt --run` ends the run instead; what is stopped stays so",
                )
            time.sleep(_PAUSE)

    def seen(self) -> tuple[Seen, ...]:
        """The processes there are, as the host sees them."""
        found = self._pids(self._groups(), self._spaces())
        return tuple(one for one in map(_look, sorted(found)) if one is not None)

    def _groups(self) -> list[cgroup.Group]:
        return [group for group in cgroup.leftovers(self.prefix) if self.named(group.places["pids"].name)]

    def _spaces(self) -> set[int]:
        found = {processes.namespace_of(pid) for pid in processes.marked(self.wanted)}
        # bubblewrap outside, and git, are in the worker's own; that one is everybody's.
        return {inode for inode in found if inode is not None} - {os.stat("/proc/self/ns/pid").st_ino}  # noqa: PTH116

    def _pids(self, groups: list[cgroup.Group], spaces: set[int]) -> set[int]:
        inside = processes.in_namespace(*spaces)
        found = {*processes.marked(self.wanted), *inside, *(pid for group in groups for pid in group.processes())}
        # A hung worker does not reap: a zombie executes nothing, holds nothing, and cannot be killed again.
        return {pid for pid in found if _state(pid) not in _DEAD}


def _stopped(pid: int) -> bool:
    state = _state(pid)
    # A parent in vfork waits in the kernel for its child, which was stopped before it could go on. The signal that
    # waits for such a process stops it before its next instruction.
    return state in _STOPPED or (state == "D" and _stop_waits(pid))


def _stop_waits(pid: int) -> bool:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines():
            if line.startswith("ShdPnd:"):
                return bool(int(line.split()[1], 16) & 1 << (signal.SIGSTOP - 1))
    return False


def _state(pid: int) -> str:
    """The kernel's letter for how a process is; X, dead, for one that is gone."""
    try:
        return _fields(pid)[0]
    except (OSError, IndexError):
        return "X"


def _fields(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the command's name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode("ascii", "replace").split()


def _look(pid: int) -> Seen | None:
    try:
        fields = _fields(pid)
        folder = Path(f"/proc/{pid}")
        return Seen(
            pid=pid,
            parent=int(fields[1]),
            state=fields[0],
            user=folder.stat().st_uid,
            threads=int(fields[17]),
            memory=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
            name=(folder / "comm").read_text("utf-8", "replace").strip(),
            argv=tuple(word.decode("utf-8", "replace") for word in (folder / "cmdline").read_bytes().split(b"\0")[:-1]),
        )
    except (OSError, IndexError):
        return None
