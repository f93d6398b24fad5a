"""How far a pull request is from being merged: who approved which commit, and what stands against it.

An approval counts for the commit it was given to, from a living human principal that may review, did not
open the pull request and cannot push to its branch. Workers count for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ringfence.web.host.git.policy import RepositoryPolicy, judge_entries, reaches
from ringfence.web.host.git.repository import Bare
from ringfence.web.host.principals import Principals
from ringfence.web.host.records import Pull, Remark

APPROVED, CHANGES_REQUESTED, COMMENTED = "APPROVED", "CHANGES_REQUESTED", "COMMENTED"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One reviewer's latest word. `counts` is false for an approval of an older commit."""

    reviewer: str
    kind: str
    sha: str
    counts: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a pull request stands now. `tree` is what a merge would give, None when there is none."""

    head: str
    base: str
    fork: str
    verdicts: tuple[Verdict, ...]
    needed: int
    tree: str | None
    blockers: tuple[str, ...]

    @property
    def approvals(self) -> tuple[str, ...]:
        """Whose approvals count."""
        return tuple(verdict.reviewer for verdict in self.verdicts if verdict.kind == APPROVED and verdict.counts)


def standing_of(pull: Pull, bare: Bare, policy: RepositoryPolicy, verdicts: tuple[Verdict, ...]) -> Standing:
    """Judge a pull request as it is now; a closed one is seen as it was when it was closed."""
    if pull.state != "open":
        fork = bare.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
        return Standing(pull.head_sha, pull.base_sha, fork, verdicts, policy.approvals, None, (f"it is {pull.state}",))
    head, base = bare.tip(pull.head) or pull.head_sha, bare.tip(pull.base) or pull.base_sha
    fork = bare.merge_base(base, head) or base
    tree = bare.merged_tree(base, head)
    blockers = [*_blockers(pull, policy, verdicts)]
    if tree is None:
        blockers.append(f"it conflicts with {pull.base}")
    elif fork == head:
        blockers.append(f"{pull.base} has all of it already")
    else:
        refusal = judge_entries(policy, bare.entries(base, tree), by_worker=pull.author_kind == "worker")
        blockers += [str(refusal)] if refusal else []
    return Standing(head, base, fork, verdicts, policy.approvals, tree, tuple(blockers))


def verdicts_of(pull: Pull, remarks: Sequence[Remark], principals: Principals, head: str) -> tuple[Verdict, ...]:
    """Each reviewer's latest approval or request for changes, if it may count at all."""
    latest = {remark.author: remark for remark in remarks if remark.kind in (APPROVED, CHANGES_REQUESTED)}
    return tuple(
        Verdict(name, remark.kind, remark.sha, remark.kind == CHANGES_REQUESTED or remark.sha == head)
        for name, remark in latest.items()
        if may_judge(pull, name, principals)
    )


def may_judge(pull: Pull, name: str, principals: Principals) -> bool:
    """This principal's word may count for this pull request."""
    principal = principals.find(name)
    permission = principal.may(pull.repository) if principal is not None else None
    if principal is None or permission is None:
        return False
    prefix = permission.write_prefix
    writes_it = prefix is not None and reaches(prefix, pull.head)
    return principal.is_human and permission.review and name != pull.author and not writes_it


def _blockers(pull: Pull, policy: RepositoryPolicy, verdicts: tuple[Verdict, ...]) -> list[str]:
    found = []
    if pull.draft:
        found.append("it is a draft: a human marks it ready first")
    asking = sorted(verdict.reviewer for verdict in verdicts if verdict.kind == CHANGES_REQUESTED)
    if asking:
        found.append(f"{', '.join(asking)} asked for changes")
    given = sum(verdict.kind == APPROVED and verdict.counts for verdict in verdicts)
    if given < policy.approvals:
        found.append(f"it has {given} of {policy.approvals} approvals of its newest commit")
    return found
