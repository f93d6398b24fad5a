"""What a tree of processes is and uses, read from /proc: for counting, for the limits of hosts without cgroups,
and for finding what belongs to a run without asking its worker. It sends no signal.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringfence.domain.marks import MARK

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_SIGN = f"{MARK}=".encode()


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


def in_namespace(*inodes: int) -> list[int]:
    """Live processes whose pid namespace is one of `inodes`."""
    return [pid for pid in _pids() if namespace_of(pid) in inodes] if inodes else []


def marked(wanted: Callable[[str], bool]) -> list[int]:
    """Live processes that were started with a mark in their environment for which `wanted` says yes."""
    found = []
    for pid in _pids():
        with suppress(OSError):
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if variable.startswith(_SIGN) and wanted(variable.removeprefix(_SIGN).decode("ascii", "replace")):
                    found.append(pid)
                    break
    return found


def namespace_of(pid: int) -> int | None:
    """The inode of a process's pid namespace; None when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino
    return None


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
