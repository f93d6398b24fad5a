"""A private mount namespace in which a root worker lays out what a sandbox may bind.

bubblewrap resolves every source by its path, as the user it runs as, and that user must not be able to walk
the worker's own directories. So trees are opened by the worker, cloned by descriptor, and attached under
numbers on a small tmpfs that exists in this namespace alone; nsenter then starts bubblewrap in it. The
namespace ends with its last process; nothing appears in the mounts of the host.
"""

import os
import stat
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from ringfence.adapters.sandboxes.bubblewrap import syscalls
from ringfence.domain.errors import ControlMissing

#: Covered by the tmpfs, inside the private namespace only. It exists on every Linux.
PLACE = "/mnt"
#: redirect_dir, so that directories of lower trees can be renamed. Its marks are attributes that no sandbox can set.
_STACKED = "redirect_dir=on,index=off,metacopy=off,xino=off"


@dataclass(frozen=True, slots=True)
class Stacked:
    """A tree of several, by descriptors: `place` holds `upper` and `work`, the lower ones are never written."""

    place: int
    lower: tuple[int, ...]  # nearest first
    owners: tuple[int | None, ...]  # for each, the user namespace that its owners are seen through


def stage(trees: Sequence[int | Stacked]) -> int:
    """A descriptor of a mount namespace in which tree N is at `/mnt/N`. Needs root."""
    made: list[int] = []
    failed: list[OSError] = []

    def work() -> None:
        # In a thread of its own, for a namespace cannot be left again once the thread has mounted in it.
        try:
            with ExitStack() as stack:
                made.append(_lay_out(trees, stack))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="stage")
    thread.start()
    thread.join()
    if failed:
        raise ControlMissing(
            f"the worker is root but cannot make a mount namespace: {failed[0]}",
            where="sandbox",
            mend="give it CAP_SYS_ADMIN, or run the worker as an ordinary user",
        ) from failed[0]
    return made[0]


def _lay_out(trees: Sequence[int | Stacked], stack: ExitStack) -> int:
    clones = [_clone(tree, stack) for tree in trees]
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("ringfence", PLACE, "tmpfs", flags | syscalls.MS_NOEXEC, "mode=0755,size=64k,nr_inodes=256")
    for number, parts in enumerate(clones):
        target = f"{PLACE}/{number}"
        if len(parts) == 1:
            _attach(parts[0], target)
            continue
        names = [f"{target}.{part}" for part in range(len(parts))]
        for part, name in zip(parts, names, strict=True):
            _attach(part, name)
        os.mkdir(target, 0o700)  # noqa: PTH102
        beneath = f"lowerdir={':'.join(names[1:])},upperdir={names[0]}/upper,workdir={names[0]}/work"
        syscalls.mount("overlay", target, "overlay", flags, f"{beneath},{_STACKED}")
    return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _clone(tree: int | Stacked, stack: ExitStack) -> list[int]:
    """Detached copies of a tree, or of all that a stacked one is made of: its place first."""
    whole = [tree] if isinstance(tree, int) else [tree.place, *tree.lower]
    clones = []
    for one in whole:
        clones.append(syscalls.clone_tree(one))
        stack.callback(os.close, clones[-1])
    if isinstance(tree, Stacked):
        for clone, owners in zip(clones[1:], tree.owners, strict=True):
            syscalls.seal_tree(clone, owners)
    return clones


def _attach(clone: int, target: str) -> None:
    if stat.S_ISDIR(os.fstat(clone).st_mode):
        os.mkdir(target, 0o700)  # noqa: PTH102
    else:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    syscalls.attach_tree(clone, target)
