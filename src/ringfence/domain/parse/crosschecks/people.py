"""Owners, requesters, approvers and readers: people by name, and a signature for every section."""

import re
from collections.abc import Iterator
from typing import get_args

from ringfence.domain.boundary import Boundary, SectionName
from ringfence.domain.parse.crosschecks.check import CrossCheck, quoted, repeated
from ringfence.domain.parse.problem import Finding, Steps

_PERSON = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._@+-]{0,98}[A-Za-z0-9_])?")
_TYPE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _-]{0,62}[A-Za-z0-9])?")
_EVERYBODY = {"all", "any", "anyone", "everyone", "everybody", "public", "world", "*"}
_TECHNICAL = ("engineering", "platform", "security")


def _owners(boundary: Boundary) -> Iterator[Finding]:
    signed = {section for owner in boundary.owners for section in owner.sections}
    unsigned = [section for section in get_args(SectionName) if section not in signed]
    if unsigned:
        what = f"no owner signed for {quoted(unsigned)}"
        yield Finding(
            ("owners",), what, "every section needs an owner who can answer for it: add it to one's `sections`"
        )
    for place, owner in enumerate(boundary.owners):
        if not owner.sections:
            yield Finding(("owners", place, "sections"), f"{owner.name!a} signed for nothing", "list sections")
        yield from repeated(owner.sections, ("owners", place, "sections"))


def _provider_decision(boundary: Boundary) -> Iterator[Finding]:
    """Sending code to an outside provider is a technical, a procurement and a compliance decision at once."""
    if all(route.internal or route.provider == "replay" for route in boundary.models.routes):
        return
    roles = {owner.role for owner in boundary.owners if "models" in owner.sections}
    lacking = [role for role in ("procurement", "compliance") if role not in roles]
    if not roles.intersection(_TECHNICAL):
        lacking.insert(0, "engineering, platform or security")
    if lacking:
        what = f"a route leads to an outside provider, and `models` is not signed by: {'; '.join(lacking)}"
        mend = "add owners of these roles who sign `models`, or use an endpoint of your own with `internal: true`"
        yield Finding(("owners",), what, mend)


def _tickets(boundary: Boundary) -> Iterator[Finding]:
    tickets = boundary.tickets
    for key, names in (("requesters", tickets.requesters), ("approvers", tickets.approvers)):
        yield from repeated(names, ("tickets", key))
        for place, name in enumerate(names):
            yield from _person(name, ("tickets", key, place))
    for place, kind in enumerate(tickets.types):
        if not _TYPE.fullmatch(kind):
            what = f"ticket type {kind!a} is no plain name"
            yield Finding(("tickets", "types", place), what, "list each type as the tracker spells it; no patterns")
    yield from repeated(tickets.types, ("tickets", "types"))
    approving = {name.casefold() for name in tickets.approvers}
    if len(approving) == 1 and approving == {name.casefold() for name in tickets.requesters}:
        what = "the only approver is the only requester, and nobody approves their own ticket"
        yield Finding(("tickets", "approvers"), what, "add a second person, or leave `approvers` empty")


def _person(name: str, steps: Steps) -> Iterator[Finding]:
    if name.casefold().endswith("[bot]"):
        yield Finding(steps, f"{name!a} is an app", "list people: what an app asks for, nobody answers for")
    elif name.casefold() in _EVERYBODY or "*" in name:
        yield Finding(steps, f"{name!a} is over-broad: it stands for anyone", "list each person by account name")
    elif not _PERSON.fullmatch(name):
        what = f"{name!a} is no account name"
        yield Finding(steps, what, "use letters, digits and . _ @ + -, as the tracker spells it; no patterns")


def _readers(boundary: Boundary) -> Iterator[Finding]:
    if not boundary.logs.readers:
        yield Finding(("logs", "readers"), "nobody may read the logs", "name the people or the team who review runs")
    for place, name in enumerate(boundary.logs.readers):
        if name.strip().casefold() in _EVERYBODY:
            what = f"{name!a} is over-broad: logs hold source code and commands' output"
            yield Finding(("logs", "readers", place), what, "name people or a team")
    yield from repeated(boundary.logs.readers, ("logs", "readers"))


CHECKS = (
    CrossCheck(("owners",), _owners),
    CrossCheck(("owners", "models"), _provider_decision),
    CrossCheck(("tickets",), _tickets),
    CrossCheck(("logs",), _readers),
)
