"""Everything that can be recorded of a run: a closed union of frozen values, each with its dotted name.

Events hold facts, digests and redacted short texts; never a secret, never a blob. `to_json` and
`from_json` are the only forms in which they are stored. Times and sequence numbers belong to the
record around an event (chain.py), not to the event.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, get_args

from ringfence.domain.bodies import BodiesRemoved as BodiesRemoved
from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.grant_events import GrantAsked as GrantAsked
from ringfence.domain.grant_events import GrantMinted as GrantMinted
from ringfence.domain.grant_events import GrantRevoked as GrantRevoked
from ringfence.domain.grant_events import GrantUsed as GrantUsed
from ringfence.domain.interventions import CancelRequested as CancelRequested
from ringfence.domain.interventions import RunHalted as RunHalted
from ringfence.domain.interventions import RunQuarantined as RunQuarantined
from ringfence.domain.interventions import RunReleased as RunReleased
from ringfence.domain.layers import LayerMade as LayerMade
from ringfence.domain.layers import LayerUsed as LayerUsed
from ringfence.domain.model_events import ModelAsked as ModelAsked
from ringfence.domain.model_events import ModelCalled as ModelCalled
from ringfence.domain.steering import ConfigurationHidden as ConfigurationHidden
from ringfence.domain.steering import ConfigurationRechecked as ConfigurationRechecked


@dataclass(frozen=True, slots=True)
class TicketAdmitted:
    """A ticket became a run."""

    kind: ClassVar[str] = "ticket.admitted"
    ticket: str
    ticket_digest: str
    repository: str
    stage: str
    rule: str
    boundary: str  # digest of the document
    requester: str


@dataclass(frozen=True, slots=True)
class TicketRefused:
    """A ticket did not become a run."""

    kind: ClassVar[str] = "ticket.refused"
    ticket: str
    ticket_digest: str
    rule: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A worker took the run up, for the first time or again after it was cut off."""

    kind: ClassVar[str] = "run.started"
    worker: str
    version: str
    sandbox_level: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage began; shown as progress."""

    kind: ClassVar[str] = "stage.started"
    stage: str
    attempt: int


@dataclass(frozen=True, slots=True)
class StageEnded:
    """A stage ended well. `summary` is one line for a person."""

    kind: ClassVar[str] = "stage.ended"
    stage: str
    attempt: int
    seconds: float
    summary: str
    #: Digest of the stage's value in the content store: what a stage that is done again gives back at once.
    result: str = ""


@dataclass(frozen=True, slots=True)
class CheckoutReady:
    """The mirror holds what the run needs."""

    kind: ClassVar[str] = "checkout.ready"
    repository: str
    base: str
    start: str
    branch: str
    context: tuple[str, ...]  # owner/name@commit of each context repository


@dataclass(frozen=True, slots=True)
class BriefAssembled:
    """What the agent was given, by digest."""

    kind: ClassVar[str] = "brief.assembled"
    attempt: int
    digest: str
    tokens: int
    parts: tuple[str, ...]  # "kind:provenance:trust" of each part
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SandboxStarted:
    """A sandbox was made; untrusted code was still held when this was written."""

    kind: ClassVar[str] = "sandbox.started"
    role: str
    level: str
    controls: tuple[str, ...]
    doors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SandboxDestroyed:
    """Nothing of a sandbox runs any more."""

    kind: ClassVar[str] = "sandbox.destroyed"
    role: str
    processes_left: int


@dataclass(frozen=True, slots=True)
class CommandRan:
    """A command ended inside a sandbox."""

    kind: ClassVar[str] = "command.ran"
    role: str
    argv: tuple[str, ...]
    exit_code: int | None
    stopped: str | None
    seconds: float
    cpu_seconds: float
    peak_memory: int
    output: str
    output_bytes: int


@dataclass(frozen=True, slots=True)
class EgressAsked:
    """The egress proxy was about to look up and connect to a destination; written before it did."""

    kind: ClassVar[str] = "egress.asked"
    attempt: str
    role: str
    phase: str
    destination: str
    rule: str


@dataclass(frozen=True, slots=True)
class EgressDecided:
    """Something tried to leave a sandbox by the network: denied, or allowed and over now."""

    kind: ClassVar[str] = "egress.decided"
    role: str
    destination: str  # host:port
    decision: str  # "allow" or "deny"
    rule: str
    reason: str  # of a denial; of an allowed attempt why it was not whole, if it was not
    attempt: str = ""
    phase: str = ""
    command: str = ""
    host: str = ""
    port: int = 0
    address: str = ""  # what it was connected to
    method: str = ""  # CONNECT for a tunnel, TCP for a service's own door
    path: str = ""  # where it is known (plain requests, and inspected ones), without its query
    credential: str = ""  # the name of the secret that the proxy put on
    status: int = 0
    sent: int = 0
    received: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AgentEnded:
    """What the agent's own event stream said last; facts are judged elsewhere."""

    kind: ClassVar[str] = "agent.ended"
    attempt: int
    agent: str
    version: str
    outcome: str
    turns: int
    tools: int
    input_tokens: int
    output_tokens: int
    message: str
    transcript: str  # digest of its steps in our words


@dataclass(frozen=True, slots=True)
class PatchProduced:
    """The agent's tree was taken in and the worker made its candidate commit."""

    kind: ClassVar[str] = "patch.produced"
    attempt: int
    commit: str
    tree: str
    files: int
    insertions: int
    deletions: int
    diff: str


@dataclass(frozen=True, slots=True)
class PatchRefused:
    """The agent's tree broke a rule; nothing of it goes on."""

    kind: ClassVar[str] = "patch.refused"
    attempt: int
    rule: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class CheckEnded:
    """One check on one tree. `side` is "base", "patch" or "patch with base tests"."""

    kind: ClassVar[str] = "check.ended"
    side: str
    attempt: int
    tree: str
    name: str
    check_kind: str
    argv: tuple[str, ...]
    passed: bool
    exit_code: int | None
    stopped: str | None
    seconds: float
    output: str
    required: bool


@dataclass(frozen=True, slots=True)
class RepairRequested:
    """Failing checks were handed back to the agent."""

    kind: ClassVar[str] = "repair.requested"
    attempt: int
    failing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvidenceSealed:
    """The log up to here was put in a signed statement."""

    kind: ClassVar[str] = "evidence.sealed"
    digest: str
    signer: str
    commit: str
    tree: str
    records: int
    head: str
    commit_object: str = ""  # digest of the raw commit in the content store, for whoever verifies offline


@dataclass(frozen=True, slots=True)
class BranchPushed:
    """The code host holds the commit."""

    kind: ClassVar[str] = "branch.pushed"
    repository: str
    branch: str
    commit: str
    created: bool


@dataclass(frozen=True, slots=True)
class PullRequestOpened:
    """The pull request shows this run (`created` is False when an earlier run had opened it)."""

    kind: ClassVar[str] = "pull_request.opened"
    repository: str
    number: int
    url: str
    commit: str
    created: bool
    draft: bool


@dataclass(frozen=True, slots=True)
class CheckoutRemoved:
    """Nothing of the run's trees is left on disk."""

    kind: ClassVar[str] = "checkout.removed"
    bytes: int


@dataclass(frozen=True, slots=True)
class TestsReplaced:
    """The patch touched tests: the checks of kind `test` were run with these as the base has them, or a fault."""

    kind: ClassVar[str] = "tests.replaced"
    attempt: int
    tree: str  # of the patch
    replaced: str  # the same tree with the old tests
    paths: tuple[str, ...]
    left_out: int  # further paths that are not named here
    fault: str


@dataclass(frozen=True, slots=True)
class RunStopped:
    """The run ended without a result, for a named reason."""

    kind: ClassVar[str] = "run.stopped"
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The end of every run. `outcome`: "pull_request", "branch", "brief", "stopped", "cancelled", "refused"."""

    kind: ClassVar[str] = "run.ended"
    outcome: str
    seconds: float


Event = (
    TicketAdmitted | TicketRefused | RunStarted | StageStarted | StageEnded | CheckoutReady | BriefAssembled
    | SandboxStarted | SandboxDestroyed | CommandRan | ModelAsked | ModelCalled | EgressAsked | EgressDecided
    | AgentEnded | PatchProduced | PatchRefused | CheckEnded | RepairRequested | EvidenceSealed | GrantAsked
    | GrantMinted | GrantUsed | GrantRevoked | BranchPushed | PullRequestOpened | CheckoutRemoved | CancelRequested
    | RunStopped | RunEnded | RunHalted | RunQuarantined | RunReleased | TestsReplaced | LayerMade
    | LayerUsed | BodiesRemoved | ConfigurationHidden | ConfigurationRechecked
)  # fmt: skip

_BY_KIND: dict[str, type[Event]] = {cls.kind: cls for cls in get_args(Event)}


def to_json(event: Event) -> dict[str, Any]:
    """The stored form: `{"kind": …, fields…}` with tuples as lists."""
    body = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(event).items()}
    return {"kind": event.kind, **body}


def from_json(stored: dict[str, Any]) -> Event:
    """Read the stored form; an unknown kind or a wrong set of fields is broken evidence."""
    cls = _BY_KIND.get(str(stored.get("kind")))
    if cls is None:
        raise EvidenceBroken(f"unknown event kind {stored.get('kind')!r}")
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items() if key != "kind"}
    if set(values) != {field.name for field in fields(cls)}:
        raise EvidenceBroken(f"event {cls.kind} has the wrong fields")
    build: Any = cls  # each class takes its own fields; the set was compared above
    event: Event = build(**values)
    return event
