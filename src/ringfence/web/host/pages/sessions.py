"""Logging a human in, and knowing the browser again: a cookie, a form token, the right origin.

A session is nothing without its principal: when that is taken out or expires, the session is over.
"""

import hmac
import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, Form, HTTPException, Request
from fastapi.responses import RedirectResponse

from ringfence.web.host.logins import Session
from ringfence.web.host.principals import Principal, digest_of
from ringfence.web.host.pulls import Place
from ringfence.web.host.site import Site, site_of

_LIFE_SECONDS = 12 * 3600.0
_PATH = re.compile(r"/(?:[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*)?(?:\?state=[a-z]+)?")


@dataclass(frozen=True, slots=True)
class Visitor:
    """A human with a browser."""

    site: Site
    principal: Principal
    session: Session


@dataclass(frozen=True, slots=True)
class Review:
    """A human with a browser at one repository."""

    visitor: Visitor
    place: Place


def visitor_of(request: Request) -> Visitor:
    """Who looks; someone unknown is sent to the login page."""
    found = _known(request)
    if found is None:
        path = request.url.path if request.method == "GET" else "/"
        raise HTTPException(303, "log in first", headers={"Location": f"/login?next={quote(path)}"})
    return found


def review_of(request: Request, visitor: Annotated[Visitor, Depends(visitor_of)]) -> Review:
    """The repository that the address names."""
    names = request.path_params
    place = visitor.site.pulls.place(visitor.principal, f"{names['owner']}/{names['name']}")
    return Review(visitor, place)


def check_form(
    request: Request, visitor: Annotated[Visitor, Depends(visitor_of)], csrf: Annotated[str, Form()] = ""
) -> None:
    """A form counts only from our own page, in the same session."""
    check_origin(request)
    if not hmac.compare_digest(csrf.encode(), visitor.session.csrf.encode()):
        raise HTTPException(403, "the form is too old: load the page again")


def check_origin(request: Request) -> None:
    """The browser says that our own page sent this (the guard has refused every other origin already)."""
    if request.headers.get("origin") is None and request.headers.get("sec-fetch-site") not in ("same-origin", "none"):
        raise HTTPException(403, "the browser does not say where the form came from")


def log_in(request: Request, principal: Principal | None, target: str) -> RedirectResponse:
    """Begin a session and go on to one of our own pages."""
    site = site_of(request)
    if principal is None or not principal.is_human:
        raise HTTPException(401, "this does not log anybody in: only human principals use the pages")
    secret, now = site.clock.token(32), site.clock.now()
    session = Session(digest_of(secret), principal.name, site.clock.token(32), now + _LIFE_SECONDS)
    site.logins.begin(session, now)
    answer = RedirectResponse(target if _PATH.fullmatch(target) else "/", 303)
    secure = site.url.startswith("https://")
    answer.set_cookie(
        _cookie(site), secret, max_age=int(_LIFE_SECONDS), httponly=True, samesite="strict", secure=secure, path="/"
    )
    return answer


def log_out(visitor: Visitor) -> RedirectResponse:
    """End a session."""
    visitor.site.logins.end(visitor.session.digest)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(_cookie(visitor.site), path="/")
    return answer


def _known(request: Request) -> Visitor | None:
    site = site_of(request)
    secret = request.cookies.get(_cookie(site), "")
    session = site.logins.find(digest_of(secret), site.clock.now()) if secret else None
    principal = site.principals.find(session.principal) if session is not None else None
    if session is None or principal is None or not principal.is_human:
        return None
    return Visitor(site, principal, session)


def _cookie(site: Site) -> str:
    """Cookies know no ports, so the name does: two hosts on one machine do not take each other's."""
    return f"ringfence_session_{urlsplit(site.url).port or 443}"
