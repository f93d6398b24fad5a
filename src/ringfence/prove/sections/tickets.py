"""Claims of the section `tickets`: which tickets become runs. Tickets are read from a folder as a tracker's are."""

import json
from collections.abc import Iterator
from typing import Any

from ringfence.adapters.trackers.folder import FolderTracker
from ringfence.domain.decision import Decision, Deny
from ringfence.domain.rules import admit
from ringfence.prove.claim import Claim, Result, all_allowed, all_denied, untestable
from ringfence.prove.ground import Ground

_NUMBER = "PROVE-1"


def claims(ground: Ground) -> Iterator[Claim]:
    """The claims, in the order in which people ask."""
    tickets = ground.boundary.tickets
    yield Claim(
        "tickets", f"only tickets of type {', '.join(tickets.types)} become runs", lambda: _denied(ground, _types())
    )
    yield Claim("tickets", f"only {', '.join(tickets.requesters)} may ask", lambda: _denied(ground, _people(ground)))
    approvers = tickets.approvers
    said = f"each needs the approval of one of {', '.join(approvers)}" if approvers else "no approval is asked for"
    yield Claim("tickets", said, lambda: _denied(ground, _approvals(ground)) if approvers else _no_approvers())
    yield Claim(
        "tickets",
        "a ticket about an unlisted or read-only repository is refused",
        lambda: _denied(ground, _places(ground)),
    )
    yield Claim("tickets", "a ticket that asks for a higher stage is refused", lambda: _stage(ground))
    yield Claim("tickets", "a proper ticket becomes a run", lambda: _proper(ground), benign=True)


def _no_approvers() -> Result:
    return untestable("the boundary lists no approvers, so there is nothing to refuse")


def _front(ground: Ground, **changes: Any) -> dict[str, Any]:
    boundary = ground.boundary
    tickets = boundary.tickets
    writable = next((one.name for one in boundary.repositories if one.access == "write"), "none/none")
    requester = tickets.requesters[0]
    approver = [name for name in tickets.approvers if name.casefold() != requester.casefold()]
    if not approver and tickets.approvers and len(tickets.requesters) > 1:
        requester = next((name for name in tickets.requesters if name not in tickets.approvers), requester)
        approver = [name for name in tickets.approvers if name != requester]
    front = {"id": _NUMBER, "title": "Prove", "type": tickets.types[0], "repository": writable,
             "requester": requester, "approved_by": approver[:1]}  # fmt: skip
    return {**front, **changes}


def _decided(ground: Ground, front: dict[str, Any]) -> Decision:
    folder = ground.settings.tracker.path
    folder.mkdir(exist_ok=True)
    words = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items())
    (folder / f"{_NUMBER}.md").write_text(f"---\n{words}\n---\n\nA ticket of the proof.\n")
    return admit(ground.boundary, FolderTracker(folder).ticket(_NUMBER))


def _denied(ground: Ground, changes: dict[str, dict[str, Any]]) -> Result:
    return all_denied({what: _decided(ground, _front(ground, **change)) for what, change in changes.items()})


def _types() -> dict[str, dict[str, Any]]:
    return {"type 'prove-unlisted'": {"type": "prove-unlisted"}, "type 'PROVE'": {"type": "PROVE"}}


def _people(ground: Ground) -> dict[str, dict[str, Any]]:
    someone = ground.boundary.tickets.requesters[0]
    names = ["a-stranger", f"{someone}[bot]", f"{someone} ", someone.swapcase(), f"{someone}\u200b"]
    listed = ground.boundary.tickets.requesters
    return {f"requester {name!r}": {"requester": name} for name in names if name not in listed}


def _approvals(ground: Ground) -> dict[str, dict[str, Any]]:
    tickets = ground.boundary.tickets
    tries: dict[str, dict[str, Any]] = {
        "no approval": {"approved_by": []},
        "a stranger's approval": {"approved_by": ["a-stranger"]},
    }
    both = [name for name in tickets.approvers if name in tickets.requesters]
    if both:
        tries["approval by the requester"] = {"requester": both[0], "approved_by": [both[0]]}
    return tries


def _places(ground: Ground) -> dict[str, dict[str, Any]]:
    names = ["stranger/x", *(one.name for one in ground.boundary.repositories if one.access == "read")]
    return {name: {"repository": name} for name in names}


def _stage(ground: Ground) -> Result:
    lower = [one for one in ground.boundary.repositories if one.access == "write" and one.stage != "pull_request"]
    if not lower:
        return untestable("every writable repository is at the highest stage")
    return _denied(ground, {one.name: {"repository": one.name, "stage": "pull_request"} for one in lower})


def _proper(ground: Ground) -> Result:
    if not any(one.access == "write" for one in ground.boundary.repositories):
        return untestable("no repository may be written under this boundary")
    decision = _decided(ground, _front(ground))
    if isinstance(decision, Deny) and decision.rule == "tickets.approvers":
        return untestable("the one listed requester is the one listed approver, so no ticket can be approved")
    return all_allowed({_NUMBER: decision})
