"""What set-up is made from, as one key: the same key, the same layer. And what is recorded of layers.

A layer is what the declared set-up commands leave in a tree beside the commit's own files.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from ringfence.domain.globs import covers
from ringfence.domain.section import Seconds, Section, Size

#: Counts up when layers are made or kept in another way, so that older ones are not used.
_FORM = 1


class LayerLimits(Section):
    """How large a layer may be, and how long it is used."""

    size: Size = Field(default=2 << 30, json_schema_extra={"default": "2GiB"}, description="What set-up may leave.")
    age: Seconds = Field(
        default=7 * 86400,
        json_schema_extra={"default": "7d"},
        description="A layer that is older is made again, and removed by `ringfence sweep`.",
    )
    total: Size = Field(
        default=20 << 30,
        json_schema_extra={"default": "20GiB"},
        description="All layers together stay below this; the oldest go first, by `ringfence sweep`.",
    )


@dataclass(frozen=True, slots=True)
class LayerMade:
    """The set-up commands were run once, and what they left is kept."""

    kind: ClassVar[str] = "layer.made"
    layer: str  # its key
    content: str  # digest of what it holds
    commit: str  # whose tree it was made in
    scope: str  # "repository": later runs use it too; "run": made from a patch, and gone with its run
    why: str
    files: int
    size: int
    seconds: float
    made_from: tuple[str, ...]
    left_out: int  # what is neither file, directory nor link


@dataclass(frozen=True, slots=True)
class LayerUsed:
    """What an earlier run's set-up had left was found, verified, and used instead of the set-up commands."""

    kind: ClassVar[str] = "layer.used"
    layer: str
    content: str
    files: int
    size: int
    age: float  # seconds
    seconds: float  # of finding and verifying it
    made_from: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a layer is made from."""

    repository: str
    commands: tuple[tuple[str, ...], ...]
    #: Path, mode and blob of each input file; or the whole tree, as one entry with an empty path.
    inputs: tuple[tuple[str, str, str], ...]
    #: How programs look from inside: toolchains, PATH, variables, a fingerprint of what is on PATH.
    surroundings: Mapping[str, Any]
    #: What may be reached meanwhile.
    network: tuple[Mapping[str, Any], ...]

    @property
    def key(self) -> str:
        """The digest of all of it."""
        whole = {
            "form": _FORM,
            "repository": self.repository,
            "commands": self.commands,
            "inputs": self.inputs,
            "surroundings": self.surroundings,
            "network": self.network,
        }
        return "sha256:" + hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    @property
    def words(self) -> tuple[str, ...]:
        """The same for a person: what the log says it was made from."""
        files = [f"{path or 'tree'} {blob[:12]}" for path, _mode, blob in self.inputs[:20]]
        more = [f"and {len(self.inputs) - 20} more files"] if len(self.inputs) > 20 else []
        others = {"commands": self.commands, "surroundings": self.surroundings, "network": self.network}
        digests = [
            f"{name} {hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]}"
            for name, value in others.items()
        ]
        return (*files, *more, *digests)


def chosen(patterns: Iterable[str], entries: Iterable[tuple[str, str, str]]) -> tuple[tuple[str, str, str], ...]:
    """Those of a tree's entries (path, mode, blob) that are declared as inputs."""
    wanted = tuple(patterns)
    return tuple(sorted(entry for entry in entries if any(covers(pattern, entry[0]) for pattern in wanted)))
