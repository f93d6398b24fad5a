"""The brief: what an agent is given, part by part, each with where it came from and whether it is trusted.

Rendering fences untrusted text so that it cannot end its own part. Nothing here reads files; the
context stage gathers, this module composes within a token budget.
"""

from dataclasses import dataclass
from enum import StrEnum


class Trust(StrEnum):
    """Who could have written a part."""

    OPERATOR = "operator"  # the boundary, the worker itself
    BASE = "base"  # files of the reviewed base commit
    UNTRUSTED = "untrusted"  # ticket text, tool output, search hits outside the base commit


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a brief. `priority` 0 is always kept; higher numbers are left out first."""

    kind: str  # "task", "ticket", "instructions", "file", "search", "map", "checks", "repair"
    title: str
    text: str
    provenance: str  # for example "ticket INV-1 sha256:…", "demo/inventory@<commit>:AGENTS.md"
    trust: Trust
    priority: int = 5


@dataclass(frozen=True, slots=True)
class Brief:
    """A composed brief. `digest` is that of `text` in the content store."""

    attempt: int
    text: str
    digest: str
    tokens: int
    parts: tuple[Part, ...]
    left_out: tuple[str, ...]  # "kind: title" of what did not fit
