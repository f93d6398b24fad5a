"""A patch as a value: the commit that one attempt led to, and what changed in it.

The facts come from git plumbing over objects in a repository that the agent never touched
(adapters/git.py reads them); `rules.judge_patch` judges them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path that differs between two trees. Modes are git's octal strings, `000000` for absent."""

    path: str
    status: str  # A added, D deleted, M modified, T type changed (renames are seen as D + A)
    old_mode: str
    new_mode: str
    blob: str  # object id of the new content, all zeros when deleted
    size: int  # bytes of the new content
    #: For a symbolic link, where it points; None for everything else.
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """What one attempt of the agent left: a candidate commit made by the worker over the agent's tree."""

    attempt: int
    commit: str  # the worker's commit, trailers and all; this is what is pushed
    tree: str
    files: int
    insertions: int
    deletions: int
    diff: str  # digest of the unified diff against the start commit, in the content store

    @property
    def line(self) -> str:
        """One line for a person."""
        return f"{self.files} files, +{self.insertions} -{self.deletions}, commit {self.commit[:12]}"
