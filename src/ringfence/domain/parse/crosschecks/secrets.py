"""Secrets by name: one purpose each, for listed repositories, as narrow as can be had, never a choice between two."""

from collections.abc import Iterator

from ringfence.domain.boundary import Boundary, SecretUse
from ringfence.domain.measures import duration_text
from ringfence.domain.parse.crosschecks.check import CrossCheck, quoted, repeated
from ringfence.domain.parse.problem import Finding, Steps

_LONGEST = 3600
#: What a secret is bound to instead of repositories.
_BOUND = {
    "mint": "what the secrets that name it say",
    "model": "its route",
    "registry": "the network rule that names it",
    "canary": "nothing, as it opens nothing",
}


def _names(boundary: Boundary) -> Iterator[Finding]:
    first: dict[str, SecretUse] = {}
    for place, use in enumerate(boundary.secrets):
        other = first.setdefault(use.name, use)
        steps: Steps = ("secrets", place)
        if other is not use and other.purpose != use.purpose:
            what = f"secret `{use.name}` is for {other.purpose} and for {use.purpose}: one secret that can do both"
            yield Finding(
                (*steps, "name"), what, "use two secrets with different names, each with rights for one purpose"
            )
        elif other is not use:
            yield Finding((*steps, "name"), f"secret `{use.name}` is listed twice", "make it one entry")


def _scopes(boundary: Boundary) -> Iterator[Finding]:
    for place, use in enumerate(boundary.secrets):
        steps: Steps = ("secrets", place, "repositories")
        if use.purpose not in ("checkout", "publish"):
            if use.repositories:
                bound = _BOUND[use.purpose]
                what = f"a secret for {use.purpose} is bound to {bound}, not to repositories"
                yield Finding(steps, what, "remove `repositories`")
            continue
        if not use.repositories:
            what = f"secret `{use.name}` is over-broad: it names no repository"
            yield Finding(("secrets", place), what, "write `repositories:` with those it may touch")
        yield from repeated(use.repositories, steps)
        for number, name in enumerate(use.repositories):
            yield from _scope(boundary, use, name, (*steps, number))


def _scope(boundary: Boundary, use: SecretUse, name: str, steps: Steps) -> Iterator[Finding]:
    listed = boundary.repository(name)
    if listed is None:
        yield Finding(steps, f"{name!a} is not listed in `repositories`", "list it there, or remove it here")
    elif use.purpose == "publish" and listed.access != "write":
        yield Finding(steps, f"{name} is read-only, and `{use.name}` could write it", "remove it here")


def _coverage(boundary: Boundary) -> Iterator[Finding]:
    for place, repository in enumerate(boundary.repositories):
        publishes = repository.access == "write" and repository.stage != "observe"
        for purpose in ("checkout", "publish") if publishes else ("checkout",):
            serving = [
                use.name for use in boundary.secrets if use.purpose == purpose and repository.name in use.repositories
            ]
            if not serving:
                what = f"no secret serves the {purpose} of {repository.name}"
                yield Finding(
                    ("secrets",), what, f"list one with `purpose: {purpose}` and this repository", at_key=True
                )
            elif len(set(serving)) > 1:
                what = f"{quoted(serving)} all serve the {purpose} of {repository.name}, and nothing chooses"
                yield Finding(("repositories", place), what, "leave one of them")


def _narrow(boundary: Boundary) -> Iterator[Finding]:
    """Least privilege: a short-lived token where one can be had, and a reason where none can."""
    for place, use in enumerate(boundary.secrets):
        steps: Steps = ("secrets", place)
        if use.purpose not in ("checkout", "publish"):
            yield from _not_asked(use, steps)
        elif use.kind is None:
            what = f"`{use.name}` does not say whether it is minted or durable"
            mend = "write `kind: minted` with a `minter`, or `kind: durable` with a `reason` if the host cannot mint"
            yield Finding(steps, what, mend)
        else:
            yield from (_minted if use.kind == "minted" else _durable)(boundary, use, steps)


def _not_asked(use: SecretUse, steps: Steps) -> Iterator[Finding]:
    for key, given in (("kind", use.kind), ("minter", use.minter), ("reason", use.reason)):
        if given is not None:
            what = f"`{key}` is for checkout and publish; `{use.name}` is for {use.purpose}"
            yield Finding((*steps, key), what, "remove it")


def _minted(boundary: Boundary, use: SecretUse, steps: Steps) -> Iterator[Finding]:
    minter = boundary.secret(use.minter) if use.minter is not None else None
    if minter is None or minter.purpose != "mint":
        what = f"`{use.name}` is minted, and {use.minter!a} is no secret with purpose `mint`"
        if use.minter is None:
            what = f"`{use.name}` is minted, and nothing says by which secret"
        yield Finding(steps, what, "list one with `purpose: mint`, and name it as `minter`")
    if use.lifetime > _LONGEST:
        what = f"`{use.name}` is over-broad: its tokens would live for {duration_text(use.lifetime)}"
        yield Finding((*steps, "lifetime"), what, "write at most 1h; 10m is enough for most repositories")
    if use.reason is not None:
        yield Finding((*steps, "reason"), "a minted token needs no reason", "remove it")


def _durable(boundary: Boundary, use: SecretUse, steps: Steps) -> Iterator[Finding]:
    minters = [other.name for other in boundary.secrets if other.purpose == "mint"]
    if minters:
        what = f"`{use.name}` is durable, and a narrow one can be had: {quoted(minters)} mints short-lived tokens"
        yield Finding((*steps, "kind"), what, f"write `kind: minted` and `minter: {minters[0]}`")
    elif use.reason is None:
        what = f"`{use.name}` is durable: whoever gets hold of it has it for good, and no `reason` is given"
        mend = "write `kind: minted` and a `minter`; if the code host cannot mint, say so as `reason`"
        yield Finding((*steps, "kind"), what, mend)
    if len(use.repositories) > 1:
        what = f"`{use.name}` is over-broad: one durable value for {len(use.repositories)} repositories"
        yield Finding((*steps, "repositories"), what, "list one secret for each repository, or have them minted")
    if use.minter is not None:
        yield Finding((*steps, "minter"), f"`{use.name}` is durable: nothing mints it", "remove it")


def _unused(boundary: Boundary) -> Iterator[Finding]:
    used = {route.credential for route in boundary.models.routes}
    rules = [rule for phase in ("setup", "agent", "validation") for rule in boundary.network_rules(phase)]
    put = {rule.credential.secret for rule in rules if rule.credential is not None}
    minting = {use.minter for use in boundary.secrets if use.kind == "minted"}
    for place, use in enumerate(boundary.secrets):
        if use.purpose == "mint" and use.name not in minting:
            what = f"nothing is minted with `{use.name}`"
            yield Finding(("secrets", place), what, "remove it, or name it as the `minter` of others")
        if use.purpose == "registry" and use.name not in put:
            what = f"no network rule puts the secret `{use.name}` on requests"
            yield Finding(("secrets", place), what, "remove it, or name it as the `credential` of a rule that inspects")
        if use.purpose == "model" and use.name not in used:
            what = f"no route uses the secret `{use.name}`"
            yield Finding(("secrets", place), what, "remove it, or name it as a route's `credential`")


CHECKS = (
    CrossCheck(("secrets",), _names),
    CrossCheck(("secrets",), _narrow),
    CrossCheck(("secrets", "repositories"), _scopes),
    CrossCheck(("secrets", "repositories"), _coverage),
    CrossCheck(("secrets", "models", "network"), _unused),
)
