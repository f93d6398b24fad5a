"""What `ringfence init` finds in a repository: its name, its branch, and the commands that judge it.

Files are read and nothing is run, git included: looking at a repository must not start what lies in it.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MOST = 1 << 20
_REMOTE = re.compile(r'\[remote "origin"\][^\[]*?\burl\s*=\s*(\S+)')
_NAME = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]*)/([A-Za-z0-9_][A-Za-z0-9._-]*?)(?:\.git)?/?$")
_BRANCH = re.compile(r"ref: refs/(?:heads|remotes/origin)/([A-Za-z0-9][A-Za-z0-9._/-]*)\s*")
_TARGET = re.compile(r"^(lint|typecheck|test|check|build)\s*:(?!=)", re.MULTILINE)
_KINDS = {"lint": "lint", "typecheck": "types", "types": "types", "test": "test", "check": "test", "build": "build"}


@dataclass(frozen=True, slots=True)
class FoundCheck:
    """A command that judges the repository, and the file that says so."""

    name: str
    kind: str
    run: tuple[str, ...]
    because: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a repository tells of itself. None where it does not."""

    name: str | None
    base: str | None
    checks: tuple[FoundCheck, ...]
    tests: tuple[str, ...]
    instructions: tuple[str, ...]


def look(directory: Path) -> Found:
    """Look at a repository's own files."""
    checks: dict[str, FoundCheck] = {}
    for finder in (_python, _node, _rust, _go, _make):
        for check in finder(directory):
            checks.setdefault(check.name, check)
    tests = tuple(f"{name}/**" for name in ("tests", "test", "spec") if (directory / name).is_dir())
    instructions = tuple(name for name in ("AGENTS.md", "CONTRIBUTING.md") if (directory / name).is_file())
    return Found(_origin(directory), _base(directory), tuple(checks.values()), tests, instructions)


def _text(path: Path) -> str:
    """The beginning of a file; empty when there is none to read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as stream:
            return stream.read(_MOST).decode("utf-8", "replace")
    except OSError:
        return ""


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _python(directory: Path) -> Iterator[FoundCheck]:
    project = _toml(directory / "pyproject.toml")
    marks = [name for name in ("pyproject.toml", "setup.cfg", "setup.py", "tox.ini") if (directory / name).is_file()]
    if not marks:
        return
    found = project.get("tool")
    tools = set(found) if isinstance(found, dict) else set()
    older = "".join(_text(directory / name) for name in ("setup.cfg", "tox.ini", "requirements-dev.txt"))
    if "ruff" in tools or any((directory / name).is_file() for name in ("ruff.toml", ".ruff.toml")):
        yield FoundCheck("lint", "lint", ("python3", "-m", "ruff", "check", "."), "ruff is configured")
    elif "flake8" in older:
        yield FoundCheck("lint", "lint", ("python3", "-m", "flake8"), "flake8 is configured")
    if "mypy" in tools or "mypy" in older or (directory / "mypy.ini").is_file():
        place = "src" if (directory / "src").is_dir() else "."
        yield FoundCheck("types", "types", ("python3", "-m", "mypy", place), "mypy is configured")
    if "pytest" in tools or "pytest" in older + _text(directory / "pyproject.toml"):
        yield FoundCheck("test", "test", ("python3", "-m", "pytest", "-q"), "pytest is configured")
    else:
        yield FoundCheck("test", "test", ("python3", "-m", "unittest"), f"{marks[0]} is there, pytest is not named")


def _node(directory: Path) -> Iterator[FoundCheck]:
    try:
        package = json.loads(_text(directory / "package.json") or "{}")
    except (ValueError, RecursionError):
        return
    scripts = package.get("scripts") if isinstance(package, dict) else None
    for name in ("lint", "typecheck", "test", "build"):
        if isinstance(scripts, dict) and name in scripts:
            yield FoundCheck(name, _KINDS[name], ("npm", "run", name), f"package.json has a script `{name}`")


def _rust(directory: Path) -> Iterator[FoundCheck]:
    if (directory / "Cargo.toml").is_file():
        yield FoundCheck("build", "build", ("cargo", "build", "--offline"), "Cargo.toml is there")
        yield FoundCheck("test", "test", ("cargo", "test", "--offline"), "Cargo.toml is there")


def _go(directory: Path) -> Iterator[FoundCheck]:
    if (directory / "go.mod").is_file():
        yield FoundCheck("vet", "lint", ("go", "vet", "./..."), "go.mod is there")
        yield FoundCheck("test", "test", ("go", "test", "./..."), "go.mod is there")


def _make(directory: Path) -> Iterator[FoundCheck]:
    for name in dict.fromkeys(_TARGET.findall(_text(directory / "Makefile"))):
        yield FoundCheck(name, _KINDS[name], ("make", name), f"Makefile has a target `{name}`")


def _origin(directory: Path) -> str | None:
    """owner/name of the remote. Its address is not kept: it may hold a token."""
    remote = _REMOTE.search(_text(directory / ".git" / "config"))
    name = _NAME.search(remote[1].replace(":", "/")) if remote else None
    return f"{name[1]}/{name[2]}" if name else None


def _base(directory: Path) -> str | None:
    for place in ("refs/remotes/origin/HEAD", "HEAD"):
        branch = _BRANCH.fullmatch(_text(directory / ".git" / place))
        if branch:
            return branch[1]
    return None
