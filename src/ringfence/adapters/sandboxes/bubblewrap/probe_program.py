"""Run inside a sandbox as a program of its own: try to get out, and print each attempt as a line of JSON.

Every attempt reports what happened, not what should have: `held` is False when it succeeded. Attempts undo what
they manage to do as far as they can. Argument: what the worker prepared, as JSON. Imports nothing of the package.
"""

import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_COLUMN = 0 if platform.machine() == "x86_64" else 1
# name: (x86_64, aarch64)
_CALLS = {
    "mount": (165, 40), "umount2": (166, 39), "chroot": (161, 51), "pivot_root": (155, 41), "unshare": (272, 97),
    "setns": (308, 268), "ptrace": (101, 117), "process_vm_readv": (310, 270), "keyctl": (250, 219),
    "add_key": (248, 217), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "open_by_handle_at": (304, 265), "fsopen": (430, 430), "open_tree": (428, 428),
    "clone3": (435, 435), "pidfd_getfd": (438, 438), "syslog": (103, 116), "kexec_load": (246, 104),
    "init_module": (175, 105), "reboot": (169, 142), "memfd_secret": (447, 447),
}  # fmt: skip
_NEWUSER, _NEWNS, _NEWNET = 0x10000000, 0x00020000, 0x40000000
_WRITABLE = ("/workspace", "/tmp", "/home/agent", "/dev/shm")  # noqa: S108 - inside the sandbox
_DEVICES = {"console", "core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
            "tty", "urandom", "zero"}  # fmt: skip
Result = tuple[bool, str]


def call(name: str, *arguments: Any) -> str | None:
    """None when the system call succeeded, else the name of its error."""
    if _LIBC.syscall(_CALLS[name][_COLUMN], *arguments) >= 0:
        return None
    return errno.errorcode.get(ctypes.get_errno(), "?")


def apart(name: str, *arguments: Any) -> str | None:
    """The same in a child: an attempt that succeeds would change from where those after it are made."""
    pid = os.fork()
    if pid == 0:
        error = call(name, *arguments)
        os._exit(0 if error is None else getattr(errno, error, 255))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None if code == 0 else errno.errorcode.get(code, f"exit code {code}")


def refused(name: str, *arguments: Any) -> Result:
    """Held when the system call is refused by the filter, before the kernel looks at its arguments."""
    error = call(name, *arguments)
    return error in ("EPERM", "ENOSYS"), error or "succeeded"


def benign_control(_given: dict[str, Any]) -> Result:
    """A sandbox in which nothing runs holds nothing: a command runs and can write where it may."""
    for place in _WRITABLE:
        Path(place, "control").write_text("written")
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code == 7, "python ran, forked, and wrote its workspace and its own tmpfs"


def kernel_settings(_given: dict[str, Any]) -> Result:
    """Open any setting of the kernel for writing; core_pattern alone would be the host's root."""
    opened = []
    for top, _, names in os.walk("/proc/sys"):
        opened += [f"{top}/{name}" for name in names if openable(f"{top}/{name}", os.O_WRONLY)]
    if openable("/proc/sysrq-trigger", os.O_WRONLY) and not is_null("/proc/sysrq-trigger"):
        opened.append("/proc/sysrq-trigger")
    return not opened, f"opened {opened[:3]}" if opened else "every file of /proc/sys refused writing"


def openable(path: str, flags: int) -> bool:
    """Whether the path can be opened."""
    try:
        os.close(os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def user_namespace(_given: dict[str, Any]) -> Result:
    """New namespaces are the way to capabilities."""
    results = [apart("unshare", kind) for kind in (_NEWUSER, _NEWUSER | _NEWNS, _NEWNS, _NEWNET)]
    results.append(apart("clone3", 0, 0))
    return None not in results, f"unshare and clone3 answered {', '.join(str(r) for r in results)}"


def socket_families(_given: dict[str, Any]) -> Result:
    """Kinds of sockets that an empty network namespace does not confine."""
    made = []
    families = {"AF_VSOCK": 40, "AF_PACKET": 17, "AF_ALG": 38, "AF_XDP": 44, "AF_BLUETOOTH": 31, "AF_TIPC": 30}
    for name, family in families.items():
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            if can_make(family, kind, 0):
                made.append(name)
    if can_make(socket.AF_INET, socket.SOCK_RAW, 1):
        made.append("raw ICMP")
    if can_make(socket.AF_NETLINK, socket.SOCK_RAW, 9):
        made.append("netlink audit")
    return not made, f"made {made}" if made else f"none of {', '.join(families)}, raw IP or other netlink"


def can_make(family: int, kind: int, protocol: int) -> bool:
    """Whether such a socket can be made."""
    try:
        socket.socket(family, kind, protocol).close()
    except OSError:
        return False
    return True


def names(given: dict[str, Any]) -> Result:
    """A name server would be a way out by itself."""
    try:
        found = socket.getaddrinfo(given["name"], 443)
    except OSError as error:
        return True, str(error)
    return False, f"resolved to {found[0][4]}"


def network(given: dict[str, Any]) -> Result:
    """The worker listens on its own loopback address and on an abstract socket; neither may answer here."""
    reached = []
    for family, address in ((socket.AF_INET, ("127.0.0.1", given["port"])), (socket.AF_UNIX, "\0" + given["abstract"])):
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.settimeout(2)
            if attempt.connect_ex(address) == 0:
                reached.append(str(address))
    interfaces = [name for _, name in socket.if_nameindex()]
    if interfaces != ["lo"]:
        reached.append(f"interfaces {interfaces}")
    if len(Path("/proc/net/route").read_text().splitlines()) > 1:
        reached.append("a route")
    return not reached, f"reached {reached}" if reached else "only lo, no route, the worker's listeners unreachable"


def secret_file(given: dict[str, Any]) -> Result:
    """A file of the worker, by its own path and by every process that could lead there."""
    ways = [given["canary"], f"/proc/1/root{given['canary']}", f"/proc/self/root{given['canary']}",
            f"/oldroot{given['canary']}", f"/workspace/../..{given['canary']}"]  # fmt: skip
    opened = [way for way in ways if openable(way, os.O_RDONLY)]
    return not opened, f"opened {opened}" if opened else f"{len(ways)} ways to it lead nowhere"


def writing_outside(given: dict[str, Any]) -> Result:
    """Make a file in every mount that is not one of the four writable ones, and beside the worker's own."""
    places = {"/", "/etc", "/usr", "/dev", "/home", "/proc", "/workspace/..", given["outside"]}
    places |= {line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    made = []
    for place in sorted(places - set(_WRITABLE)):
        if place.startswith("/dev/pts"):
            continue
        path = Path(place, "ringfence-probe")
        try:
            path.write_text("x")
        except OSError:
            continue
        made.append(place)
        path.unlink()
    return not made, f"wrote {made}" if made else f"{len(places)} places refused"


def mounting(_given: dict[str, Any]) -> Result:
    """Mounts can uncover what the sandbox hides."""
    target = b"/tmp"
    results = {
        "mount": refused("mount", b"none", target, b"tmpfs", 0, 0),
        "remount": refused("mount", b"none", b"/", b"", 0x20, 0),
        "umount2": refused("umount2", b"/proc/sys", 2),
        "fsopen": refused("fsopen", b"tmpfs", 0),
        "open_tree": refused("open_tree", -100, b"/", 1),
        "pivot_root": refused("pivot_root", target, target),
        "chroot": refused("chroot", target),
        "setns": refused("setns", 0, 0),
    }
    return summary(results)


def other_processes(_given: dict[str, Any]) -> Result:
    """Trace or read the sandbox's first process, which would wedge the worker, or its memory."""
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    results = {
        "ptrace": refused("ptrace", 16, 1, 0, 0),
        "process_vm_readv": refused("process_vm_readv", 1, vector, 1, vector, 1, 0),
        "pidfd_getfd": refused("pidfd_getfd", 0, 0, 0),
        "/proc/1/mem": (not openable("/proc/1/mem", os.O_RDWR), "opened"),
    }
    return summary(results)


def host_processes(given: dict[str, Any]) -> Result:
    """See or signal processes of the host. The worker's own number says nothing where it is a container's first."""
    ours = {1, os.getpid(), os.getppid()}
    seen = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    reachable = given["worker"] not in ours
    try:
        os.kill(given["worker"], 0)
    except OSError:
        reachable = given["worker"] in seen - ours
    shared = str(Path("/proc/self/ns/pid").readlink()) == given["pid_namespace"]
    held = not seen - ours and not reachable and not shared
    return held, f"sees {sorted(seen)} in {'the same' if shared else 'its own'} pid namespace"


def environment(given: dict[str, Any]) -> Result:
    """Variables that nobody gave."""
    entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    found = {entry.partition(b"=")[0].decode(errors="replace") for entry in entries if entry}
    extra = sorted(found - {"HOME", "PATH", "PWD", "LC_CTYPE"})
    everybody = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/environ") if readable(path))
    leaked = given["secret_variable"].encode() in everybody
    return not extra and not leaked, f"also has {extra}" if extra else "holds what the specification gave and no more"


def readable(path: Path) -> bool:
    """Whether a file can be opened for reading."""
    return openable(str(path), os.O_RDONLY)


def privileges(_given: dict[str, Any]) -> Result:
    """Capabilities, and the ways to get some: setuid programs and identity changes."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    wrong = [name for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb") if int(status[name], 16)]
    if status["NoNewPrivs"] != "1" or status["Seccomp"] != "2":
        wrong.append("no_new_privs or seccomp off")
    with suppress(OSError):
        os.setgroups([0])
        wrong.append("setgroups")
    with suppress(OSError):
        os.setuid(0)
        wrong.append("setuid")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    wrong += [f"setuid on {line.split(' ')[4]}" for line in mounts if "nosuid" not in line.split(" ")[5]]
    return not wrong, f"has {wrong[:4]}" if wrong else "no capability, no setuid, uid and groups fixed"


def descriptors(_given: dict[str, Any]) -> Result:
    """Descriptors that leaked from the worker or from bubblewrap."""
    extra = {}
    for fd in range(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0]):
        try:
            extra[fd] = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
        except OSError:
            continue
    return not extra, f"inherited {extra}" if extra else "nothing but stdin, stdout and stderr"


def kernel_interfaces(_given: dict[str, Any]) -> Result:
    """Large kernel interfaces that nothing here needs."""
    results = {name: refused(name, 0, 0, 0, 0, 0) for name in (
        "keyctl", "add_key", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "open_by_handle_at", "syslog",
        "kexec_load", "init_module", "reboot", "memfd_secret",
    )}  # fmt: skip
    return summary(results)


def terminal(_given: dict[str, Any]) -> Result:
    """Push keystrokes into a terminal of the worker."""
    try:
        fcntl.ioctl(0, 0x5412, b"x")
    except OSError as error:
        return error.errno == errno.EPERM, errno.errorcode[error.errno or 0]
    return False, "TIOCSTI succeeded"


def devices(_given: dict[str, Any]) -> Result:
    """Device files beyond the harmless ones, and making new ones."""
    extra = sorted({entry.name for entry in Path("/dev").iterdir()} - _DEVICES)
    with suppress(OSError):
        os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0))  # noqa: S108 - inside
        extra.append("mknod")
    extra += [path for path in ("/proc/kcore", "/proc/kmsg") if openable(path, os.O_RDONLY) and not is_null(path)]
    return not extra, f"found {extra}" if extra else "only null, zero, full, random, tty and pts"


def is_null(path: str) -> bool:
    """Whether the null device is mounted over a path."""
    return os.stat(path).st_rdev == os.makedev(1, 3)  # noqa: PTH116


def sizes(given: dict[str, Any]) -> Result:
    """Every filesystem in memory has a size, and files and processes have limits."""
    wrong = []
    for place in ("/tmp", "/home/agent", "/dev/shm"):  # noqa: S108 - inside
        state = os.statvfs(place)
        if state.f_blocks * state.f_frsize > given["temporary"] + 4096:
            wrong.append(place)
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE):
        if resource.getrlimit(kind)[1] == resource.RLIM_INFINITY:
            wrong.append(f"rlimit {kind}")
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        wrong.append("core files")
    return not wrong, f"unlimited: {wrong}" if wrong else "sizes and limits are set"


def summary(results: dict[str, Result]) -> Result:
    """All of several attempts."""
    broken = {name: word for name, (held, word) in results.items() if not held}
    return not broken, f"answered {broken}" if broken else f"{', '.join(results)} refused"


ATTEMPTS: dict[str, Callable[[dict[str, Any]], Result]] = {
    "control: a command runs": benign_control,
    "write a kernel setting": kernel_settings,
    "make a user namespace": user_namespace,
    "make a socket that ignores the network namespace": socket_families,
    "resolve a name": names,
    "reach the network": network,
    "read a secret file of the worker": secret_file,
    "write outside the workspace": writing_outside,
    "mount or change the root": mounting,
    "trace or read another process": other_processes,
    "see or signal processes of the host": host_processes,
    "see the worker's environment": environment,
    "gain privileges": privileges,
    "use an inherited descriptor": descriptors,
    "use a large kernel interface": kernel_interfaces,
    "type into a terminal": terminal,
    "use a device": devices,
    "escape the limits": sizes,
}


def attempts(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Make each attempt; one that dies of its own error has shown nothing and does not count as held."""
    for name, attempt in ATTEMPTS.items():
        try:
            held, detail = attempt(given)
        except (OSError, ValueError, KeyError) as error:
            held, detail = False, f"the attempt itself failed: {error!r}"
        yield {"name": name, "held": held, "detail": detail}


if __name__ == "__main__":
    for line in attempts(json.loads(sys.argv[1])):
        print(json.dumps(line), flush=True)
