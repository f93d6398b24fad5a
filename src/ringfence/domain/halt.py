"""Halts: what is stopped, by whom and why, in a form that a file can hold and anybody can write.

A halt is a file in the worker's state directory, so that it works when the database does not. Its name says
what it covers and its content why; a name that nobody understands halts everything, and so does a content that
cannot be read. It decides nothing else: who ends what is the business of those who look here.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Scope = Literal["all", "repository", "run"]

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)+")
_SLASH = "%2F"
_LONGEST = 2000
_UNSAID = "no reason was given"


@dataclass(frozen=True, slots=True)
class Halt:
    """One halt in force. `name` is the run or the repository, empty for all; `since` is seconds since the epoch."""

    scope: Scope
    name: str = ""
    reason: str = _UNSAID
    by: str = "unknown"
    since: float = 0.0

    @property
    def what(self) -> str:
        """What it covers, in words."""
        return "all runs" if self.scope == "all" else f"{self.scope} {self.name}"

    @property
    def line(self) -> str:
        """One line for a person."""
        return f"{self.what} halted by {self.by}: {self.reason}"

    def covers(self, run: str, repository: str) -> bool:
        """Whether a run must not go on. An empty repository is one that nobody knows yet."""
        return self.scope == "all" or self.name == (run if self.scope == "run" else repository)


def covering(halts: Iterable[Halt], run: str, repository: str) -> Halt | None:
    """The first halt that stops this run, or None."""
    return next((halt for halt in halts if halt.covers(run, repository)), None)


def file_name(scope: Scope, name: str = "") -> str:
    """How the file of a halt is called: `all`, `run-INV-7-r1`, `repository-acme%2Ftiny`."""
    return "all" if scope == "all" else f"{scope}-{name.replace('/', _SLASH)}"


def is_halt(name: str) -> bool:
    """Whether a file of this name is meant: one that begins with a dot is still being written."""
    return not name.startswith(".")


def to_file(halt: Halt) -> bytes:
    """The content of its file."""
    return json.dumps({"reason": halt.reason, "by": halt.by, "since": halt.since}).encode() + b"\n"


def from_file(name: str, content: bytes | None, since: float) -> Halt:
    """The halt that a file is. `content` is None when it cannot be read; `since` is when the file was written."""
    scope, what = _meant(name)
    if content is None:
        return Halt(scope, what, "its file cannot be read", since=since)
    text = content[: _LONGEST * 4].decode("utf-8", "replace").strip()
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return Halt(scope, what, text[:_LONGEST] or _UNSAID, "a file", since)
    return Halt(scope, what, _text(said, "reason", _UNSAID), _text(said, "by", "a file"), _since(said, since))


def _meant(name: str) -> tuple[Scope, str]:
    """What a file name covers. A spelling that is not ours is taken for all: a kill switch does not argue."""
    kind, _, rest = name.partition("-")
    what = rest.replace(_SLASH, "/")
    if kind == "run" and _RUN.fullmatch(what):
        return "run", what
    if kind == "repository" and _REPOSITORY.fullmatch(what):
        return "repository", what
    return "all", ""


def _text(said: dict[str, Any], key: str, otherwise: str) -> str:
    value = said.get(key)
    return value[:_LONGEST] if isinstance(value, str) and value else otherwise


def _since(said: dict[str, Any], otherwise: float) -> float:
    value = said.get("since")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise
