"""One running host: what every request needs, put together once, and who a request comes from."""

import base64
import binascii
from dataclasses import dataclass

from fastapi import HTTPException, Request

from ringfence.ports.clock import Clock
from ringfence.web.host.layout import Layout
from ringfence.web.host.logins import Logins
from ringfence.web.host.principals import Principal, Principals
from ringfence.web.host.pulls import Place, PullRequests
from ringfence.web.host.records import Records

CHALLENGE = {"WWW-Authenticate": 'Basic realm="Ringfence code host", charset="UTF-8"'}


@dataclass(frozen=True, slots=True)
class Site:
    """The parts of a host. `url` is its one address, without a slash at the end."""

    url: str
    layout: Layout
    records: Records
    logins: Logins
    principals: Principals
    pulls: PullRequests
    clock: Clock


@dataclass(frozen=True, slots=True)
class Visit:
    """A request with a token to one repository."""

    site: Site
    principal: Principal
    place: Place


def site_of(request: Request) -> Site:
    """The site that serves a request."""
    site = request.app.state.site
    assert isinstance(site, Site)
    return site


def caller_of(request: Request) -> Principal:
    """Who holds the request's token. Cookies count for nothing here."""
    token = _token(request.headers.get("authorization", ""))
    principal = site_of(request).principals.authenticate(token) if token else None
    if principal is None:
        raise HTTPException(401, "Bad credentials" if token else "Requires authentication", headers=CHALLENGE)
    return principal


def visit_of(request: Request) -> Visit:
    """The repository that the address names, as the token's holder may see it."""
    site, principal = site_of(request), caller_of(request)
    names = request.path_params
    return Visit(site, principal, site.pulls.place(principal, f"{names['owner']}/{names['name']}"))


def _token(header: str) -> str:
    """The token of a Bearer or Basic header (any user name; the token is the password)."""
    scheme, _, rest = header.partition(" ")
    rest = rest.strip()
    if scheme.lower() in ("bearer", "token"):
        return rest
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
