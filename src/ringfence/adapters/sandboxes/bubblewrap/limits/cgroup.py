"""One control group for each sandbox: memory, processes and processor time bounded by the kernel.

Version 1 (a directory in each controller's hierarchy) and version 2 (one directory below a delegated one).
Groups are made beneath the worker's own, so that the worker's limits hold too. The version 2 path follows the
kernel's documentation and was never run: no host with its controllers was at hand. Where neither can be
had, `find` answers None and the caller decides; nothing is loosened here.
"""

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ringfence.domain.errors import ControlMissing
from ringfence.domain.limits import SandboxLimits

_ROOT = Path("/sys/fs/cgroup")
_WANTED = ("memory", "pids", "cpu", "cpuacct", "freezer")
_REQUIRED = ("memory", "pids", "cpu")
_PERIOD = 100_000  # microseconds over which processor time is shared out
_FREEZERS = (("freezer.state", "FROZEN"), ("cgroup.freeze", "1"))
_OWN_PROCESSES = 2  # bubblewrap's two, inside the group beside the command's


@dataclass(frozen=True, slots=True)
class Group:
    """The group of one sandbox. `places` are its directories by controller; version 2 has one under all names."""

    version: Literal["v1", "v2"]
    places: Mapping[str, Path]

    def add(self, pid: int) -> None:
        """Move a process in."""
        for place in self._directories():
            (place / "cgroup.procs").write_text(str(pid))

    def processes(self) -> list[int]:
        """Who is in it and alive. The dead stay listed while nobody waits for them, as in many containers."""
        listed = [int(line) for line in _read(self.places["pids"] / "cgroup.procs").split()]
        return [pid for pid in listed if not _dead(pid)]

    def out_of_memory(self) -> bool:
        """Whether the kernel has ended something of it for lack of memory."""
        name = "memory.oom_control" if self.version == "v1" else "memory.events"
        return _counter(self.places["memory"] / name, "oom_kill") > 0

    def forks_refused(self) -> bool:
        """Whether it has wanted more processes than it may have."""
        return _counter(self.places["pids"] / "pids.events", "max") > 0

    def peak_memory(self) -> int:
        """The most memory it ever had, in bytes."""
        name = "memory.max_usage_in_bytes" if self.version == "v1" else "memory.peak"
        return int(_read(self.places["memory"] / name) or 0)

    def cpu_seconds(self) -> float | None:
        """Processor time of all that ever ran in it; None where nobody counted."""
        if self.version == "v2":
            return _counter(self.places["cpu"] / "cpu.stat", "usage_usec") / 1e6
        if "cpuacct" not in self.places:
            return None
        return int(_read(self.places["cpuacct"] / "cpuacct.usage") or 0) / 1e9

    def kill(self) -> None:
        """SIGKILL to everybody in it, once; the caller repeats until it is empty."""
        if self.version == "v2":
            with suppress(OSError):
                (self.places["pids"] / "cgroup.kill").write_text("1")
                return
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.thaw()  # what is frozen by version 1 does not even die

    def freeze(self) -> bool:
        """Stop everybody in it where they are; False when this group cannot. The caller looks whether it is done."""
        written = False
        for place in self._directories():
            for name, word in _FREEZERS:
                if (place / name).exists():
                    with suppress(OSError):
                        (place / name).write_text(word)
                        written = True
        return written

    def frozen(self) -> bool:
        """Whether nobody in it runs any more, by the word of the kernel."""
        for place in self._directories():
            if _read(place / "freezer.state").strip() == "FROZEN" or _counter(place / "cgroup.events", "frozen"):
                return True
        return False

    def thaw(self) -> None:
        """Let everybody in it go on."""
        for place in self._directories():
            for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                if (place / name).exists():
                    with suppress(OSError):
                        (place / name).write_text(word)

    def remove(self, seconds: float = 5.0) -> None:
        """Remove it, waiting for the last processes to be gone. Errors: `ControlMissing`."""
        deadline = time.monotonic() + seconds
        for place in self._directories():
            while True:
                try:
                    place.rmdir()
                except FileNotFoundError:
                    break
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise ControlMissing(
                            f"a sandbox's control group cannot be removed: {error}",
                            where=str(place),
                            mend="look at its cgroup.procs; a process in uninterruptible sleep holds it",
                        ) from error
                    self.kill()
                    time.sleep(0.002)
                else:
                    break

    def _directories(self) -> list[Path]:
        return list(dict.fromkeys(self.places.values()))


@dataclass(frozen=True, slots=True)
class Groups:
    """Where groups can be made on this host."""

    version: Literal["v1", "v2"]
    parents: Mapping[str, Path]

    def make(self, name: str, limits: SandboxLimits) -> Group:
        """A group with the limits set. Errors: OSError."""
        group = Group(self.version, {controller: parent / name for controller, parent in self.parents.items()})
        try:
            for place in dict.fromkeys(group.places.values()):
                place.mkdir()
            for controller, file, value in _limits(self.version, limits):
                (group.places[controller] / file).write_text(value)
            _limit_swap(group, limits)
        except OSError:
            group.remove()
            raise
        return group


def find() -> Groups | None:
    """Where this process may make groups, or None. Tries by making one."""
    for groups in (_version1(), _version2()):
        if groups is not None and _can_make(groups):
            return groups
    return None


def leftovers(prefix: str) -> list[Group]:
    """Groups whose name begins with `prefix`, wherever an earlier worker made them."""
    places: dict[str, dict[str, Path]] = {}
    for top, directories, _ in os.walk(_ROOT):
        for name in directories:
            if name.startswith(prefix):
                path = Path(top) / name
                places.setdefault(name, {})[str(path)] = path
    # What is needed of a leftover is its processes, its freezer and its removal: every directory has the first, one the
    # second.
    return [Group("v1", {"pids": path}) for paths in places.values() for path in paths.values()]


def _limits(version: str, limits: SandboxLimits) -> list[tuple[str, str, str]]:
    quota = max(1000, int(limits.cpus * _PERIOD))
    most = limits.processes + _OWN_PROCESSES
    if version == "v1":
        return [
            ("memory", "memory.limit_in_bytes", str(limits.memory)),
            ("pids", "pids.max", str(most)),
            ("cpu", "cpu.cfs_period_us", str(_PERIOD)),
            ("cpu", "cpu.cfs_quota_us", str(quota)),
        ]
    return [
        ("memory", "memory.max", str(limits.memory)),
        ("memory", "memory.oom.group", "1"),
        ("pids", "pids.max", str(most)),
        ("cpu", "cpu.max", f"{quota} {_PERIOD}"),
    ]


def _limit_swap(group: Group, limits: SandboxLimits) -> None:
    # Swap accounting is a kernel option; without it there is no file and nothing to set.
    name, value = ("memory.memsw.limit_in_bytes", limits.memory) if group.version == "v1" else ("memory.swap.max", 0)
    place = group.places["memory"] / name
    if place.exists():
        place.write_text(str(value))


def _can_make(groups: Groups) -> bool:
    name = f"ringfence.trial.{os.getpid()}.{time.monotonic_ns()}"
    made: list[Path] = []
    try:
        for parent in dict.fromkeys(groups.parents.values()):
            (parent / name).mkdir()
            made.append(parent / name)
        return all((groups.parents[c] / name / _probe_file(groups.version, c)).exists() for c in _REQUIRED)
    except OSError:
        return False
    finally:
        for place in made:
            place.rmdir()


def _probe_file(version: str, controller: str) -> str:
    first = {"memory": "memory.limit_in_bytes", "pids": "pids.max", "cpu": "cpu.cfs_quota_us"}
    second = {"memory": "memory.max", "pids": "pids.max", "cpu": "cpu.max"}
    return (first if version == "v1" else second)[controller]


def _version1() -> Groups | None:
    mounts: dict[str, Path] = {}
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        fields, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        if kind == "cgroup":
            for controller in options.split(","):
                mounts[controller] = Path(fields.split(" ")[4])
    parents: dict[str, Path] = {}
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, own = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in _WANTED and controller in mounts:
                beneath = mounts[controller] / own.lstrip("/")
                parents[controller] = beneath if beneath.is_dir() else mounts[controller]
    if "freezer" in parents and not os.access(parents["freezer"], os.W_OK):
        del parents["freezer"]  # a quarantine then stops by signals; limits do not depend on it
    return Groups("v1", parents) if all(name in parents for name in _REQUIRED) else None


def _version2() -> Groups | None:
    if not (_ROOT / "cgroup.controllers").exists():
        return None
    own = next((line[3:] for line in _read(Path("/proc/self/cgroup")).splitlines() if line.startswith("0::")), "/")
    base = _ROOT / own.lstrip("/")
    if base.name == "ringfence.worker":
        base = base.parent
    try:
        _delegate(base)
    except OSError:
        return None
    return Groups("v2", dict.fromkeys(_WANTED, base))


def _delegate(base: Path) -> None:
    """Let groups beneath `base` have limits. A group with processes of its own may not: they move to a leaf."""
    enabled = set(_read(base / "cgroup.subtree_control").split())
    if set(_REQUIRED) <= enabled:
        return
    if base != _ROOT:
        leaf = base / "ringfence.worker"
        leaf.mkdir(exist_ok=True)
        for pid in _read(base / "cgroup.procs").split():
            with suppress(ProcessLookupError):
                (leaf / "cgroup.procs").write_text(pid)
    (base / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _REQUIRED))


def _dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""


def _counter(path: Path, name: str) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
