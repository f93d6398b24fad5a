"""Starts bubblewrap, held: namespaces and mounts are made, and no untrusted instruction has been executed.

It knows the order of starting and of ending. What is bounded and watched meanwhile is held.py's business.
"""

import json
import os
import resource
import select
import signal
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from ringfence.adapters.sandboxes.bubblewrap import argv, seccomp, stage, syscalls
from ringfence.adapters.sandboxes.bubblewrap.limits import processes
from ringfence.adapters.sandboxes.bubblewrap.prerequisites import Tools, namespace_mend
from ringfence.domain.errors import ControlMissing
from ringfence.domain.limits import SandboxLimits
from ringfence.domain.marks import MARK
from ringfence.ports.sandbox import SandboxSpec

_READY_SECONDS = 15.0
_OPEN_FILES = 4096
_READ = 65536


@dataclass(frozen=True, slots=True)
class Start:
    """Everything a start needs beside the specification. Descriptors stay the caller's."""

    uid: int
    tools: Tools
    mark: str  # by which a later worker knows what this one left
    workspace: int | stage.Stacked | None
    stdin: int | None
    stdout: int | None


@dataclass(slots=True)
class Started:
    """A held sandbox's two processes and the descriptors by which the worker has hold of them."""

    outer: subprocess.Popen[bytes]  # bubblewrap outside: its monitor
    output: int  # what the command prints
    release: int  # writing here lets the command go
    first: int = 0  # pid of the sandbox's first process, as the worker sees it
    first_fd: int = -1
    namespace: int = 0  # inode of its pid namespace
    used: resource.struct_rusage | None = None

    def let_go(self) -> None:
        """Execute the command; bubblewrap reads twice. One that is dead by now is found out by waiting for it."""
        with suppress(BrokenPipeError):
            os.write(self.release, b"..")

    def kill(self) -> None:
        """SIGKILL to the first process, which takes its whole namespace along, and to the monitor."""
        if self.first_fd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.first_fd, signal.SIGKILL)
        else:
            # It never said who its first process is: take everything below the monitor.
            for pid in processes.usage(self.outer.pid).pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.outer.poll() is None:
            self.outer.kill()

    def reap(self, seconds: float) -> None:
        """Wait for both to be gone and take them off the process table. Only these two are ever waited for."""
        with suppress(subprocess.TimeoutExpired):
            self.outer.wait(seconds)
        if self.first_fd < 0:
            return
        select.select([self.first_fd], [], [], seconds)
        # The monitor may have reaped it. If not it is ours by now (the worker is a subreaper), and while it is a
        # zombie its number belongs to nobody else.
        with suppress(ChildProcessError):
            if os.waitid(os.P_PIDFD, self.first_fd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                self.used = os.wait4(self.first, os.WNOHANG)[2]

    def close(self) -> None:
        """Let go of the descriptors, after the end."""
        for fd in (self.output, self.release, self.first_fd):
            if fd >= 0:
                os.close(fd)
        self.output = self.release = self.first_fd = -1


def start(spec: SandboxSpec, how: Start) -> Started:
    """Start bubblewrap and wait until it holds. Errors: `ControlMissing`; nothing is left of it then."""
    if how.uid == 0:
        raise ControlMissing("a sandbox is never started as root", where="sandbox", mend="give the worker user ids")
    syscalls.become_subreaper()
    # What only bubblewrap needs stays open here until it holds: nsenter opens its namespace by our table.
    with ExitStack() as lent:
        lend = _Lender(lent)
        info, info_write = os.pipe2(os.O_CLOEXEC)
        lend(info)
        try:
            started = _spawn(spec, how, info_write, lend)
        finally:
            os.close(info_write)
        try:
            _wait_until_held(started, info)
            _require_dropped(started, how.uid)
        except BaseException:
            started.kill()
            started.reap(5.0)
            started.close()
            raise
    return started


@dataclass(frozen=True, slots=True)
class _Lender:
    stack: ExitStack

    def __call__(self, fd: int) -> int:
        self.stack.callback(os.close, fd)
        return fd


def _spawn(spec: SandboxSpec, how: Start, info: int, lend: _Lender) -> Started:
    trees, prefix = _trees(spec, how, lend)
    contents = {**argv.own_files(how.uid), **spec.files}
    files = {path: lend(_memory_file(content)) for path, content in contents.items()}
    filter_fd = lend(_memory_file(seccomp.build()))
    block, release = os.pipe2(os.O_CLOEXEC)
    lend(block)
    output, output_write = os.pipe2(os.O_CLOEXEC)
    lend(output_write)
    try:
        sources = argv.Sources(*trees.sources, files, info, block, release, filter_fd)
        words = lend(_memory_file(b"".join(word.encode() + b"\0" for word in argv.arguments(spec, sources))))
        outer = subprocess.Popen(
            [*prefix, *_rlimits(spec.limits, how), *argv.command(spec, how.tools.bwrap, words)],
            env={MARK: how.mark},
            cwd="/",
            stdin=subprocess.DEVNULL if how.stdin is None else how.stdin,
            stdout=output_write if how.stdout is None else how.stdout,
            stderr=output_write,
            pass_fds=(info, block, release, filter_fd, words, *files.values(), *trees.passed),
        )
    except BaseException:
        os.close(output)
        os.close(release)
        raise
    os.set_blocking(output, False)
    return Started(outer, output, release)


@dataclass(frozen=True, slots=True)
class _Trees:
    sources: tuple[tuple[tuple[str, str], ...], tuple[str, str] | None]
    passed: tuple[int, ...]


def _trees(spec: SandboxSpec, how: Start, lend: _Lender) -> tuple[_Trees, Sequence[str]]:
    """Open what is to be bound. A root worker stages it, an ordinary user's is passed by descriptor."""
    fds = [lend(_open_mount(spec.mounts[index].source)) for index in argv.ordered_mounts(spec)]
    bind = "--bind" if spec.workspace and spec.workspace.writable else "--ro-bind"
    if os.geteuid() != 0:
        if isinstance(how.workspace, stage.Stacked):
            raise ControlMissing("only root shows trees over each other", where="sandbox", mend="copy them into one")
        mounts = tuple(("--ro-bind-fd", str(fd)) for fd in fds)
        workspace = None if how.workspace is None else (f"{bind}-fd", str(how.workspace))
        passed = (*fds, *([] if how.workspace is None else [how.workspace]))
        return _Trees((mounts, workspace), passed), ()
    all_fds = [*fds, *([] if how.workspace is None else [how.workspace])]
    namespace = lend(stage.stage(all_fds))
    mounts = tuple(("--ro-bind", f"{stage.PLACE}/{number}") for number in range(len(fds)))
    workspace = None if how.workspace is None else (bind, f"{stage.PLACE}/{len(fds)}")
    # By the worker's own descriptor table: a descriptor that is passed on would reach the command.
    place = f"/proc/{os.getpid()}/fd/{namespace}"
    drop = (how.tools.nsenter, f"--mount={place}", f"--setgid={how.uid}", f"--setuid={how.uid}", "--")
    return _Trees((mounts, workspace), ()), drop


def _open_mount(source: Path) -> int:
    try:
        fd = os.open(source, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise ControlMissing(
            f"a tree to mount cannot be opened: {error.strerror}",
            where=str(source),
            mend="correct the path in the boundary, or install what belongs there",
        ) from error
    mode = os.fstat(fd).st_mode
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        os.close(fd)
        raise ControlMissing(
            "a tree to mount is neither a directory nor a file",
            where=str(source),
            mend="a socket or a device gives a sandbox the powers of what is behind it; leave it out",
        )
    return fd


def _memory_file(content: bytes) -> int:
    """A descriptor with `content`, at its beginning; how bubblewrap takes filters, arguments and files."""
    fd = os.memfd_create("ringfence", os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _rlimits(limits: SandboxLimits, how: Start) -> list[str]:
    """Limits of single processes, set by a program of the same user: a root worker may lack CAP_SYS_RESOURCE."""
    # Per user, so with room for other sandboxes of the run, and for everything else that an ordinary user's worker
    # has running. The exact number is the cgroup's or the watch's.
    others = processes.threads_of(how.uid) if os.geteuid() != 0 else 0
    most = others + 4 * limits.processes + 64
    wanted: Mapping[str, tuple[int, int]] = {
        "core": (resource.RLIMIT_CORE, 0),
        "fsize": (resource.RLIMIT_FSIZE, limits.file),
        "cpu": (resource.RLIMIT_CPU, limits.cpu_time),
        "nofile": (resource.RLIMIT_NOFILE, _OPEN_FILES),
        "nproc": (resource.RLIMIT_NPROC, most),
    }
    words = [how.tools.prlimit]
    for name, (kind, value) in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # Two seconds between the signal that a program may see (SIGXCPU) and the one that it may not.
        last = value + 2 if name == "cpu" and hard == resource.RLIM_INFINITY else value
        words.append(f"--{name}={value}:{last}")
    return [*words, "--"]


def _wait_until_held(started: Started, info: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    said = json.loads(_read_info(started, info, deadline))
    first = int(said["child-pid"])
    try:
        fd = os.pidfd_open(first)
        if Path(f"/proc/{first}/ns/pid").stat().st_ino != said["pid-namespace"]:
            os.close(fd)
            raise ProcessLookupError  # the number was given to somebody else meanwhile
    except OSError:
        raise _not_made(started) from None
    started.first, started.first_fd, started.namespace = first, fd, int(said["pid-namespace"])
    # The last thing before bubblewrap waits is a second user namespace (--disable-userns): when the first
    # process is in one that does not own its network namespace, every mount has been made.
    owner = _network_owner(started)
    while _user_namespace(started) == owner:
        if time.monotonic() > deadline:
            raise _not_made(started)
        time.sleep(0.0005)


def _read_info(started: Started, info: int, deadline: float) -> bytes:
    said = b""
    while b"}" not in said:
        readable, _, _ = select.select([info], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(info, 4096) if readable else b""
        if not piece:
            raise _not_made(started)
        said += piece
    return said


def _network_owner(started: Started) -> int:
    try:
        network = os.open(f"/proc/{started.first}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            owner = syscalls.owning_user_namespace(network)
        finally:
            os.close(network)
    except OSError:
        raise _not_made(started) from None
    try:
        return os.fstat(owner).st_ino
    finally:
        os.close(owner)


def _user_namespace(started: Started) -> int:
    if started.outer.poll() is not None:
        raise _not_made(started)
    try:
        return Path(f"/proc/{started.first}/ns/user").stat().st_ino
    except OSError:
        raise _not_made(started) from None


def _not_made(started: Started) -> ControlMissing:
    """What bubblewrap said before it gave up, with what to do about it."""
    with suppress(subprocess.TimeoutExpired):
        started.outer.wait(1.0)
    said = b""
    with suppress(BlockingIOError):
        said = os.read(started.output, _READ)
    words = said.decode(errors="replace").strip() or "bubblewrap did not become ready"
    refused = any(sign in words for sign in ("namespace", "uid map", "Operation not permitted"))
    mend = namespace_mend() if refused else "run `ringfence doctor`"
    return ControlMissing(f"the sandbox cannot be made: {words}", where="bubblewrap", mend=mend)


def _require_dropped(started: Started, uid: int) -> None:
    """Look at what runs, not at what was asked for: both processes have the sandbox's user and no other."""
    for pid in (started.outer.pid, started.first):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        ids = {word for line in lines if line.startswith("Uid:") for word in line.split()[1:]}
        if ids != {str(uid)} or uid == 0:
            raise ControlMissing(
                f"the sandbox runs as {', '.join(sorted(ids))} instead of {uid}", where="sandbox", mend="report this"
            )
