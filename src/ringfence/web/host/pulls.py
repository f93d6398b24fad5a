"""What may be done to a pull request, and by whom; the API and the pages both come through here.

A rule that says no is an HTTPException with GitHub's status for it, so that either front can show it.
"""

from dataclasses import dataclass, replace

from fastapi import HTTPException

from ringfence.domain.errors import HostFailed
from ringfence.domain.paths import ref_fault
from ringfence.ports.clock import Clock
from ringfence.ports.objects import Authorship
from ringfence.web.host.git.policy import RepositoryPolicy, reaches
from ringfence.web.host.git.repository import Bare
from ringfence.web.host.layout import Layout
from ringfence.web.host.principals import Permission, Principal, Principals
from ringfence.web.host.records import Pull, Records, Remark, Status
from ringfence.web.host.standing import APPROVED, COMMENTED, Standing, may_judge, standing_of, verdicts_of

BODY_LIMIT, TITLE_LIMIT = 65_536, 256


@dataclass(frozen=True, slots=True)
class Place:
    """A repository as one principal may see it."""

    name: str
    policy: RepositoryPolicy
    bare: Bare
    permission: Permission


@dataclass(frozen=True, slots=True)
class NewPull:
    """What a new pull request should say."""

    head: str
    base: str
    title: str
    body: str
    draft: bool


@dataclass(frozen=True, slots=True)
class Edit:
    """What should change of a pull request; None leaves it."""

    title: str | None = None
    body: str | None = None
    state: str | None = None
    draft: bool | None = None


class PullRequests:
    """The pull requests of a host."""

    def __init__(self, layout: Layout, records: Records, principals: Principals, clock: Clock) -> None:
        self._layout = layout
        self._records = records
        self._principals = principals
        self._clock = clock

    def place(self, principal: Principal, repository: str) -> Place:
        """A repository. One that the principal may not read and one that is not there look the same."""
        permission = principal.may(repository)
        policy = self._layout.policies().get(repository) if permission is not None else None
        if permission is None or policy is None:
            raise HTTPException(404, "Not Found")
        return Place(repository, policy, Bare(self._layout.bare(repository)), permission)

    def find(self, place: Place, number: int) -> Pull:
        """One pull request of a repository."""
        pull = self._records.pull(place.name, number) if number < 2**31 else None
        if pull is None:
            raise HTTPException(404, "Not Found")
        return pull

    def standing(self, place: Place, pull: Pull) -> Standing:
        """Where it stands now."""
        head = pull.head_sha if pull.state != "open" else place.bare.tip(pull.head) or pull.head_sha
        remarks = self._records.remarks(place.name, pull.number)
        verdicts = verdicts_of(pull, remarks, self._principals, head)
        return standing_of(pull, place.bare, place.policy, verdicts)

    def create(self, principal: Principal, place: Place, new: NewPull) -> Pull:
        """Open a pull request from a branch that the principal may push."""
        prefix = place.permission.write_prefix
        if prefix is None or not reaches(prefix, new.head):
            raise HTTPException(403, f"{principal.name} may not open a pull request from {new.head!a}")
        _check_texts(new.title, new.body)
        plain = ref_fault(new.head) is None and ref_fault(new.base) is None
        head, base = (place.bare.tip(new.head), place.bare.tip(new.base)) if plain else (None, None)
        if head is None or base is None or new.head == new.base:
            raise HTTPException(422, f"{'head' if head is None else 'base'} is not a branch of {place.name}")
        if place.bare.contains(base, head):
            raise HTTPException(422, f"No commits between {new.base} and {new.head}")
        now = self._clock.now()
        kept = self._records.add_pull(
            Pull(place.name, 0, new.head, new.base, new.title, new.body, int(new.draft), principal.name, principal.kind,
                 "open", head, base, None, now, now, None)
        )  # fmt: skip
        if kept is None:
            owner = place.name.split("/")[0]
            raise HTTPException(422, f"A pull request already exists for {owner}:{new.head}.")
        return kept

    def edit(self, principal: Principal, place: Place, pull: Pull, edit: Edit) -> Pull:
        """Change words or state. Authors write; reviewers close and reopen; only a human marks a draft as ready."""
        reviews = principal.is_human and place.permission.review
        owns = principal.name == pull.author and place.permission.write_prefix is not None
        if not (owns or reviews):
            raise HTTPException(403, f"{principal.name} may not change this pull request")
        if edit.draft is not None and bool(pull.draft) != edit.draft and not reviews:
            raise HTTPException(403, "only a human reviewer marks a pull request as ready")
        if edit.state == "open" and pull.state == "closed" and not reviews:
            raise HTTPException(403, "only a human reviewer opens a closed pull request again")
        if pull.state == "merged" and edit.state not in (None, "closed"):
            raise HTTPException(422, "it is merged already")
        _check_texts(pull.title if edit.title is None else edit.title, edit.body or "")
        after = replace(
            pull,
            title=pull.title if edit.title is None else edit.title,
            body=pull.body if edit.body is None else edit.body,
            draft=pull.draft if edit.draft is None else int(edit.draft),
            updated=self._clock.now(),
        )
        return self._store(principal, place, pull, self._with_state(place, after, edit.state))

    def _with_state(self, place: Place, pull: Pull, state: str | None) -> Pull:
        if state is None or state == pull.state or pull.state == "merged":
            return pull
        if state == "open":
            return replace(pull, state="open", closed=None)
        # What was there when it was closed stays to be seen.
        head, base = place.bare.tip(pull.head), place.bare.tip(pull.base)
        return replace(
            pull, state="closed", closed=pull.updated, head_sha=head or pull.head_sha, base_sha=base or pull.base_sha
        )

    def _store(self, principal: Principal, place: Place, before: Pull, after: Pull) -> Pull:
        kind = ""
        if before.state != after.state:
            kind = {"open": "reopened"}.get(after.state, after.state)
        elif before.draft != after.draft:
            kind = "draft" if after.draft else "ready"
        remark = self._remark(principal, before, kind, sha=after.head_sha) if kind else None
        if not self._records.change_pull(before, after, remark=remark):
            raise HTTPException(409, "the pull request changed meanwhile, or its branch has another open one")
        return self.find(place, before.number)

    def comment(self, principal: Principal, place: Place, pull: Pull, body: str) -> Remark:
        """Keep a comment of someone who may write or review here."""
        if place.permission.write_prefix is None and not place.permission.review:
            raise HTTPException(403, f"{principal.name} may only read here")
        _check_remark(body)
        return self._records.add_remark(self._remark(principal, pull, "comment", body=body))

    def review(self, principal: Principal, place: Place, pull: Pull, review: Remark) -> Remark:
        """Keep a human's review (its `kind`, `body` and `sha`). An approval is of the newest commit or not at all."""
        if not (principal.is_human and place.permission.review):
            raise HTTPException(403, f"{principal.name} may not review: only humans with that permission do")
        if pull.state != "open":
            raise HTTPException(422, f"it is {pull.state}")
        if review.kind != COMMENTED and not may_judge(pull, principal.name, self._principals):
            raise HTTPException(422, "one's own pull request, or one's own branch, is for others to judge")
        if review.kind != APPROVED:
            _check_remark(review.body)
        if len(review.body) > BODY_LIMIT:
            raise HTTPException(422, "the body is too long")
        if review.kind == APPROVED and review.sha != place.bare.tip(pull.head):
            raise HTTPException(422, "the branch has moved since: look at the newest commit, then approve that")
        remark = self._remark(principal, pull, review.kind, body=review.body, sha=review.sha)
        return self._records.add_remark(remark)

    def merge(self, principal: Principal, place: Place, pull: Pull, sha: str) -> str:
        """Merge what was approved, by plumbing; `sha` is the head that the human saw, or nothing."""
        if not (principal.is_human and place.permission.review):
            raise HTTPException(403, f"{principal.name} may not merge: only human reviewers do")
        standing = self.standing(place, pull)
        if sha and sha != standing.head:
            raise HTTPException(409, "Head branch was modified. Review and try the merge again.")
        if standing.blockers or standing.tree is None:
            raise HTTPException(405, f"not merged: {'; '.join(standing.blockers)}")
        by = Authorship(principal.name, f"{principal.name}@example.internal", int(self._clock.now()))
        approvals = "".join(f"Approved-by: {name}\n" for name in standing.approvals)
        message = f"Merge pull request #{pull.number} from {pull.head}\n\n{_one_line(pull.title)}\n\n{approvals}"
        commit = place.bare.commit_tree(standing.tree, (standing.base, standing.head), message, by)
        if not self._records.intend_merge(place.name, pull.number, sha=commit, actor=principal.name):
            raise HTTPException(409, "a merge of it is under way")
        moved = False
        try:
            moved = place.bare.move_branch(pull.base, commit, standing.base)
        finally:
            if not moved:
                self._records.drop_merge(place.name, pull.number)
        if not moved:
            raise HTTPException(409, f"{pull.base} was modified. Review and try the merge again.")
        self._finish(place.bare, pull, commit, principal.name)
        return commit

    def settle(self) -> None:
        """Bring to an end what a stopped server left half merged: the branch says which way."""
        for repository, number, commit, actor in self._records.intended_merges():
            pull, bare = self._records.pull(repository, number), Bare(self._layout.bare(repository))
            tip = bare.tip(pull.base) if pull is not None else None
            if pull is not None and tip is not None and bare.contains(tip, commit):
                self._finish(bare, pull, commit, actor)
            else:
                self._records.drop_merge(repository, number)

    def _finish(self, bare: Bare, pull: Pull, commit: str, actor: str) -> None:
        base, head = bare.parents(commit)
        now = self._clock.now()
        remark = Remark(0, pull.repository, pull.number, actor, "human", "merged", "", commit, now)
        for _ in range(20):  # a title may be edited meanwhile; the merge has happened and must be kept
            before = self._records.pull(pull.repository, pull.number)
            if before is None or before.state == "merged":
                return
            after = replace(
                before, state="merged", head_sha=head, base_sha=base, merge_commit=commit, updated=now, closed=now
            )
            if self._records.change_pull(before, after, remark=remark):
                return
        raise HostFailed("the merge could not be recorded", mend="start the host again: it settles it")

    def report(self, principal: Principal, place: Place, status: Status) -> Status:
        """Keep a status of a commit that is here, from someone who may write here."""
        if place.permission.write_prefix is None:
            raise HTTPException(403, f"{principal.name} may not report statuses here")
        if not place.bare.has_commit(status.sha):
            raise HTTPException(422, f"No commit found for SHA: {status.sha}")
        now = self._clock.now()
        return self._records.add_status(replace(status, repository=place.name, creator=principal.name, created=now))

    def _remark(self, principal: Principal, pull: Pull, kind: str, *, body: str = "", sha: str = "") -> Remark:
        now = self._clock.now()
        return Remark(0, pull.repository, pull.number, principal.name, principal.kind, kind, body, sha, now)


def _check_texts(title: str, body: str) -> None:
    if not title.strip() or len(title) > TITLE_LIMIT:
        raise HTTPException(422, f"title must have 1 to {TITLE_LIMIT} characters")
    if len(body) > BODY_LIMIT:
        raise HTTPException(422, f"body is too long (maximum is {BODY_LIMIT} characters)")


def _check_remark(body: str) -> None:
    if not body.strip() or len(body) > BODY_LIMIT:
        raise HTTPException(422, f"body must have 1 to {BODY_LIMIT} characters")


def _one_line(text: str) -> str:
    """A stranger's title as one line of a commit message, without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
