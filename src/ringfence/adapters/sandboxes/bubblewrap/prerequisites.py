"""What this host must have before a sandbox can be made, each with the mend; for `doctor` and before every sandbox.

It looks and tries, and changes nothing.
"""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ringfence.adapters.sandboxes.bubblewrap import seccomp
from ringfence.adapters.sandboxes.bubblewrap.limits import cgroup
from ringfence.domain.errors import ControlMissing

#: Only where the system keeps its programs; the worker's own PATH is not asked.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 10.0
#: An unused user for a root worker's trial; the uids of runs come from the pool.
_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Prerequisite:
    """One thing a host must have. `mend` is empty when it is there."""

    name: str
    ok: bool
    detail: str
    mend: str


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs that start a sandbox. `nsenter` and `unshare` are used by a root worker alone."""

    bwrap: str
    prlimit: str
    nsenter: str
    unshare: str
    version: str


def find_tools() -> Tools:
    """Locate the programs. Errors: `ControlMissing` with the package to install."""
    found = {name: shutil.which(name, path=_PATH) for name in ("bwrap", "prlimit", "nsenter", "unshare")}
    for name, path in found.items():
        if path is None:
            package = "bubblewrap" if name == "bwrap" else "util-linux"
            raise ControlMissing(f"{name} is not installed", where="sandbox", mend=f"apt-get install {package}")
    bwrap = str(found["bwrap"])
    if "--bind-fd" not in _say(bwrap, "--help"):
        raise ControlMissing(
            "this bubblewrap cannot bind a directory by descriptor",
            where=bwrap,
            mend="install 0.8.0-2+deb12u1 or 0.11 or newer",
        )
    version = _say(bwrap, "--version").strip()
    return Tools(bwrap, str(found["prlimit"]), str(found["nsenter"]), str(found["unshare"]), version)


def prerequisites() -> tuple[Prerequisite, ...]:
    """Every prerequisite with its state, for a person."""
    programs = _programs()
    checks = [programs, _architecture()]
    if programs.ok:
        checks.append(_namespaces())
    checks.append(_control_groups())
    if os.geteuid() == 0:
        checks.append(_mounting())
    return tuple(checks)


def _programs() -> Prerequisite:
    try:
        tools = find_tools()
    except ControlMissing as missing:
        return Prerequisite("bubblewrap and util-linux", False, missing.what, missing.mend)
    return Prerequisite("bubblewrap and util-linux", True, f"{tools.version} at {tools.bwrap}", "")


def _architecture() -> Prerequisite:
    try:
        seccomp.build()
    except ControlMissing as missing:
        return Prerequisite("system call filter", False, missing.what, missing.mend)
    return Prerequisite("system call filter", True, f"a table for {platform.machine()} is known", "")


def _namespaces() -> Prerequisite:
    """Try it as an unprivileged user, as a sandbox will be started."""
    tools = find_tools()
    words = [tools.bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/", "--", "true"]
    root = os.geteuid() == 0
    done = subprocess.run(
        words, env={"PATH": _PATH}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=_SECONDS, check=False, cwd="/",
        user=_NOBODY if root else None, group=_NOBODY if root else None, extra_groups=[] if root else None,
    )  # fmt: skip
    if done.returncode == 0:
        return Prerequisite("user namespaces", True, "an unprivileged user can make them", "")
    said = done.stdout.decode(errors="replace").strip()
    return Prerequisite("user namespaces", False, said, namespace_mend())


def _control_groups() -> Prerequisite:
    groups = cgroup.find()
    if groups is None:
        mend = "run the worker as root or in a unit with Delegate=yes, or set limits.sandbox.cgroup to preferred"
        return Prerequisite("control groups", False, "none can be made beneath the worker's own", mend)
    return Prerequisite("control groups", True, f"cgroup {groups.version}: {', '.join(groups.parents)}", "")


def _mounting() -> Prerequisite:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("CapEff"))
    if int(line.split()[1], 16) & 1 << 21:
        return Prerequisite("mounting", True, "the worker is root with CAP_SYS_ADMIN", "")
    return Prerequisite(
        "mounting", False, "the worker is root without CAP_SYS_ADMIN", "run the worker as an ordinary user"
    )


def namespace_mend() -> str:
    """What to change when the kernel refuses user namespaces, by what this kernel has."""
    switches = {
        "kernel/unprivileged_userns_clone": "sysctl kernel.unprivileged_userns_clone=1",
        "kernel/apparmor_restrict_unprivileged_userns": "sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        " or an AppArmor profile for bwrap with `userns,`",
        "user/max_user_namespaces": "sysctl user.max_user_namespaces=15000",
    }
    present = [mend for file, mend in switches.items() if Path("/proc/sys", file).exists()]
    return "; ".join([*present, "in a container: allow user namespaces in its seccomp profile"])


def _say(program: str, option: str) -> str:
    done = subprocess.run(
        [program, option], env={}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=_SECONDS, check=False,
    )  # fmt: skip
    return done.stdout.decode(errors="replace")
