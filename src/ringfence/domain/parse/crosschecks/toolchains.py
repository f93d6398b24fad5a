"""Toolchains: trees that hold tools and nothing else, seen at places of their own."""

import re
from collections.abc import Iterator

from ringfence.domain.boundary import Boundary
from ringfence.domain.parse.crosschecks.check import CrossCheck, lies_in, path_fault
from ringfence.domain.parse.problem import Finding, Steps

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
#: What a sandbox makes itself. A toolchain over, in or above one of these would hide it or be hidden.
_TARGETS = (
    "/workspace", "/context", "/proc", "/sys", "/dev", "/etc", "/tmp", "/var/tmp", "/home", "/root", "/run",  # noqa: S108
    "/mirror", "/ringfence",
)  # fmt: skip
#: Trees of a host in which secrets lie: keys, tokens, sockets, other people's files.
_SECRET_TREES = (
    "/boot", "/dev", "/etc", "/proc", "/run", "/sys", "/var/backups", "/var/lib/docker", "/var/lib/containerd",
    "/var/lib/containers", "/var/lib/kubelet", "/var/lib/postgresql", "/var/log", "/var/mail", "/var/run", "/var/spool",
)  # fmt: skip
#: Too much at once, though a tree deep inside can be a toolchain.
_WHOLE = (
    "/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/cache", "/var/lib", "/var/tmp",  # noqa: S108
)  # fmt: skip
_SECRET_NAMES = (
    ".aws", ".azure", ".config", ".docker", ".git", ".git-credentials", ".gnupg", ".kube", ".netrc", ".npmrc",
    ".password-store", ".pypirc", ".ssh", "containerd.sock", "crio.sock", "docker.sock", "podman.sock",
)  # fmt: skip


def _toolchains(boundary: Boundary) -> Iterator[Finding]:
    for name, toolchain in boundary.commands.toolchains.items():
        steps: Steps = ("commands", "toolchains", name)
        if not _NAME.fullmatch(name):
            what = f"toolchain name {name!a} is not plain"
            yield Finding(steps, what, "use small letters, digits, - and _", at_key=True)
        fault = path_fault(toolchain.source)
        broad = None if fault else _why_broad(toolchain.source)
        if fault:
            yield Finding((*steps, "source"), f"{toolchain.source!a} is not a place: {fault}", "write one directory")
        elif broad:
            what = f"{toolchain.source!a} is over-broad: {broad}"
            yield Finding((*steps, "source"), what, "name a directory that holds tools and nothing else")
        yield from _target(toolchain.target, (*steps, "target"))


def _target(target: str, steps: Steps) -> Iterator[Finding]:
    fault = path_fault(target)
    if fault:
        yield Finding(steps, f"{target!a} is not a place: {fault}", "for example /opt/tools")
        return
    own = lies_in(target, _TARGETS) or next((p for p in _TARGETS if lies_in(p, (target,))), None)
    if own:
        what = f"{target!a} overlaps {own}, which a sandbox makes itself"
        yield Finding(steps, what, "choose a place of its own, for example /opt/tools")


def _why_broad(source: str) -> str | None:
    """Why a source is no toolchain; None when it may be one."""
    parts = source.split("/")
    tree = lies_in(source, _SECRET_TREES)
    if source in _WHOLE:
        return "far more than tools lies there, secrets among it"
    if tree:
        return f"{tree} holds secrets, sockets or other people's files"
    if parts[1] == "home" and len(parts) == 3:
        return "a whole home directory holds keys and tokens"
    named = next((part for part in parts if part.casefold() in _SECRET_NAMES), None)
    return f"`{named}` is where secrets are kept" if named else None


def _sources_beside_checkouts(boundary: Boundary) -> Iterator[Finding]:
    """A tree that holds the checkouts would show every run to every other one."""
    location = boundary.checkout.location
    for name, toolchain in boundary.commands.toolchains.items():
        inside = lies_in(toolchain.source, (location,)) and not lies_in(toolchain.source, (f"{location}/toolchains",))
        if inside or lies_in(location, (toolchain.source,)):
            what = f"{toolchain.source!a} overlaps `checkout.location`, where mirrors and other runs lie"
            mend = f"keep toolchains elsewhere, or in {location}/toolchains/NAME"
            yield Finding(("commands", "toolchains", name, "source"), what, mend)


CHECKS = (
    CrossCheck(("commands",), _toolchains),
    CrossCheck(("commands", "checkout"), _sources_beside_checkouts),
)
