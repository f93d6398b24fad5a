"""Secrets by name: one purpose each, for listed repositories, and never a choice between two."""

from collections.abc import Iterator

from ringfence.domain.boundary import Boundary, SecretUse
from ringfence.domain.parse.crosschecks.check import NOT_ENFORCED, CrossCheck, quoted, repeated
from ringfence.domain.parse.problem import Finding, Steps


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
        if use.purpose == "registry":
            what = f"secrets with purpose `registry` are {NOT_ENFORCED}"
            yield Finding((*steps, "purpose"), what, "remove it; bring packages in as a toolchain")


def _scopes(boundary: Boundary) -> Iterator[Finding]:
    for place, use in enumerate(boundary.secrets):
        steps: Steps = ("secrets", place, "repositories")
        if use.purpose not in ("checkout", "publish"):
            if use.repositories:
                what = f"a secret for {use.purpose} is bound to its route, not to repositories"
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


def _unused(boundary: Boundary) -> Iterator[Finding]:
    used = {route.credential for route in boundary.models.routes}
    for place, use in enumerate(boundary.secrets):
        if use.purpose == "model" and use.name not in used:
            what = f"no route uses the secret `{use.name}`"
            yield Finding(("secrets", place), what, "remove it, or name it as a route's `credential`")


CHECKS = (
    CrossCheck(("secrets",), _names),
    CrossCheck(("secrets", "repositories"), _scopes),
    CrossCheck(("secrets", "repositories"), _coverage),
    CrossCheck(("secrets", "models"), _unused),
)
