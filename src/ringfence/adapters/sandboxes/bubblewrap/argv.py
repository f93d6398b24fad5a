"""From a specification to bubblewrap's arguments, in the one order that is safe.

The order carries the security (docs/sandbox.md explains each line): own mounts first, then trusted trees,
then small files, the untrusted workspace last and nothing beneath it, and the root made read-only at the end.
Pure but for looking which of the host's /proc files exist.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringfence.domain.errors import ControlMissing
from ringfence.ports.sandbox import SandboxSpec

HOME = "/home/agent"
_PATH = "/usr/local/bin:/usr/bin:/bin"
#: Run ids become names of control groups and files, so only these spellings are taken.
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_NAMESPACES = (
    "--unshare-all", "--unshare-user", "--disable-userns", "--assert-userns-disabled", "--die-with-parent",
    "--new-session", "--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox",
)  # fmt: skip
# Files that tell of the host and that any user may read, and the worst of those that only root may: every further
# mount costs a sixth of a millisecond at each start.
_HIDDEN_FILES = (
    "kcore", "kallsyms", "keys", "key-users", "timer_list", "config.gz", "interrupts", "iomem", "vmallocinfo", "swaps",
    "diskstats", "cmdline", "kpagecount", "kpageflags", "sched_debug", "latency_stats",
)  # fmt: skip
#: "1" is bubblewrap's own process inside, of the same user: through its mem file a guest could rewrite it and
#: forge how the command ended.
_HIDDEN_FOLDERS = ("acpi", "scsi", "asound", "irq", "bus", "fs", "driver", "1")
_USR_LINKS = (("usr/bin", "/bin"), ("usr/sbin", "/sbin"), ("usr/lib", "/lib"), ("usr/lib64", "/lib64"))
_USR_EXTRAS = ("/etc/alternatives", "/etc/ssl", "/etc/ld.so.cache")
#: The kernel's own trees, in which a specification may put nothing.
_KERNEL = ("/proc", "/dev", "/sys")
#: What the sandbox makes itself; nothing may be mounted over these, though beneath some.
_MADE = ("/", "/etc", "/tmp", "/home", HOME, "/bin", "/sbin", "/lib", "/lib64")  # noqa: S108 - inside


@dataclass(frozen=True, slots=True)
class Sources:
    """Where bubblewrap finds the trees: `("--bind-fd", "7")`, or a staged path with `("--bind", "/mnt/0")`."""

    mounts: tuple[tuple[str, str], ...]  # in the order of `ordered_mounts`
    workspace: tuple[str, str] | None
    files: Mapping[str, int]  # descriptors by path
    info: int
    block: int  # bubblewrap waits for a byte here
    release: int  # the other end of it: kept open inside, so that the worker's death is not taken for a byte
    seccomp: int


def check_run(run: str) -> None:
    """Refuse a run id that would be more than a name in a path."""
    if not _RUN.fullmatch(run):
        raise _refusal(f"run id {run!r} cannot name a control group", "use letters, digits, - and _ (at most 128)")


def check(spec: SandboxSpec) -> None:
    """Refuse what cannot be confined. Errors: `ControlMissing` with what to write instead."""
    check_run(spec.run)
    if not spec.argv or any("\0" in word for word in spec.argv):
        raise _refusal("the command is empty or holds a NUL", "give a program and its arguments")
    for name, value in spec.environment.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise _refusal(f"variable {name!r} is not a name with a value", "use letters, digits and _")
    if len(set(spec.doors)) != len(spec.doors) or any(not 0 < port < 65536 for port in spec.doors):
        raise _refusal(f"doors {spec.doors} are not distinct ports", "use numbers from 1 to 65535")
    if not spec.cwd.startswith("/") or "\0" in spec.cwd:
        raise _refusal(f"{spec.cwd!r} is no directory to start in", "use an absolute path")
    _check_places(spec)


def _check_places(spec: SandboxSpec) -> None:
    placed = [mount.target for mount in spec.mounts]
    workspace = spec.workspace.target if spec.workspace else None
    for target in [*placed, *spec.files, *([workspace] if workspace else [])]:
        if not target.startswith("/") or posixpath.normpath(target) != target or target in _MADE or "\0" in target:
            raise _refusal(f"{target!r} is no place for a tree or a file", "use a plain absolute path of its own")
        if any(_beneath(target, kernel) for kernel in _KERNEL):
            raise _refusal(f"{target} belongs to the kernel", "mount elsewhere")
    if len(set(placed)) != len(placed):
        raise _refusal("two trees have the same target", "give each its own")
    if workspace is None:
        return
    for target in [*placed, *spec.files]:
        # A symlink in the untrusted tree would carry a mount point made beneath it to the host (CVE-2026-87766).
        if _beneath(target, workspace):
            raise _refusal(f"{target} lies in the workspace {workspace}", "mount it outside the workspace")
    for target in placed:
        if _beneath(workspace, target):
            raise _refusal(f"the workspace {workspace} lies in the read-only tree {target}", "move the workspace")


def ordered_mounts(spec: SandboxSpec) -> tuple[int, ...]:
    """Indexes of the spec's mounts, outer targets before inner ones."""
    return tuple(sorted(range(len(spec.mounts)), key=lambda index: spec.mounts[index].target.count("/")))


def arguments(spec: SandboxSpec, sources: Sources) -> list[str]:
    """Everything before the command. They travel by descriptor, so that no process listing shows them."""
    words = [*_NAMESPACES, *_environment(spec)]
    words += [*_own_mounts(spec), "--perms", "0755", "--dir", "/etc"]
    for index, (option, source) in zip(ordered_mounts(spec), sources.mounts, strict=True):
        words += [option, source, spec.mounts[index].target]
        if spec.mounts[index].target == "/usr":
            words += _beside_usr()
    for path, fd in sources.files.items():
        words += ["--perms", "0444", "--ro-bind-data", str(fd), path]
    words += ["--info-fd", str(sources.info), "--block-fd", str(sources.block)]
    words += ["--sync-fd", str(sources.release), "--seccomp", str(sources.seccomp)]
    if spec.workspace and sources.workspace:
        words += [*sources.workspace, spec.workspace.target]
    return [*words, "--remount-ro", "/", "--chdir", _cwd(spec)]


def own_files(uid: int) -> dict[str, bytes]:
    """The few files of /etc that programs look for. No resolv.conf: there is nobody to ask."""
    return {
        "/etc/passwd": f"agent:x:{uid}:{uid}:agent:{HOME}:/bin/sh\n".encode(),
        "/etc/group": f"agent:x:{uid}:\n".encode(),
        "/etc/hosts": b"127.0.0.1 localhost sandbox\n",
        "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
    }


def _environment(spec: SandboxSpec) -> list[str]:
    words = []
    for name, value in {"HOME": HOME, "PATH": _PATH, **spec.environment}.items():
        words += ["--setenv", name, value]
    return words


def _own_mounts(spec: SandboxSpec) -> list[str]:
    size = str(spec.limits.temporary)
    words = ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"]
    for name in _HIDDEN_FILES:
        if Path("/proc", name).exists():
            words += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    for name in _HIDDEN_FOLDERS:
        if Path("/proc", name).exists():
            words += ["--perms", "0555", "--size", "4096", "--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}"]
    words += ["--dev", "/dev", "--perms", "1777", "--size", size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
    return [*words, "--perms", "1777", "--size", size, "--tmpfs", "/tmp", "--size", size, "--tmpfs", HOME]  # noqa: S108


def _beside_usr() -> list[str]:
    words: list[str] = []
    for target, link in _USR_LINKS:
        words += ["--symlink", target, link]
    for path in _USR_EXTRAS:
        words += ["--ro-bind-try", path, path]
    return words


def _cwd(spec: SandboxSpec) -> str:
    if spec.workspace is None and _beneath(spec.cwd, "/workspace"):
        return HOME
    return spec.cwd


def _beneath(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")


def _refusal(what: str, mend: str) -> ControlMissing:
    return ControlMissing(what, where="sandbox specification", mend=mend)


def command(spec: SandboxSpec, bwrap: str, arguments_fd: int) -> Sequence[str]:
    """The command line of bubblewrap itself."""
    return (bwrap, "--args", str(arguments_fd), "--", *spec.argv)
