"""The REST API, in the shapes of GitHub's, for the operations that a worker and a reviewer need.

It answers to tokens in the Authorization header only, and takes JSON only, so that no other site's page
can make a browser use it.
"""

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from pydantic import AfterValidator, BaseModel, Field

from ringfence.web.host import shapes
from ringfence.web.host.principals import Principal
from ringfence.web.host.pulls import Edit, NewPull
from ringfence.web.host.records import Remark, Status
from ringfence.web.host.shapes import Shape
from ringfence.web.host.site import Visit, caller_of, visit_of
from ringfence.web.host.standing import APPROVED, CHANGES_REQUESTED, COMMENTED

SHA = re.compile(r"[0-9a-f]{40}")
_EVENTS = {"APPROVE": APPROVED, "REQUEST_CHANGES": CHANGES_REQUESTED, "COMMENT": COMMENTED}
_COMMITS_SHOWN = 250


def json_only(request: Request) -> None:
    """Writing takes JSON by its proper name, which a form of a foreign page cannot send."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if request.method != "GET" and kind not in ("application/json", "application/vnd.github+json"):
        raise HTTPException(415, "Content-Type must be application/json")


def whole(text: str) -> str:
    """JSON can spell half of a character, which is no text and cannot be kept."""
    text.encode("utf-8")  # a UnicodeEncodeError is a ValueError: the field is refused
    return text


Text = Annotated[str, AfterValidator(whole)]
router = APIRouter(dependencies=[Depends(json_only)])
Visiting = Annotated[Visit, Depends(visit_of)]


class Page(BaseModel):
    """Which part of a list is wanted."""

    per_page: int = Field(default=30, ge=1, le=100)
    page: int = Field(default=1, ge=1, le=1_000_000)

    def of(self, rows: list[Any]) -> list[Any]:
        """That part."""
        start = (self.page - 1) * self.per_page
        return rows[start : start + self.per_page]


class PullFilter(Page):
    """Which pull requests are wanted; `head` may be `owner:branch`."""

    state: Literal["open", "closed", "all"] = "open"
    head: str = ""
    base: str = ""


class PullBody(BaseModel):
    """A new pull request."""

    title: Text
    head: Text
    base: Text
    body: Text | None = None
    draft: bool = False


class EditBody(BaseModel):
    """Changes of a pull request."""

    title: Text | None = None
    body: Text | None = None
    state: Literal["open", "closed"] | None = None
    draft: bool | None = None


class CommentBody(BaseModel):
    """A comment."""

    body: Text


class ReviewBody(BaseModel):
    """A review; without `commit_id` it is of the newest commit."""

    event: Literal["APPROVE", "REQUEST_CHANGES", "COMMENT"]
    body: Text = ""
    commit_id: Text | None = None


class MergeBody(BaseModel):
    """A merge; `sha` is the head that was looked at."""

    sha: Text | None = None
    merge_method: Literal["merge"] = "merge"


class StatusBody(BaseModel):
    """A status of a commit."""

    state: Literal["error", "failure", "pending", "success"]
    context: Text = Field(default="default", min_length=1, max_length=255)
    description: Text | None = Field(default=None, max_length=140)
    target_url: Text | None = Field(default=None, max_length=2048, pattern=r"^https?://")


@router.get("/user")
def get_user(principal: Annotated[Principal, Depends(caller_of)]) -> Shape:
    """Whose token this is."""
    return shapes.viewer(principal)


@router.get("/repos/{owner}/{name}")
def get_repository(visit: Visiting) -> Shape:
    """A repository and what one may do in it."""
    return shapes.repository(visit.site, visit.place)


@router.get("/repos/{owner}/{name}/pulls")
def list_pulls(visit: Visiting, wanted: Annotated[PullFilter, Query()]) -> list[Shape]:
    """The pull requests, newest first."""
    owner, colon, branch = wanted.head.partition(":")
    if colon and owner != visit.place.name.split("/")[0]:
        return []
    state = {"all": "", "open": "open", "closed": "done"}[wanted.state]
    head = branch if colon else wanted.head
    rows = visit.site.records.pulls(visit.place.name, state=state, head=head, base=wanted.base)
    return [
        shapes.pull_request(
            visit.site, pull, head=visit.place.bare.tip(pull.head) or "" if pull.state == "open" else ""
        )
        for pull in wanted.of(rows)
    ]


@router.post("/repos/{owner}/{name}/pulls", status_code=201)
def create_pull(visit: Visiting, body: PullBody) -> Shape:
    """Open a pull request; 422 when its branch has an open one."""
    head = body.head.removeprefix(f"{visit.place.name.split('/')[0]}:")
    new = NewPull(head, body.base, body.title, body.body or "", body.draft)
    pull = visit.site.pulls.create(visit.principal, visit.place, new)
    return shapes.pull_request(visit.site, pull, visit.site.pulls.standing(visit.place, pull))


@router.get("/repos/{owner}/{name}/pulls/{number}")
def get_pull(visit: Visiting, number: int) -> Shape:
    """One pull request."""
    pull = visit.site.pulls.find(visit.place, number)
    return shapes.pull_request(visit.site, pull, visit.site.pulls.standing(visit.place, pull))


@router.patch("/repos/{owner}/{name}/pulls/{number}")
def edit_pull(visit: Visiting, number: int, body: EditBody) -> Shape:
    """Change its words or its state."""
    edit = Edit(body.title, body.body, body.state, body.draft)
    pull = visit.site.pulls.edit(visit.principal, visit.place, visit.site.pulls.find(visit.place, number), edit)
    return shapes.pull_request(visit.site, pull, visit.site.pulls.standing(visit.place, pull))


@router.get("/repos/{owner}/{name}/pulls/{number}/commits")
def list_commits(visit: Visiting, number: int, wanted: Annotated[Page, Query()]) -> list[Shape]:
    """The commits that it would bring."""
    standing = visit.site.pulls.standing(visit.place, visit.site.pulls.find(visit.place, number))
    rows = list(visit.place.bare.commits(standing.base, standing.head, limit=_COMMITS_SHOWN))
    return [shapes.commit(row) for row in wanted.of(rows)]


@router.get("/repos/{owner}/{name}/pulls/{number}/files")
def list_files(visit: Visiting, number: int, wanted: Annotated[Page, Query()]) -> list[Shape]:
    """The paths that it changes: all of them, a page at a time, without a cap."""
    standing = visit.site.pulls.standing(visit.place, visit.site.pulls.find(visit.place, number))
    rows = list(visit.place.bare.changed_files(standing.fork, standing.head))
    return [shapes.changed_file(row) for row in wanted.of(rows)]


@router.get("/repos/{owner}/{name}/pulls/{number}/reviews")
def list_reviews(visit: Visiting, number: int, wanted: Annotated[Page, Query()]) -> list[Shape]:
    """The reviews, oldest first."""
    pull = visit.site.pulls.find(visit.place, number)
    rows = [row for row in visit.site.records.remarks(pull.repository, number) if row.kind in _EVENTS.values()]
    return [shapes.review(visit.site, pull, row) for row in wanted.of(rows)]


@router.post("/repos/{owner}/{name}/pulls/{number}/reviews")
def create_review(visit: Visiting, number: int, body: ReviewBody) -> Shape:
    """Review as a human."""
    pull = visit.site.pulls.find(visit.place, number)
    sha = body.commit_id or visit.place.bare.tip(pull.head) or ""
    wanted = Remark(0, pull.repository, number, "", "", _EVENTS[body.event], body.body, sha, 0.0)
    kept = visit.site.pulls.review(visit.principal, visit.place, pull, wanted)
    return shapes.review(visit.site, pull, kept)


@router.put("/repos/{owner}/{name}/pulls/{number}/merge")
def merge_pull(visit: Visiting, number: int, body: MergeBody) -> Shape:
    """Merge as a human, when nothing stands against it."""
    pull = visit.site.pulls.find(visit.place, number)
    commit = visit.site.pulls.merge(visit.principal, visit.place, pull, body.sha or "")
    return {"sha": commit, "merged": True, "message": "Pull Request successfully merged"}


@router.get("/repos/{owner}/{name}/issues/{number}/comments")
def list_comments(visit: Visiting, number: int, wanted: Annotated[Page, Query()]) -> list[Shape]:
    """The comments, oldest first."""
    pull = visit.site.pulls.find(visit.place, number)
    rows = [row for row in visit.site.records.remarks(pull.repository, number) if row.kind == "comment"]
    return [shapes.comment(visit.site, pull, row) for row in wanted.of(rows)]


@router.post("/repos/{owner}/{name}/issues/{number}/comments", status_code=201)
def create_comment(visit: Visiting, number: int, body: CommentBody) -> Shape:
    """Comment."""
    pull = visit.site.pulls.find(visit.place, number)
    return shapes.comment(visit.site, pull, visit.site.pulls.comment(visit.principal, visit.place, pull, body.body))


@router.post("/repos/{owner}/{name}/statuses/{sha}", status_code=201)
def create_status(visit: Visiting, sha: str, body: StatusBody) -> Shape:
    """Report a status of a commit."""
    wanted = Status(0, "", _sha(sha), body.context, body.state, body.description or "", body.target_url, "", 0.0)
    return shapes.full_status(visit.site.pulls.report(visit.principal, visit.place, wanted))


@router.get("/repos/{owner}/{name}/commits/{sha}/statuses")
def list_statuses(visit: Visiting, sha: str, wanted: Annotated[Page, Query()]) -> list[Shape]:
    """The statuses of a commit, newest first."""
    return [shapes.full_status(row) for row in wanted.of(visit.site.records.statuses(visit.place.name, _sha(sha)))]


@router.get("/repos/{owner}/{name}/commits/{sha}/status")
def combined_status(visit: Visiting, sha: str, response: Response) -> Shape:
    """The newest status of each context, and all of them in one word."""
    rows = latest_statuses(visit.site.records.statuses(visit.place.name, _sha(sha)))
    states = {row.state for row in rows}
    state = "failure" if states & {"failure", "error"} else "success" if states == {"success"} else "pending"
    response.headers["Cache-Control"] = "no-store"
    return {
        "state": state,
        "statuses": [shapes.status(row) for row in rows],
        "sha": sha,
        "total_count": len(rows),
        "repository": shapes.repository(visit.site, visit.place),
    }


def latest_statuses(rows: list[Status]) -> list[Status]:
    """The newest of each context, in the order in which the contexts first came."""
    newest: dict[str, Status] = {}
    for row in reversed(rows):
        newest[row.context] = row
    return list(newest.values())


def _sha(given: str) -> str:
    if not SHA.fullmatch(given):
        raise HTTPException(422, "No commit found for SHA")
    return given
