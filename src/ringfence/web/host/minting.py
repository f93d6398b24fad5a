"""The API by which a minter makes short-lived tokens, in the shape of GitHub's installation access tokens.

Beyond that shape: repositories are named with their owner, `branch_prefix` and `expires_in` narrow a
token further, and `reference` is a name of the caller's own by which it is revoked when nobody has it any more.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ringfence.web.host.api import Text, json_only
from ringfence.web.host.principals import Permission, Principal
from ringfence.web.host.shapes import Shape, when
from ringfence.web.host.site import CHALLENGE, Site, minter_of, site_of, token_of
from ringfence.web.host.tokens import LONGEST_SECONDS, REFERENCE, Minted, narrowed

router = APIRouter()
Minter = Annotated[Principal, Depends(minter_of)]
OurSite = Annotated[Site, Depends(site_of)]


class Permissions(BaseModel):
    """What a token may do in its repositories. Writing is pushing, pull requests and statuses."""

    model_config = ConfigDict(extra="forbid")

    contents: Literal["read", "write"]


class TokenBody(BaseModel):
    """A token that is wanted. Nothing is left to a default that would be broad."""

    model_config = ConfigDict(extra="forbid")

    repositories: list[Text] = Field(min_length=1, max_length=100)
    permissions: Permissions
    branch_prefix: Text | None = None
    expires_in: int = Field(default=600, ge=1, le=LONGEST_SECONDS)
    reference: str = Field(pattern=f"^{REFERENCE.pattern}$")


@router.post("/app/installations/{name}/access_tokens", status_code=201, dependencies=[Depends(json_only)])
def create_token(site: OurSite, minter: Minter, name: str, body: TokenBody) -> Shape:
    """Mint. 422 when the minter may not give that much; 409 when the reference has been used."""
    _require_own(minter, name)
    made = site.tokens.mint(minter, body.reference, _permissions(minter, body), seconds=body.expires_in)
    if made is None:
        raise HTTPException(409, "this reference has been used")
    token, minted = made
    return {"token": token, "repository_selection": "selected", **_shape(site, minted)}


@router.get("/app/installations/{name}/access_tokens/{reference}")
def get_token(site: OurSite, minter: Minter, name: str, reference: str) -> Shape:
    """Whether a token of this minter still lives; never the token."""
    _require_own(minter, name)
    minted = site.tokens.find(minter.name, reference)
    if minted is None:
        raise HTTPException(404, "Not Found")
    return _shape(site, minted)


@router.delete("/app/installations/{name}/access_tokens/{reference}")
def revoke_by_reference(site: OurSite, minter: Minter, name: str, reference: str) -> Shape:
    """Revoke a token that nobody has any more. Doing it twice, or before it was minted, ends it as well."""
    _require_own(minter, name)
    if not REFERENCE.fullmatch(reference):
        raise HTTPException(404, "Not Found")
    return _shape(site, site.tokens.revoke(minter.name, reference))


@router.delete("/installation/token", status_code=204)
def revoke_shown(request: Request, site: OurSite) -> Response:
    """Revoke the token of this very request."""
    if not site.tokens.revoke_token(token_of(request)):
        raise HTTPException(401, "Bad credentials", headers=CHALLENGE)
    return Response(status_code=204)


def _require_own(minter: Principal, name: str) -> None:
    """A minter has one installation: itself."""
    if name not in (minter.name, "self"):
        raise HTTPException(404, "Not Found")


def _permissions(minter: Principal, body: TokenBody) -> dict[str, Permission]:
    """Exactly what was asked for, or a refusal: a token is never made broader or narrower than its bearer believes."""
    writes = body.permissions.contents == "write"
    if body.branch_prefix is not None and not writes:
        raise HTTPException(422, "branch_prefix belongs to contents: write")
    found: dict[str, Permission] = {}
    for name in body.repositories:
        most = minter.permissions.get(name)
        prefix = (most.write_prefix if most and body.branch_prefix is None else body.branch_prefix) if writes else None
        wanted = Permission(write_prefix=prefix)
        if most is None or narrowed(wanted, most) != wanted or (writes and prefix is None):
            raise HTTPException(422, f"{minter.name} may not mint {body.permissions.contents} for {name[:140]!a}")
        found[name] = wanted
    return found


def _shape(site: Site, minted: Minted) -> Shape:
    writes = any(permission.write_prefix is not None for permission in minted.permissions.values())
    prefixes = sorted({one.write_prefix for one in minted.permissions.values() if one.write_prefix is not None})
    return {
        "reference": minted.reference,
        "created_at": when(minted.created),
        "expires_at": when(minted.expires),
        "expires_in": round(minted.expires - minted.created),
        "active": site.tokens.lives(minted),
        "permissions": {"contents": "write" if writes else "read"},
        "branch_prefixes": prefixes,
        "repositories": [{"full_name": name} for name in sorted(minted.permissions)],
    }
