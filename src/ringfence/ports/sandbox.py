"""The port of sandboxes: where untrusted code executes.

A sandbox is held before it runs: it exists, its doors are planted and its limits are set, but no
untrusted instruction has been executed. Everything in it dies with its context manager, with the
worker, or with the thread that made it. What cannot be confined is refused with `ControlMissing`.
"""

import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ringfence.domain.limits import SandboxLimits


@dataclass(frozen=True, slots=True)
class Mount:
    """A trusted tree on the worker that the sandbox sees read-only at `target`."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True)
class Workspace:
    """The untrusted tree, bound last and by descriptor. Nothing is ever mounted beneath it.

    With `lower`, what is seen inside is those trees, the nearest first, and over them what was changed. No sandbox
    writes a lower tree. Each belongs to the run's user, or to the worker: then the run's user owns it inside.
    """

    path: Path
    target: str = "/workspace"
    writable: bool = True
    lower: tuple[Path, ...] = ()

    @property
    def written(self) -> Path:
        """Where on the host that is which a command writes: the tree itself, or what was changed over the others."""
        return self.path / "upper" if self.lower else self.path


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What to run and what it may see. Nothing that is not named here is visible inside."""

    run: str
    role: str  # "agent", "checks:base", "checks:patch", "checkout", "collect", "upload-pack", "probe"
    argv: tuple[str, ...]
    limits: SandboxLimits
    timeout: float  # seconds of wall clock
    workspace: Workspace | None = None
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)  # the whole of it; built from empty
    files: Mapping[str, bytes] = field(default_factory=dict)  # small read-only files by absolute path
    cwd: str = "/workspace"
    doors: tuple[int, ...] = ()  # ports on the sandbox's own 127.0.0.1 whose listeners the worker keeps


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, and what it used."""

    exit_code: int | None  # None when the worker ended it
    stopped: str | None  # "timeout", "memory", "output", "disk", "processes", "cancelled", or None
    output: bytes  # stdout and stderr as they came, at most `limits.output` bytes, not yet redacted
    output_bytes: int
    seconds: float
    cpu_seconds: float
    peak_memory: int
    processes_left: int  # after the kill; anything but 0 is an incident


@dataclass(frozen=True, slots=True)
class Finding:
    """One attempt of the self-probe. `held` False means that the attempt succeeded: a broken control."""

    name: str
    held: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Ended:
    """What was ended from outside: how many processes were found, how many are left, and seconds to the last one."""

    found: int
    left: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Frozen:
    """Processes that stand still, and by what: "control group" or "signals"."""

    processes: tuple[int, ...]
    how: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A process of a run as the host sees it. `name` and `argv` are its own words."""

    pid: int
    parent: int
    state: str
    user: int
    threads: int
    memory: int
    name: str
    argv: tuple[str, ...]


class HeldSandbox(Protocol):
    """A sandbox that exists and waits."""

    @property
    def controls(self) -> tuple[str, ...]:
        """What confines it, for the log: for example `uid:720001`, `seccomp`, `cgroup:v1`, `netns:empty`."""
        ...

    @property
    def doors(self) -> Mapping[int, socket.socket]:
        """The listening socket of each door; the caller owns what it takes from here."""
        ...

    def run(
        self,
        *,
        output: Callable[[bytes], None] | None = None,
        stop: Callable[[], str | None] | None = None,
        paused: Callable[[], bool] | None = None,
    ) -> Outcome:
        """Let the command go and wait for its end.

        `output` sees every piece as it comes. `stop` is asked at least twice a second and ends the
        command by returning a reason ("cancelled"). While `paused` says yes, nothing ends it: somebody has frozen
        it to look at it, and that time does not count.
        """
        ...


class Sandboxes(Protocol):
    """Makes sandboxes on this host."""

    @property
    def level(self) -> str:
        """What a sandbox of this kind is worth, in words for the pull request."""
        ...

    @property
    def stacks(self) -> bool:
        """Whether a workspace may have trees beneath it on this host; where not, they are copied."""
        ...

    def hold(
        self, spec: SandboxSpec, *, stdin: int | None = None, stdout: int | None = None
    ) -> AbstractContextManager[HeldSandbox]:
        """Make a sandbox and hold it. On leaving, all of it is dead and its cgroup is gone.

        `stdin` and `stdout` are descriptors to hand to the command (stderr is then captured alone);
        by default stdin is empty and stdout is captured. Errors: `ControlMissing` with the mend.
        """
        ...

    def own(self, run: str, path: Path) -> None:
        """Give a fresh tree to the user that commands of this run are executed as, so that a sandbox can write it."""
        ...

    def reclaim(self, run: str) -> int:
        """End whatever an earlier worker process left of this run (processes, cgroups); how many were found."""
        ...

    def end(self, runs: Collection[str] | None, *, spare: Collection[str] = (), seconds: float = 10.0) -> Ended:
        """Kill what any worker with this state has of these runs, or of all but `spare`, without asking the worker.

        Sandboxes and host-side git alike. Unlike `reclaim` it leaves users and trees as they are.
        """
        ...

    def freeze(self, run: str) -> Frozen:
        """Stop all processes of a run where they are, until `reclaim` or `end`. Errors: `ControlMissing`."""
        ...

    def processes(self, run: str) -> tuple[Seen, ...]:
        """The processes of a run, frozen or not."""
        ...

    def probe(self) -> tuple[Finding, ...]:
        """Attack a sandbox of this very host from inside and report each attempt."""
        ...
