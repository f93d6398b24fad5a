"""The port of code hosts: repositories, refs and pull requests.

Git itself moves objects (ports/git.py); a code host answers questions and keeps pull requests. It is
given a grant for each call, so that reading and publishing never share a credential.
"""

from dataclasses import dataclass
from typing import Protocol

from ringfence.ports.broker import Grant


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request as the host has it. `state`: "open", "closed" or "merged"."""

    number: int
    url: str
    branch: str
    head: str
    state: str
    draft: bool
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a pull request should say."""

    branch: str
    base: str
    title: str
    body: str
    draft: bool


class CodeHost(Protocol):
    """One code host. Errors: `HostFailed` with status and what to do."""

    def git_url(self, repository: str) -> str:
        """The URL that git fetches from and pushes to; it never holds a credential."""
        ...

    def find_pull_request(self, grant: Grant, repository: str, branch: str) -> PullRequest | None:
        """The newest pull request from that branch, in whatever state."""
        ...

    def open_pull_request(self, grant: Grant, repository: str, proposal: Proposal) -> tuple[PullRequest, bool]:
        """Open one, or adopt the open one that is there; True when it was created."""
        ...

    def update_pull_request(self, grant: Grant, repository: str, number: int, proposal: Proposal) -> PullRequest:
        """Set title and body of an open pull request."""
        ...

    def report_checks(
        self, grant: Grant, repository: str, commit: str, checks: tuple[tuple[str, bool, str], ...]
    ) -> None:
        """Attach (name, passed, description) statuses to a commit; repeating it changes nothing."""
        ...
