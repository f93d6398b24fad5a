"""What a tree of processes is and uses, read from /proc: for counting, for the limits of hosts without cgroups,
and for finding what a dead worker left. It sends no signal but through `kill_marked`.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
#: The variable in bubblewrap's own environment by which leftovers of a run are known; the command never has it.
MARK = "RINGFENCE_SANDBOX"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tree uses. Resident memory counts shared pages once for each process that has them."""

    pids: tuple[int, ...]
    threads: int
    resident: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    threads: int
    resident: int
    ticks: int


def usage(root: int) -> Usage:
    """The tree below `root`, with `root` itself."""
    table = _table()
    children: dict[int, list[int]] = {}
    for pid, stat in table.items():
        children.setdefault(stat.parent, []).append(pid)
    pids, waiting = [], [root] if root in table else []
    while waiting:
        pid = waiting.pop()
        pids.append(pid)
        waiting.extend(children.get(pid, ()))
    stats = [table[pid] for pid in pids]
    return Usage(
        tuple(pids),
        sum(stat.threads for stat in stats),
        sum(stat.resident for stat in stats) * _PAGE,
        sum(stat.ticks for stat in stats) / _TICK,
    )


def threads_of(uid: int) -> int:
    """How many threads a user has on this host now."""
    count = 0
    for pid in _pids():
        with suppress(OSError):
            if Path(f"/proc/{pid}").stat().st_uid == uid:
                count += len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208 - only their number is needed
    return count


def in_namespace(inode: int) -> list[int]:
    """Live processes whose pid namespace is `inode`."""
    found = []
    for pid in _pids():
        with suppress(OSError):
            if Path(f"/proc/{pid}/ns/pid").stat().st_ino == inode:
                found.append(pid)
    return found


def kill_marked(mark: str) -> int:
    """SIGKILL to every process that was started with this mark in its environment; how many there were."""
    wanted = f"{MARK}={mark}".encode()
    count = 0
    for pid in _pids():
        with suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)
                count += 1
    return count


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names are enough


def _table() -> dict[int, _Stat]:
    table = {}
    for pid in _pids():
        with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - hundreds of times a second
            # The command's name may hold anything, so fields are counted after its last parenthesis.
            fields = file.read().rpartition(b")")[2].split()
            ticks = sum(map(int, fields[11:15]))
            table[pid] = _Stat(int(fields[1]), int(fields[17]), int(fields[21]), ticks)
    return table
