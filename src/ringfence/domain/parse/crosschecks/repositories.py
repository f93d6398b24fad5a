"""Which repositories exist for a worker, and what each may be."""

import re
from collections.abc import Iterator

from ringfence.domain.boundary import Boundary, Repository
from ringfence.domain.parse.crosschecks.check import CrossCheck, repeated
from ringfence.domain.parse.problem import Finding, Steps
from ringfence.domain.paths import path_fault, ref_fault

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(?:/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){1,9}")


def _repositories(boundary: Boundary) -> Iterator[Finding]:
    names = [repository.name for repository in boundary.repositories]
    yield from repeated(names, ("repositories",), last=("name",))
    for place, repository in enumerate(boundary.repositories):
        steps: Steps = ("repositories", place)
        yield from _name(repository, steps)
        yield from _access(repository, steps)
        yield from _context(boundary, repository, steps)
        yield from _instructions(repository, steps)
        fault = ref_fault(repository.base)
        if fault:
            what = f"`base` {repository.base!a} is no branch: {fault}"
            yield Finding((*steps, "base"), what, "write the branch that tickets start from, for example main")
    if not any(repository.access == "write" for repository in boundary.repositories):
        what = "no repository has access `write`: no ticket can become a run"
        yield Finding(("repositories",), what, "give one `access: write`; with `stage: observe` nothing is written yet")


def _name(repository: Repository, steps: Steps) -> Iterator[Finding]:
    name = repository.name
    if any(character in name for character in "*?[]{}"):
        what = f"{name!a} is over-broad: it is a pattern, and repositories made later would be in it unread"
        yield Finding((*steps, "name"), what, "list each repository by its name")
    elif (
        not _NAME.fullmatch(name)
        or name.casefold().endswith(".git")
        or any(part.endswith(".") for part in name.split("/"))
    ):
        what = f"{name!a} is no repository name"
        yield Finding((*steps, "name"), what, "write owner/name as the code host spells it, without .git or an address")


def _access(repository: Repository, steps: Steps) -> Iterator[Finding]:
    if repository.access == "write":
        return
    if repository.stage != "observe":
        what = f"{repository.name} is at stage {repository.stage} with access `read`"
        yield Finding((*steps, "stage"), what, "write `access: write` if tickets may change it, else leave `stage` out")
    if repository.context:
        what = f"{repository.name} is context itself and cannot have context"
        yield Finding((*steps, "context"), what, "list the context at the repository that tickets change")


def _context(boundary: Boundary, repository: Repository, steps: Steps) -> Iterator[Finding]:
    yield from repeated(repository.context, (*steps, "context"))
    for place, name in enumerate(repository.context):
        listed = boundary.repository(name)
        if listed is None:
            what = f"context repository {name!a} is not listed"
            yield Finding((*steps, "context", place), what, "list it under `repositories` with `access: read`")
        elif listed.access != "read":
            what = f"context repository {name} has access `write`; context is read-only"
            yield Finding((*steps, "context", place), what, "give it `access: read`, or do not use it as context")


def _instructions(repository: Repository, steps: Steps) -> Iterator[Finding]:
    for place, name in enumerate(repository.instructions):
        fault = "it is a pattern" if any(character in name for character in "*?[") else path_fault(name)
        if fault:
            what = f"instructions file {name!a} cannot be used: {fault}"
            yield Finding((*steps, "instructions", place), what, "write a path from the root of the repository")


CHECKS = (CrossCheck(("repositories",), _repositories),)
