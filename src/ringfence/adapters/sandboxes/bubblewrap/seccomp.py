"""The system call filter of a sandbox, as classic BPF built by hand.

A deny list with a lid: named calls are refused, and every number beyond the newest call this table knows
answers ENOSYS, so that a newer kernel adds nothing silently. It judges numbers and register values only;
paths and memory are the business of the mount namespace.
"""

import errno
import platform
import struct

from ringfence.domain.errors import ControlMissing

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
#: The last call that was looked at (removexattrat); `open_tree_attr` and everything later answers ENOSYS.
_NEWEST = 466
_X32 = 0x40000000

# name: (x86_64, aarch64); None where the architecture has no such call. x86_64 was run, aarch64 was not.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "statmount": (457, 457),
    "listmount": (458, 458), "unshare": (272, 97), "setns": (308, 268), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438), "kcmp": (312, 272), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "open_by_handle_at": (304, 265), "fanotify_init": (300, 262), "memfd_secret": (447, 447),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "create_module": (174, None),
    "get_kernel_syms": (177, None), "query_module": (178, None), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "syslog": (103, 116), "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "vhangup": (153, 58), "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18), "uselib": (134, None), "ustat": (136, None), "_sysctl": (156, None),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
}  # fmt: skip
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_SOCKET = (41, 198)
_SOCKETPAIR = (53, 199)
_IOCTL = (16, 29)

# CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
_CLONE_NAMESPACES = 0x7E020000
_TIOCSTI, _TIOCSETD, _TIOCLINUX = 0x5412, 0x5423, 0x541C
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND, _THIRD = 0, 4, 16, 24, 32  # offsets in struct seccomp_data (low words)


def _errno(number: int) -> int:
    return 0x00050000 | number


class _Program:
    """Instructions in order; every jump is a short one over the verdict that follows it."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int]] = []

    def load(self, offset: int) -> None:
        self._code.append((_LOAD, 0, 0, offset))

    def verdict(self, value: int) -> None:
        self._code.append((_RETURN, 0, 0, value))

    def when(self, test: int, operand: int, verdict: int) -> None:
        self._code.append((test, 0, 1, operand))
        self.verdict(verdict)

    def unless(self, test: int, operand: int, verdict: int) -> None:
        self._code.append((test, 1, 0, operand))
        self.verdict(verdict)

    def on_call(self, number: int, body: "_Program") -> None:
        """Run `body` for one call; it must end in a verdict."""
        self._code.append((_JUMP_EQUAL, 0, len(body._code), number))
        self._code.extend(body._code)

    def assemble(self) -> bytes:
        return b"".join(struct.pack("<HBBI", *instruction) for instruction in self._code)


def _clone_rules() -> _Program:
    body = _Program()
    body.load(_FIRST)
    body.when(_JUMP_SET, _CLONE_NAMESPACES, _errno(errno.EPERM))
    body.verdict(_ALLOW)
    return body


def _socket_rules() -> _Program:
    body = _Program()
    body.load(_FIRST)
    for family in (_AF_UNIX, _AF_INET, _AF_INET6):
        body.when(_JUMP_EQUAL, family, _ALLOW)
    body.unless(_JUMP_EQUAL, _AF_NETLINK, _errno(errno.EAFNOSUPPORT))
    body.load(_THIRD)
    body.unless(_JUMP_EQUAL, 0, _errno(errno.EAFNOSUPPORT))  # NETLINK_ROUTE alone: tools list interfaces with it
    body.verdict(_ALLOW)
    return body


def _socketpair_rules() -> _Program:
    body = _Program()
    body.load(_FIRST)
    body.unless(_JUMP_EQUAL, _AF_UNIX, _errno(errno.EAFNOSUPPORT))
    body.verdict(_ALLOW)
    return body


def _ioctl_rules() -> _Program:
    body = _Program()
    body.load(_SECOND)  # the kernel looks at the low 32 bits alone, and so does this
    for request in (_TIOCSTI, _TIOCSETD, _TIOCLINUX):
        body.when(_JUMP_EQUAL, request, _errno(errno.EPERM))
    body.verdict(_ALLOW)
    return body


def build(machine: str = "") -> bytes:
    """The filter for an architecture (by default this one), as `struct sock_filter[]`.

    Errors: `ControlMissing` where no table is known, for a filter with wrong numbers is none.
    """
    machine = machine or platform.machine()
    if machine not in _AUDIT_ARCH:
        raise ControlMissing(
            f"no system call filter is known for the architecture {machine}",
            where="seccomp",
            mend="run the worker on x86_64 or aarch64",
        )
    column = 0 if machine == "x86_64" else 1
    program = _Program()
    program.load(_ARCHITECTURE)
    program.unless(_JUMP_EQUAL, _AUDIT_ARCH[machine], _KILL_PROCESS)  # 32-bit calls have other numbers
    program.load(_NUMBER)
    if machine == "x86_64":
        program.when(_JUMP_GREATER_EQUAL, _X32, _errno(errno.ENOSYS))
    program.when(_JUMP_GREATER_EQUAL, _NEWEST + 1, _errno(errno.ENOSYS))
    # clone3 hides its flags behind a pointer; ENOSYS makes every libc fall back to clone.
    program.when(_JUMP_EQUAL, _CLONE3[column], _errno(errno.ENOSYS))
    program.on_call(_IOCTL[column], _ioctl_rules())
    program.on_call(_CLONE[column], _clone_rules())
    program.on_call(_SOCKET[column], _socket_rules())
    program.on_call(_SOCKETPAIR[column], _socketpair_rules())
    for numbers in _DENIED.values():
        number = numbers[column]
        if number is not None:
            program.when(_JUMP_EQUAL, number, _errno(errno.EPERM))
    program.verdict(_ALLOW)
    return program.assemble()
