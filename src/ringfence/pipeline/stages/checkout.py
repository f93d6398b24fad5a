"""Checkout: mirrors are refreshed with a read grant, commits are named, and the run gets its intake."""

from dataclasses import dataclass

from ringfence.domain.boundary import Repository
from ringfence.domain.decision import Deny
from ringfence.domain.errors import InputError, RunStopped
from ringfence.domain.events import CheckoutReady
from ringfence.domain.rules import may_read
from ringfence.pipeline.ports import Ports


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


def prepare(run: str, repository: Repository, branch: str, ports: Ports) -> Checkout:
    """Make the mirrors hold what the run needs. Errors: `RunStopped` when the ticket's pull request has ended."""
    with ports.broker.grant(run, "checkout", repository.name) as grant:
        earlier = ports.code_host.find_pull_request(grant, repository.name, branch)
        if earlier is not None and earlier.state != "open":
            raise RunStopped(
                "pull_request_ended",
                f"the ticket's pull request is {earlier.state}: {earlier.url}",
                mend="reopen it, or file a new ticket",
            )
        url = ports.code_host.git_url(repository.name)
        mirror = ports.git.refresh_mirror(repository.name, url, grant)
    base = ports.objects.resolve(mirror, f"refs/heads/{repository.base}")
    if base is None:
        raise InputError(
            f"{repository.name} has no branch {repository.base!r}",
            where="boundary, section repositories",
            mend="name the branch that tickets start from as `base`",
        )
    start = ports.objects.resolve(mirror, f"refs/heads/{branch}") or base
    ports.git.make_intake(ports.places.intake(run), mirror, base)
    context = tuple(_context(run, name, ports) for name in repository.context)
    listed = tuple(f"{name}@{commit}" for name, commit in context)
    ports.log.append(run, CheckoutReady(repository.name, base, start, branch, listed), once="checkout.ready")
    return Checkout(repository.name, base, start, branch, context)


def _context(run: str, name: str, ports: Ports) -> tuple[str, str]:
    """Refresh the mirror of a read-only repository; its name and the commit that is shown."""
    decision = may_read(ports.boundary, name)
    listed = ports.boundary.repository(name)
    if isinstance(decision, Deny) or listed is None:
        raise RunStopped("refused", f"context repository {name} may not be read")
    with ports.broker.grant(run, "checkout", name) as grant:
        mirror = ports.git.refresh_mirror(name, ports.code_host.git_url(name), grant)
    commit = ports.objects.resolve(mirror, f"refs/heads/{listed.base}")
    if commit is None:
        raise InputError(f"{name} has no branch {listed.base!r}", where="boundary, section repositories")
    return name, commit
