"""What may be pushed to a repository, as pure functions over names, paths and modes.

Nothing here starts git; gate.py brings the facts of a push, pulls.py those of a merge.
"""

import posixpath
from dataclasses import asdict, dataclass
from typing import Any

from ringfence.domain import globs
from ringfence.domain.errors import InputError
from ringfence.domain.paths import link_fault, path_fault, ref_fault

ZERO = "0" * 40
HEADS = "refs/heads/"
GITLINK, SYMLINK, ABSENT = "160000", "120000", "000000"


@dataclass(frozen=True, slots=True)
class RepositoryPolicy:
    """The rules of one repository. Patterns are those of domain/globs.py, as in the boundary."""

    default_branch: str = "main"
    protected_branches: tuple[str, ...] = ("main",)
    protected_paths: tuple[str, ...] = (".github/**", "CODEOWNERS")
    prefix: str = "ringfence/"
    approvals: int = 1
    max_push_bytes: int = 512 << 20
    max_file_bytes: int = 20 << 20
    max_commits: int = 2000

    def __post_init__(self) -> None:
        patterns = (*self.protected_branches, *self.protected_paths)
        faults = [f"{pattern!a}: {why}" for pattern in patterns if (why := globs.fault(pattern))]
        if ref_fault(self.default_branch):
            faults.append(f"default_branch {self.default_branch!a} is not a plain branch name")
        if ref_fault(self.prefix.removesuffix("/")):
            faults.append(f"prefix {self.prefix!a} must be plain and not empty, such as 'ringfence/'")
        if not matches_branch(self.protected_branches, self.default_branch):
            faults.append(f"protected_branches must hold the default branch {self.default_branch!a}")
        if self.approvals < 1:
            faults.append("approvals must be 1 or more: nothing is merged without a human")
        if faults:
            raise InputError("; ".join(faults), where="the repository's policy", mend="see docs/code-host.md")

    def to_json(self) -> dict[str, Any]:
        """A form that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "RepositoryPolicy":
        """Read what `to_json` wrote."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in found.items()
        }
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not taken: the rule's short name, and a sentence."""

    rule: str
    reason: str

    def __str__(self) -> str:
        return f"[{self.rule}] {self.reason}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One path that a commit changes. `mode` and `blob` are those after it."""

    path: str
    mode: str
    blob: str


def matches_branch(patterns: tuple[str, ...], branch: str) -> bool:
    """One of the patterns names the branch."""
    return any(globs.matches_branch(pattern, branch) for pattern in patterns)


def reaches(prefix: str, branch: str) -> bool:
    """Whether who may write `prefix` may write this branch: what lies below a slash, or that very branch."""
    return branch != prefix and branch.startswith(prefix) if prefix.endswith("/") else branch == prefix


def judge_update(policy: RepositoryPolicy, prefix: str | None, ref: str, new: str) -> Refusal | None:
    """Judge a ref by its name alone; `prefix` is what the pusher may write, None for nothing."""
    branch = ref.removeprefix(HEADS)
    if prefix is None:
        return Refusal("no-write", "this principal may not push here")
    if branch == ref:
        return Refusal("ref-namespace", "only branches are taken: no tags, no refs/pull, no other refs")
    if matches_branch(policy.protected_branches, branch):
        return Refusal("protected-branch", f"{branch!a} changes only by a reviewed merge")
    fault = ref_fault(branch)
    if fault is not None:
        return Refusal("branch-name", f"{branch[:100]!a}: {fault}")
    if not reaches(prefix, branch):
        where = "branches below" if prefix.endswith("/") else "the branch"
        return Refusal("branch-prefix", f"this principal may write only {where} {prefix!a}")
    if new == ZERO:
        return Refusal("deletion", "branches are not deleted by pushing")
    return None


def judge_entries(policy: RepositoryPolicy, entries: list[Entry], *, by_worker: bool) -> Refusal | None:
    """Judge what commits change, by path and mode; a human may propose changes of protected paths."""
    for entry in entries:
        if by_worker and any(globs.protects(pattern, entry.path) for pattern in policy.protected_paths):
            return Refusal("protected-path", f"{entry.path!a} may not be changed, moved or removed")
        if entry.mode == GITLINK or posixpath.basename(entry.path).casefold() == ".gitmodules":
            return Refusal("submodule", f"{entry.path!a}: submodules are not taken")
    return None


def judge_new(entry: Entry, link: bytes | None) -> Refusal | None:
    """Judge one path as it is after a push; `link` is where a symbolic link points to."""
    fault = path_fault(entry.path)
    if fault is not None:
        return Refusal("path", f"{entry.path[:200]!a}: {fault}")
    if link is not None:
        fault = link_fault(entry.path, link.decode("utf-8", "surrogateescape"))
        return Refusal("link-leaves-tree", f"{entry.path!a}: {fault}") if fault else None
    return None
