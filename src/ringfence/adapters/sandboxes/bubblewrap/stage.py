"""A private mount namespace in which a root worker lays out what a sandbox may bind.

bubblewrap resolves every source by its path, as the user it runs as, and that user must not be able to walk
the worker's own directories. So trees are opened by the worker, cloned by descriptor, and attached under
numbers on a small tmpfs that exists in this namespace alone; nsenter then starts bubblewrap in it. The
namespace ends with its last process; nothing appears in the mounts of the host.
"""

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack

from ringfence.adapters.sandboxes.bubblewrap import syscalls
from ringfence.domain.errors import ControlMissing

#: Covered by the tmpfs, inside the private namespace only. It exists on every Linux.
PLACE = "/mnt"


def stage(trees: Sequence[int]) -> int:
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


def _lay_out(trees: Sequence[int], stack: ExitStack) -> int:
    clones = []
    for tree in trees:
        clones.append(syscalls.clone_tree(tree))
        stack.callback(os.close, clones[-1])
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("ringfence", PLACE, "tmpfs", flags, "mode=0755,size=64k,nr_inodes=256")
    for number, clone in enumerate(clones):
        target = f"{PLACE}/{number}"
        if os.path.isdir(f"/proc/self/fd/{clone}"):  # noqa: PTH112 - a descriptor, not a path
            os.mkdir(target, 0o700)  # noqa: PTH102
        else:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        syscalls.attach_tree(clone, target)
    return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
