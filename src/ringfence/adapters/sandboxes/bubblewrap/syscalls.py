"""The few system calls that Python 3.11 has no function for. Thin: arguments in, OSError out.

Nothing is decided here. Numbers of `open_tree` and `move_mount` are the same on every architecture
(system calls added since Linux 5.1 share one table).
"""

import ctypes
import fcntl
import os
from functools import cache

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REC = 0x4000
MS_PRIVATE = 0x40000

_NS_GET_USERNS = 0xB701

_OPEN_TREE = 428
_MOVE_MOUNT = 429
_OPEN_TREE_CLONE = 0x1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_AT_FDCWD = -100
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_MOUNT_SETATTR = 442
_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_IDMAP = 0x00100000
_PR_SET_CHILD_SUBREAPER = 36


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64), ("clear", ctypes.c_uint64), ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )  # fmt: skip


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into a namespace."""
    _checked(_libc().setns(fd, kind), "setns")


def owning_user_namespace(fd: int) -> int:
    """A descriptor of the user namespace that owns the namespace at `fd`."""
    return fcntl.ioctl(fd, _NS_GET_USERNS)


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own."""
    _checked(_libc().unshare(flags), "unshare")


def become_subreaper() -> None:
    """Orphans below this process become its children, so that a sandbox's first process can be reaped at once."""
    _checked(_libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2)."""
    words = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _checked(_libc().mount(*words), f"mount {kind} on {target}")


def clone_tree(fd: int) -> int:
    """A descriptor of a detached copy of the mount tree at `fd`."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE
    return _checked(_libc().syscall(_OPEN_TREE, fd, b"", ctypes.c_uint(flags)), "open_tree")


def attach_tree(tree: int, target: str) -> None:
    """Attach a detached mount tree at a path."""
    arguments = (tree, b"", _AT_FDCWD, target.encode(), ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH))
    _checked(_libc().syscall(_MOVE_MOUNT, *arguments), f"move_mount to {target}")


def seal_tree(tree: int, user_namespace: int | None) -> None:
    """Make a detached mount tree read-only, and let its owners be seen as a user namespace maps them."""
    flags = _MOUNT_ATTR_RDONLY | (0 if user_namespace is None else _MOUNT_ATTR_IDMAP)
    wanted = _MountAttributes(flags, 0, 0, user_namespace or 0)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    at = ctypes.c_uint(_AT_EMPTY_PATH)
    _checked(_libc().syscall(_MOUNT_SETATTR, tree, b"", at, ctypes.byref(wanted), size), "mount_setattr")
