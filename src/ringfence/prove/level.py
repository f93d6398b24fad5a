"""How much sandboxes of this host are worth, as three words that can be asked for.

A host decides it, not a boundary: whether the worker is root, and whether there are control groups. What is judged is
what confines a sandbox that was really made, by its own account of what it saw.
"""

import os
from collections.abc import Sequence

#: From the least to the most; each has what those before it have.
LEVELS = {
    "confined": "its own namespaces, no capabilities, a filter of system calls, an empty network",
    "limited": "also its memory and processes are limited by a control group",
    "separate": "also a user of its own for each run",
}
_CONFINED = frozenset(("namespaces:all", "no-capabilities", "seccomp", "netns:empty"))


def level_of(controls: Sequence[str], worker: int | None = None) -> str:
    """The level that these controls come to; empty when they do not even confine. `worker` is the worker's uid."""
    mine = os.geteuid() if worker is None else worker
    if not _CONFINED.issubset(controls):
        return ""
    if not any(control.startswith("cgroup:") for control in controls):
        return "confined"
    users = [control.removeprefix("uid:") for control in controls if control.startswith("uid:")]
    return "separate" if users and not {"0", str(mine)}.intersection(users) else "limited"


def reaches(level: str, wanted: str) -> bool:
    """Whether a level is the wanted one or a higher one."""
    order = ("", *LEVELS)
    return order.index(level) >= order.index(wanted)
