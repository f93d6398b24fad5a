"""Checkout: mirrors are refreshed with a read grant, commits are named, and the run gets its intake."""

from dataclasses import dataclass
from pathlib import Path

from ringfence.domain.boundary import Repository
from ringfence.domain.commit import TICKET
from ringfence.domain.decision import Deny
from ringfence.domain.errors import InputError, RunStopped
from ringfence.domain.events import CheckoutReady
from ringfence.domain.rules import may_read
from ringfence.domain.ticket import Ticket
from ringfence.pipeline.ports import Ports
from ringfence.ports.git import FREE, Leash


@dataclass(frozen=True, slots=True)
class Checkout:
    """Which commits the run is about."""

    repository: str
    base: str  # what checks compare with, and where instructions come from
    start: str  # what the agent starts from: the base, or the head of the ticket's branch
    branch: str
    context: tuple[tuple[str, str], ...]  # read-only repositories: name, commit

    @property
    def line(self) -> str:
        """One line for a person."""
        again = "" if self.start == self.base else f", going on from {self.start[:12]}"
        beside = f", {len(self.context)} read-only beside it" if self.context else ""
        return f"{self.repository} at {self.base[:12]}{again}{beside}"


def prepare(run: str, ticket: Ticket, branch: str, ports: Ports, leash: Leash = FREE) -> Checkout:
    """Make the mirrors hold what the run needs. Errors: `RunStopped` when the ticket's pull request has ended."""
    repository = _listed(ticket.repository, ports)
    with ports.broker.grant(run, "checkout", repository.name) as grant:
        mirror = ports.git.refresh_mirror(repository.name, ports.code_host.git_url(repository.name), grant, leash)
        base = _head(mirror, repository, ports)
        branch = _branch(mirror, base, ticket.id, branch, ports)
        earlier = ports.code_host.find_pull_request(grant, repository.name, branch)
    if earlier is not None and earlier.state != "open":
        raise RunStopped(
            "pull_request_ended",
            f"the ticket's pull request is {earlier.state}: {earlier.url}",
            mend="reopen it, or file a new ticket",
        )
    start = ports.objects.resolve(mirror, f"refs/heads/{branch}") or base
    ports.git.make_intake(ports.places.intake(run), mirror, base)
    context = tuple(_context(run, name, ports, leash) for name in repository.context)
    listed = tuple(f"{name}@{commit}" for name, commit in context)
    ports.log.append(run, CheckoutReady(repository.name, base, start, branch, listed), once="checkout.ready")
    return Checkout(repository.name, base, start, branch, context)


def _branch(mirror: Path, base: str, ticket: str, proposed: str, ports: Ports) -> str:
    """The ticket's branch: the one that an earlier run made, also when the title was edited since, or the proposed one.

    Names alone cannot tell: ticket `A` with the title "1 x" and ticket `A-1` with the title "x" would share one.
    """
    stem = f"{ports.boundary.branches.prefix}{ticket}-"
    heads = ports.objects.heads(mirror, stem)
    mine = [name for name, head in heads.items() if ticket in ports.objects.trailers(mirror, base, head, TICKET)]
    if mine:
        return mine[0]
    if proposed in heads:
        raise RunStopped(
            "branch_taken",
            f"branch {proposed} exists and holds no commit of ticket {ticket}",
            mend="merge, rename or remove that branch, or change the ticket's title",
        )
    return proposed


def _listed(name: str, ports: Ports) -> Repository:
    listed = ports.boundary.repository(name)
    if listed is None or isinstance(may_read(ports.boundary, name), Deny):
        raise RunStopped(
            "refused",
            f"repository {name} may not be read",
            where="boundary, section repositories",
            mend="have it listed there by its owners, or take it out of the context",
        )
    return listed


def _head(mirror: Path, repository: Repository, ports: Ports) -> str:
    commit = ports.objects.resolve(mirror, f"refs/heads/{repository.base}")
    if commit is None:
        raise InputError(
            f"{repository.name} has no branch {repository.base!r}",
            where="boundary, section repositories",
            mend="name the branch that tickets start from as `base`",
        )
    return commit


def _context(run: str, name: str, ports: Ports, leash: Leash) -> tuple[str, str]:
    """Refresh the mirror of a read-only repository; its name and the commit that is shown."""
    repository = _listed(name, ports)
    with ports.broker.grant(run, "checkout", name) as grant:
        mirror = ports.git.refresh_mirror(name, ports.code_host.git_url(name), grant, leash)
    return name, _head(mirror, repository, ports)
