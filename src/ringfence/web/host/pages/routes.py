"""The addresses of the review pages: log in, repositories, pull requests, one pull request and what is done to it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from ringfence.web.host.api import latest_statuses
from ringfence.web.host.pages.diff import read_diff
from ringfence.web.host.pages.render import STYLE, page
from ringfence.web.host.pages.sessions import (
    Review,
    Visitor,
    check_form,
    check_origin,
    log_in,
    log_out,
    review_of,
    visitor_of,
)
from ringfence.web.host.principals import digest_of
from ringfence.web.host.pulls import Edit
from ringfence.web.host.records import Pull, Remark
from ringfence.web.host.site import site_of
from ringfence.web.host.standing import APPROVED, CHANGES_REQUESTED, COMMENTED, may_judge

router = APIRouter()
Visiting = Annotated[Visitor, Depends(visitor_of)]
Reviewing = Annotated[Review, Depends(review_of)]
Action = Literal["comment", "approve", "request-changes", "ready", "merge", "close", "reopen"]
_COMMITS_SHOWN = 100
_DIFF_BYTES = 64 << 20


@router.get("/static/host.css", include_in_schema=False)
def style() -> FileResponse:
    """The one style sheet."""
    return FileResponse(STYLE, media_type="text/css", headers={"Cache-Control": "max-age=300"})


@router.get("/login")
def login_page(next: Annotated[str, Query()] = "/") -> HTMLResponse:
    """Where a human pastes a token."""
    return page("login.html", target=next)


@router.post("/login")
def login(request: Request, token: Annotated[str, Form()], target: Annotated[str, Form()] = "/") -> RedirectResponse:
    """Log in with a token."""
    check_origin(request)
    return log_in(request, site_of(request).principals.authenticate(token.strip()), target)


@router.get("/login/{code}")
def login_link(request: Request, code: str, next: Annotated[str, Query()] = "/") -> RedirectResponse:
    """Log in with a link, once. Another site cannot send a browser here, so it cannot log one in as somebody else."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise HTTPException(403, "open the link itself, not from another page")
    site = site_of(request)
    name = site.logins.use_link(digest_of(code), site.clock.now())
    return log_in(request, site.principals.find(name) if name else None, next)


@router.post("/logout", dependencies=[Depends(check_form)])
def logout(visitor: Visiting) -> RedirectResponse:
    """Log out."""
    return log_out(visitor)


@router.get("/")
def repositories(visitor: Visiting) -> HTMLResponse:
    """The repositories that one may see."""
    site = visitor.site
    names = sorted(name for name in site.layout.policies() if visitor.principal.may(name))
    rows = [
        (name, site.pulls.place(visitor.principal, name).policy, _counts(site.records.pulls(name))) for name in names
    ]
    return page("repositories.html", visitor=visitor, rows=rows)


@router.get("/{owner}/{name}")
def pulls(review: Reviewing, state: Annotated[Literal["open", "merged", "closed"], Query()] = "open") -> HTMLResponse:
    """The pull requests of a repository."""
    site, place = review.visitor.site, review.place
    rows = [
        (pull, latest_statuses(site.records.statuses(place.name, place.bare.tip(pull.head) or pull.head_sha)))
        for pull in site.records.pulls(place.name, state=state)[:200]
    ]
    counts = _counts(site.records.pulls(place.name))
    return page("pulls.html", visitor=review.visitor, place=place, rows=rows, state=state, counts=counts, url=site.url,
                now=site.clock.now())  # fmt: skip


@router.get("/{owner}/{name}/pull/{number}.diff")
def raw_diff(review: Reviewing, number: int) -> Response:
    """The whole diff as plain text."""
    standing = review.visitor.site.pulls.standing(review.place, review.visitor.site.pulls.find(review.place, number))
    text, whole = review.place.bare.patch(standing.fork, standing.head, _DIFF_BYTES)
    if not whole:
        raise HTTPException(413, "the diff is too large for a browser: fetch the branch")
    return Response(text, media_type="text/plain; charset=utf-8")


@router.get("/{owner}/{name}/pull/{number}")
def pull_page(review: Reviewing, number: int) -> HTMLResponse:
    """One pull request, all of it on one page."""
    site, place = review.visitor.site, review.place
    pull = site.pulls.find(place, number)
    standing = site.pulls.standing(place, pull)
    total = place.bare.count(standing.base, standing.head)
    return page(
        "pull.html",
        visitor=review.visitor,
        place=place,
        pull=pull,
        standing=standing,
        statuses=latest_statuses(site.records.statuses(place.name, standing.head)),
        commits=place.bare.commits(standing.base, standing.head, limit=_COMMITS_SHOWN),
        commit_total=total,
        diff=read_diff(place.bare, standing.fork, standing.head),
        remarks=site.records.remarks(place.name, number),
        may_judge=place.permission.review and may_judge(pull, review.visitor.principal.name, site.principals),
        url=site.url,
        now=site.clock.now(),
    )


@router.post("/{owner}/{name}/pull/{number}", dependencies=[Depends(check_form)])
def act(
    review: Reviewing,
    number: int,
    action: Annotated[Action, Form()],
    body: Annotated[str, Form()] = "",
    sha: Annotated[str, Form()] = "",
) -> RedirectResponse:
    """Do what a button says; the commit that was on the page comes along, and must still be the newest."""
    pull = review.visitor.site.pulls.find(review.place, number)
    _do(review, pull, action, body=body.replace("\r\n", "\n"), sha=sha)
    return RedirectResponse(f"/{review.place.name}/pull/{number}#decide", 303)


def _do(review: Review, pull: Pull, action: Action, *, body: str, sha: str) -> None:
    pulls, who, place = review.visitor.site.pulls, review.visitor.principal, review.place
    kinds = {"approve": APPROVED, "request-changes": CHANGES_REQUESTED}
    edits = {"ready": Edit(draft=False), "close": Edit(state="closed"), "reopen": Edit(state="open")}
    if action == "merge":
        if not sha:
            raise HTTPException(422, "the page did not say which commit it showed")
        pulls.merge(who, place, pull, sha)
    elif action in edits:
        pulls.edit(who, place, pull, edits[action])
    elif action == "comment" and not (place.permission.review and pull.state == "open"):
        pulls.comment(who, place, pull, body)
    else:
        kind = kinds.get(action, COMMENTED)
        pulls.review(who, place, pull, Remark(0, pull.repository, pull.number, "", "", kind, body, sha, 0.0))


def _counts(pulls: list[Pull]) -> dict[str, int]:
    found = {"open": 0, "merged": 0, "closed": 0}
    for pull in pulls:
        found[pull.state] += 1
    return found
