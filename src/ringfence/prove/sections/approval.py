"""Claims of the section `approval`: what people decide, the worker cannot."""

from collections.abc import Iterator
from functools import partial

from ringfence.adapters.code_hosts.local import LocalCodeHost
from ringfence.ports.code_host import CodeHost
from ringfence.prove.claim import Claim, Result, judged, untestable
from ringfence.prove.ground import Ground

_WORDS = ("merge", "approve", "review", "protect", "delete")


def claims(ground: Ground) -> Iterator[Claim]:
    """The claims, in the order in which people ask."""
    approval = ground.boundary.approval
    yield Claim("approval", "the worker has no way to merge or to approve", _no_way)
    why = "it is the code host's own configuration, and prove aims at nothing outside of this host"
    yield Claim("approval", f"a merge needs {approval.reviewers} human approvals", partial(untestable, why))
    opened = "as drafts" if approval.pull_request == "draft" else "ready for review"
    why = "it takes a code host; a run's pull request shows it"
    yield Claim("approval", f"pull requests are opened {opened}", partial(untestable, why), benign=True)


def _no_way() -> Result:
    """Everything that the pipeline can ask of a code host stands in its port, and in the adapter that is wired."""
    can = sorted({name for kind in (CodeHost, LocalCodeHost) for name in vars(kind) if not name.startswith("_")})
    wrong = [name for name in can if any(word in name for word in _WORDS)]
    return judged(not wrong, f"all that it can ask of a code host: {', '.join(can)}")
