"""A held sandbox: lets the command go, captures what it prints, watches its limits and ends all of it.

Whatever the command does, one of the watches or the clock ends it; nothing here waits for the guest's consent.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from ringfence.adapters.sandboxes.bubblewrap.doors import Doors
from ringfence.adapters.sandboxes.bubblewrap.launch import Started
from ringfence.adapters.sandboxes.bubblewrap.limits import processes
from ringfence.adapters.sandboxes.bubblewrap.limits.cgroup import Group
from ringfence.adapters.sandboxes.bubblewrap.limits.disk import DiskWatch
from ringfence.domain.limits import SandboxLimits
from ringfence.ports.sandbox import Outcome, SandboxSpec

_TICK = 0.1  # seconds between two looks at the limits
_ASK = 0.25  # seconds between two questions to `stop`
_GONE_SECONDS = 10.0
_READ = 65536


class Capture:
    """The one pipe that a command prints to: at most `limit` bytes are kept, all are counted."""

    def __init__(self, fd: int, limit: int, see: Callable[[bytes], None] | None) -> None:
        self.fd = fd
        self.kept = bytearray()
        self.seen = 0
        self._limit = limit
        self._see = see

    @property
    def over(self) -> bool:
        """More was printed than may be."""
        return self.seen > self._limit

    def read(self) -> bool:
        """Take what is there; False at the end of the stream."""
        try:
            piece = os.read(self.fd, _READ)
        except BlockingIOError:
            return True
        self.seen += len(piece)
        kept = piece[: self._limit - len(self.kept)]
        self.kept += kept
        if kept and self._see is not None:
            self._see(kept)
        return bool(piece)

    def drain(self) -> None:
        """Take the rest, after the end. What a full pipe holds is little, and nobody writes any more."""
        before = -1
        while self.seen != before:
            before = self.seen
            self.read()


class Watch:
    """The limits that the worker itself looks after. `reason` names the one that was passed."""

    def __init__(self, started: Started, limits: SandboxLimits, *, group: Group | None, disk: DiskWatch | None) -> None:
        self._started = started
        self._limits = limits
        self._group = group
        self._disk = disk
        self._peak = 0
        self._cpu = 0.0

    def reason(self) -> str | None:
        """Look once."""
        passed = self._by_table() if self._group is None else _by_counters(self._group)
        if passed is None and self._disk is not None and self._disk.over():
            return "disk"
        return passed

    def last_reason(self) -> str | None:
        """Look once more after the command's own end: it may have been quicker than the last look."""
        if self._group is not None and (passed := _by_counters(self._group)):
            return passed
        return "disk" if self._disk is not None and self._disk.finish() else None

    @property
    def peak(self) -> int:
        """The most memory, in bytes."""
        used = self._started.used
        alone = used.ru_maxrss * 1024 if used else 0
        return self._group.peak_memory() if self._group else max(self._peak, alone)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the whole tree."""
        counted = self._group.cpu_seconds() if self._group else None
        if counted is not None:
            return counted
        used = self._started.used
        return max(self._cpu, used.ru_utime + used.ru_stime if used else 0.0)

    def _by_table(self) -> str | None:
        usage = processes.usage(self._started.first)
        self._peak = max(self._peak, usage.resident)
        self._cpu = max(self._cpu, usage.cpu_seconds)
        # Processes are counted exactly and first: of many small ones the pages that they share are counted many times.
        if usage.threads > self._limits.processes + 1:  # the first process is bubblewrap's
            return "processes"
        return "memory" if usage.resident > self._limits.memory else None


class Asked:
    """The two questions that the caller answers while a command runs: must it end, and is it kept as it stands."""

    def __init__(self, stop: Callable[[], str | None] | None, paused: Callable[[], bool] | None) -> None:
        self.pausing = False
        self.still = 0.0  # seconds in which it stood still, and which do not count
        self._stop = stop or (lambda: None)
        self._paused = paused or (lambda: False)
        self._last = self._next = 0.0

    def reason(self, now: float) -> str | None:
        """Ask, if it is time to; the reason to end the command."""
        if now < self._next:
            return None
        if self.pausing:
            self.still += now - self._last
        self._last, self._next = now, now + _ASK
        self.pausing = self._paused()
        return None if self.pausing else self._stop()


def _by_counters(group: Group) -> str | None:
    if group.out_of_memory():
        return "memory"
    return "processes" if group.forks_refused() else None


class Held:
    """Implements `HeldSandbox`. `end` may be called at any time and any number of times."""

    def __init__(self, started: Started, spec: SandboxSpec, *, watch: Watch, group: Group | None, doors: Doors) -> None:
        self._started = started
        self._spec = spec
        self._watch = watch
        self._group = group
        self._doors = doors
        self._left: int | None = None

    @property
    def controls(self) -> tuple[str, ...]:
        """What confines it, for the log."""
        uid = os.stat(f"/proc/{self._started.first}").st_uid  # noqa: PTH116 - what is, not what was asked for
        bound = f"cgroup:{self._group.version}" if self._group else "watch:memory,processes"
        return (f"uid:{uid}", "namespaces:all", "no-capabilities", "seccomp", bound, "rlimits", "netns:empty")

    @property
    def doors(self) -> Mapping[int, socket.socket]:
        """The listening sockets; who takes one owns it."""
        return self._doors

    def run(
        self,
        *,
        output: Callable[[bytes], None] | None = None,
        stop: Callable[[], str | None] | None = None,
        paused: Callable[[], bool] | None = None,
    ) -> Outcome:
        """Let the command go and wait for its end, or bring it about."""
        assert self._left is None, "a sandbox runs one command"
        capture = Capture(self._started.output, self._spec.limits.output, output)
        began = time.monotonic()
        self._started.let_go()
        stopped = self._wait(capture, Asked(stop, paused))
        left = self.end()
        seconds = time.monotonic() - began
        capture.drain()
        if stopped is None:
            stopped = self._watch.last_reason()
        if stopped is None and capture.over:
            stopped = "output"
        return Outcome(
            exit_code=None if stopped else _exit_code(self._started.outer.returncode),
            stopped=stopped,
            output=bytes(capture.kept),
            output_bytes=capture.seen,
            seconds=seconds,
            cpu_seconds=self._watch.cpu_seconds,
            peak_memory=self._watch.peak,
            processes_left=left,
        )

    def end(self) -> int:
        """Kill all of it and wait until it is gone; how many processes are left, which is 0 or an incident."""
        if self._left is None:
            self._started.kill()
            if self._group is not None:
                self._group.thaw()  # what is frozen does not die
            self._started.reap(_GONE_SECONDS)
            self._left = self._wait_until_gone()
        return self._left

    def _wait(self, capture: Capture, asked: "Asked") -> str | None:
        began = time.monotonic()
        ended = os.pidfd_open(self._started.outer.pid)
        poller = select.poll()
        poller.register(ended, select.POLLIN)
        poller.register(capture.fd, select.POLLIN)
        look = 0.0
        try:
            while True:
                ready = {fd for fd, _ in poller.poll(_TICK * 1000)}
                if capture.fd in ready and not capture.read():
                    poller.unregister(capture.fd)
                if ended in ready:
                    return None
                now = time.monotonic()
                if reason := asked.reason(now):
                    return reason
                if asked.pausing:
                    self._stand_still()
                    continue
                if reason := self._spent(capture, now - began - asked.still):
                    return reason
                if now >= look:
                    look = now + _TICK
                    if reason := self._watch.reason():
                        return reason
        finally:
            os.close(ended)

    def _spent(self, capture: Capture, seconds: float) -> str | None:
        if capture.over:
            return "output"
        return "timeout" if seconds > self._spec.timeout else None

    def _stand_still(self) -> None:
        """Freeze it, again and again: whoever asked for it may have looked before the command went off."""
        if self._group is not None and self._group.freeze():
            return
        for pid in (self._started.outer.pid, *processes.in_namespace(self._started.namespace)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def _wait_until_gone(self) -> int:
        deadline = time.monotonic() + _GONE_SECONDS
        while True:
            # Nobody leaves a control group; without one the table of all processes is asked.
            group = self._group
            left = group.processes() if group else processes.in_namespace(self._started.namespace)
            if not left or time.monotonic() > deadline:
                return len(left)
            if self._group is not None:
                self._group.kill()
            time.sleep(0.002)


def _exit_code(returned: int | None) -> int | None:
    """As a shell says it: 128 and the signal's number when bubblewrap itself was killed."""
    return returned if returned is None or returned >= 0 else 128 - returned
