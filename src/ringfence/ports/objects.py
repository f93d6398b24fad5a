"""The port of git objects: plumbing over bare repositories that an agent never touched.

It can read, compare and make commits; it can reach neither a network nor a credential, so the stages
that write prompts may have it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ringfence.domain.patch import FileChange


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One blob of a tree."""

    path: str
    mode: str
    blob: str
    size: int


@dataclass(frozen=True, slots=True)
class Authorship:
    """Who a commit says made it, and when (seconds since the epoch)."""

    name: str
    email: str
    when: int


class Objects(Protocol):
    """Host-side git over objects. Errors: `HostFailed` or `EvidenceBroken`."""

    def resolve(self, repo: Path, rev: str) -> str | None:
        """The commit that a ref or id names, or None."""
        ...

    def entries(self, repo: Path, commit: str) -> tuple[TreeEntry, ...]:
        """All blobs of a commit's tree."""
        ...

    def read(self, repo: Path, commit: str, path: str, limit: int) -> bytes | None:
        """At most `limit` bytes of a regular file of a commit; None when there is none."""
        ...

    def search(self, repo: Path, commit: str, words: tuple[str, ...], limit: int) -> tuple[tuple[str, int, str], ...]:
        """Fixed-string hits (path, line number, line) in a commit."""
        ...

    def changes(self, repo: Path, old: str, new: str) -> tuple[FileChange, ...]:
        """What differs between two trees or commits, without rename detection."""
        ...

    def diff(self, repo: Path, old: str, new: str) -> tuple[bytes, int, int]:
        """The unified diff, insertions and deletions; no external drivers, no textconv."""
        ...

    def commit_tree(self, repo: Path, tree: str, parent: str, message: str, by: Authorship) -> str:
        """Make a commit; the same arguments give the same id."""
        ...

    def graft(self, repo: Path, commit: str, base: str, paths: Sequence[str]) -> str:
        """The tree of `commit`, but with `paths` as `base` has them: those that it does not have are gone."""
        ...

    def raw(self, repo: Path, kind: str, object_id: str) -> bytes:
        """The raw bytes of an object, so that its id can be computed again offline."""
        ...

    def tree_of(self, repo: Path, commit: str) -> str:
        """The tree id of a commit."""
        ...

    def blobs(self, repo: Path, blobs: Sequence[str]) -> Iterator[bytes]:
        """The contents of blobs, in order."""
        ...

    def keep(self, repo: Path, ref: str, commit: str) -> None:
        """Point a ref of a trusted repository at a commit."""
        ...

    def heads(self, repo: Path, prefix: str) -> dict[str, str]:
        """Branches whose name begins with a prefix, and their commits."""
        ...

    def trailers(self, repo: Path, base: str, head: str, key: str) -> frozenset[str]:
        """The values of a trailer in `head` itself and in the commits that it has beyond `base`."""
        ...
