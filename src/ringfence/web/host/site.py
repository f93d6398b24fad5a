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
from ringfence.web.host.tokens import Tokens

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
    tokens: Tokens
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
    """Who holds the request's token, a durable or a minted one. Cookies count for nothing here."""
    token = token_of(request)
    site = site_of(request)
    principal = (site.principals.authenticate(token) or site.tokens.authenticate(token)) if token else None
    if principal is None:
        raise HTTPException(401, "Bad credentials" if token else "Requires authentication", headers=CHALLENGE)
    if principal.kind == "minter":
        raise HTTPException(403, f"{principal.name} mints tokens and may do nothing else")
    return principal


def minter_of(request: Request) -> Principal:
    """The minter that a request comes from; nobody else mints."""
    token = token_of(request)
    site = site_of(request)
    principal = site.principals.authenticate(token) if token else None
    if principal is None and (not token or site.tokens.authenticate(token) is None):
        raise HTTPException(401, "Bad credentials" if token else "Requires authentication", headers=CHALLENGE)
    if principal is None or principal.kind != "minter":
        raise HTTPException(403, "this token may not mint")
    return principal


def visit_of(request: Request) -> Visit:
    """The repository that the address names, as the token's holder may see it."""
    site, principal = site_of(request), caller_of(request)
    names = request.path_params
    return Visit(site, principal, site.pulls.place(principal, f"{names['owner']}/{names['name']}"))


def token_of(request: Request) -> str:
    """The token of a Bearer or Basic header (any user name; the token is the password)."""
    header = request.headers.get("authorization", "")
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
