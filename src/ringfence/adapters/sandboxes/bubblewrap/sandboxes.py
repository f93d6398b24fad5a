"""Sandboxes on this host, made with bubblewrap: the adapter of ports/sandbox.py.

What cannot be confined is refused; nothing here makes a weaker sandbox in silence. Spawning and running
happen in the caller's thread, which must outlive the run: the kernel ends a sandbox with the thread that made it.
"""

import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from ringfence.adapters.sandboxes.bubblewrap import argv, launch, probe
from ringfence.adapters.sandboxes.bubblewrap.doors import Doors, plant
from ringfence.adapters.sandboxes.bubblewrap.held import Held, Watch
from ringfence.adapters.sandboxes.bubblewrap.limits import cgroup
from ringfence.adapters.sandboxes.bubblewrap.limits.disk import DiskWatch
from ringfence.adapters.sandboxes.bubblewrap.prerequisites import Tools, find_tools
from ringfence.adapters.sandboxes.bubblewrap.remains import Remains
from ringfence.adapters.sandboxes.bubblewrap.uids import Uids, give
from ringfence.adapters.sandboxes.bubblewrap.workspaces import can_stack, open_workspace
from ringfence.domain.errors import ControlMissing
from ringfence.domain.marks import run_mark, worker_mark
from ringfence.ports.sandbox import Ended, Finding, Frozen, SandboxSpec, Seen

#: Where the users of a root worker's pool are leased; one place for all workers of a host.
LEASES = Path("/run/ringfence/uids")
_GONE_SECONDS = 10.0


class BubblewrapSandboxes:
    """Makes sandboxes. One for a worker process; its methods may be called from several threads."""

    def __init__(self, state: Path, *, uid_base: int = 720_000, uid_count: int = 64, leases: Path = LEASES) -> None:
        self._state = state
        self._uids = Uids(state, leases, uid_base, uid_count)
        #: Tells this worker's control groups from those of other workers on the host.
        self._worker = worker_mark(str(state.absolute()))

    @property
    def level(self) -> str:
        """What a sandbox of this host is worth, in words."""
        user = "dedicated uid" if os.geteuid() == 0 else "the worker's own uid"
        groups = self._groups
        bound = f"cgroup {groups.version}" if groups else "rlimits and a watch, no cgroup"
        return f"{self._tools.version}, {user}, {bound}, seccomp, empty network"

    @cached_property
    def stacks(self) -> bool:
        """Whether a workspace may have trees beneath it on this host."""
        return can_stack(self._state, self._uids.first, self._tools.unshare)

    @contextmanager
    def hold(self, spec: SandboxSpec, *, stdin: int | None = None, stdout: int | None = None) -> Iterator[Held]:
        """Make a sandbox and hold it; on leaving, all of it is dead and its cgroup is gone."""
        argv.check(spec)
        with ExitStack() as stack:
            uid = stack.enter_context(self._uids.use(spec.run))
            group = self._group(spec, stack)
            opened = open_workspace(spec.workspace, uid, self._tools.unshare, stack) if spec.workspace else None
            how = launch.Start(uid, self._tools, self._mark(spec.run), opened.shown if opened else None, stdin, stdout)
            started = launch.start(spec, how)
            stack.callback(started.close)
            stack.callback(started.reap, 5.0)
            stack.callback(started.kill)
            disk = None
            if opened is not None and spec.workspace and spec.workspace.writable:
                disk = DiskWatch(opened.written, spec.limits.disk)
                stack.callback(disk.close)
            doors = Doors()
            stack.callback(doors.close)
            watch = Watch(started, spec.limits, group=group, disk=disk)
            held = Held(started, spec, watch=watch, group=group, doors=doors)
            stack.callback(held.end)
            if group is not None:
                for pid in (started.outer.pid, started.first):
                    group.add(pid)
            doors.open(plant(started.first, spec.doors))
            yield held

    def own(self, run: str, path: Path) -> None:
        """Give a fresh tree to the user of this run. A worker that is an ordinary user owns it already."""
        argv.check_run(run)
        if os.geteuid() == 0:
            give(path, self._uids.of(run))

    def reclaim(self, run: str) -> int:
        """End what any worker with this state left of the run, and let its user go; how much was found."""
        argv.check_run(run)
        ended = self._remains((run,)).end(_GONE_SECONDS)
        if ended.left:
            raise ControlMissing(
                f"{ended.left} processes of run {run} cannot be ended",
                where="sandbox",
                mend="look at them with ps; one in uninterruptible sleep waits for the disk or the kernel",
            )
        self._uids.release(run)
        return ended.found

    def end(
        self, runs: Collection[str] | None, *, spare: Collection[str] = (), seconds: float = _GONE_SECONDS
    ) -> Ended:
        """Kill what any worker with this state has of these runs, or of all but `spare`."""
        return self._remains(runs, spare).end(seconds)

    def freeze(self, run: str) -> Frozen:
        """Stop all processes of a run where they are."""
        argv.check_run(run)
        return self._remains((run,)).freeze(_GONE_SECONDS)

    def processes(self, run: str) -> tuple[Seen, ...]:
        """The processes of a run."""
        argv.check_run(run)
        return self._remains((run,)).seen()

    def probe(self) -> tuple[Finding, ...]:
        """Attack a sandbox of this very host from inside and report each attempt."""
        return probe.attack(self, self._state)

    @cached_property
    def _tools(self) -> Tools:
        return find_tools()

    @cached_property
    def _groups(self) -> cgroup.Groups | None:
        return cgroup.find()

    def _mark(self, run: str) -> str:
        return run_mark(str(self._state.absolute()), run)

    def _remains(self, runs: Collection[str] | None, spare: Collection[str] = ()) -> Remains:
        prefix = f"ringfence.{self._worker}."
        marks = None if runs is None else {self._mark(run) for run in runs}
        spared = {self._mark(run) for run in spare}
        return Remains(
            wanted=lambda mark: mark not in spared and (mark in marks if marks is not None else self._ours(mark)),
            prefix=prefix,
            named=lambda name: (
                (run := name[len(prefix) :].split(".")[0]) not in spare and (runs is None or run in runs)
            ),
        )

    def _ours(self, mark: str) -> bool:
        return mark.startswith(self._worker)

    def _group(self, spec: SandboxSpec, stack: ExitStack) -> cgroup.Group | None:
        if self._groups is None:
            if spec.limits.cgroup == "required":
                raise ControlMissing(
                    "the boundary demands a control group and none can be made",
                    where="limits.sandbox.cgroup",
                    mend="run the worker as root or in a unit with Delegate=yes; `ringfence doctor` says more",
                )
            return None
        name = f"ringfence.{self._worker}.{spec.run}.{secrets.token_hex(6)}"
        try:
            group = self._groups.make(name, spec.limits)
        except OSError as error:
            raise ControlMissing(
                f"the sandbox's control group cannot be made: {error}",
                where=name,
                mend="`ringfence doctor` says which control groups this worker may make",
            ) from error
        stack.callback(group.remove)
        return group
