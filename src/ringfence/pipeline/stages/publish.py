"""Publish: push exactly the validated commit to the ticket's branch, and open or update its one pull request.

Every effect is looked for before it is made, so that a step repeated after a crash makes nothing twice.
The write grant is minted here, after validation, and let go at once.
"""

from dataclasses import dataclass

from ringfence.domain.boundary import Boundary
from ringfence.domain.checks import Report
from ringfence.domain.decision import Deny
from ringfence.domain.errors import RunStopped
from ringfence.domain.events import BranchPushed, PullRequestOpened
from ringfence.domain.rules import may_write_ref
from ringfence.pipeline.ports import Ports
from ringfence.ports.broker import Grant
from ringfence.ports.code_host import Proposal
from ringfence.ports.git import Leash


@dataclass(frozen=True, slots=True)
class Published:
    """What the code host has now."""

    outcome: str  # "pull_request" or "branch"
    branch: str
    commit: str
    url: str

    @property
    def line(self) -> str:
        """One line for a person."""
        return f"{self.url or self.branch} at {self.commit[:12]}"


@dataclass(frozen=True, slots=True)
class Publication:
    """What is to be published, and how far."""

    repository: str
    commit: str
    stage: str  # "branch" or "pull_request"
    proposal: Proposal
    report: Report


def publish(run: str, what: Publication, ports: Ports, leash: Leash) -> Published:
    """Push, then propose. Errors: `RunStopped` when a rule or the leash forbids it, `HostFailed` from the host."""
    ref = f"refs/heads/{what.proposal.branch}"
    _allowed(ports.boundary, what, ref)
    with ports.broker.grant(run, "publish", what.repository, branch=what.proposal.branch) as grant:
        url = ports.code_host.git_url(what.repository)
        before = ports.git.remote_ref(url, ref, grant, leash)
        ports.git.push(ports.places.intake(run), url, what.commit, ref, grant, leash)
        pushed = BranchPushed(what.repository, what.proposal.branch, what.commit, created=before is None)
        ports.log.append(run, pushed, once=f"branch.pushed/{what.commit}")
        if reason := leash.stop():
            raise RunStopped(reason, f"the run was ended after its commit was pushed to {what.proposal.branch}")
        address = _propose(run, what, ports, grant) if what.stage == "pull_request" else ""
    return Published(what.stage, what.proposal.branch, what.commit, address)


def _allowed(boundary: Boundary, what: Publication, ref: str) -> None:
    decision = may_write_ref(boundary, what.repository, ref)
    if isinstance(decision, Deny):
        raise RunStopped(
            "publish_refused",
            f"rule {decision.rule} forbids to write {ref}",
            where=decision.detail,
            mend="nothing was pushed; have the boundary changed by its owners, and start a new run",
        )
    if what.stage not in ("branch", "pull_request"):
        raise RunStopped("publish_refused", f"stage {what.stage} does not publish")


def _propose(run: str, what: Publication, ports: Ports, grant: Grant) -> str:
    request, created = ports.code_host.open_pull_request(grant, what.repository, what.proposal)
    if not created:
        request = ports.code_host.update_pull_request(grant, what.repository, request.number, what.proposal)
    checks = tuple((result.name, result.passed, f"{result.seconds:.1f} s") for result in what.report.results)
    ports.code_host.report_checks(grant, what.repository, what.commit, checks)
    ports.log.append(
        run,
        PullRequestOpened(what.repository, request.number, request.url, what.commit, created, request.draft),
        once=f"pull_request.opened/{what.commit}",
    )
    return request.url
