"""Everything a run is carried with: the boundary that is enforced, and one adapter for each port."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ringfence.domain.boundary import Boundary
from ringfence.ports.agent import Agent
from ringfence.ports.artifacts import Artifacts
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.broker import Broker
from ringfence.ports.clock import Clock
from ringfence.ports.code_host import CodeHost
from ringfence.ports.egress import Egress
from ringfence.ports.gateway import Gateway
from ringfence.ports.git import Git
from ringfence.ports.intake import Intake
from ringfence.ports.objects import Objects
from ringfence.ports.sandbox import Sandboxes
from ringfence.ports.signer import Signer
from ringfence.ports.tracker import Tracker


@dataclass(frozen=True, slots=True)
class Places:
    """Directories of the worker's state, all of them the worker's own."""

    state: Path

    def run(self, run: str) -> Path:
        """Trees and the intake of a run; gone after it."""
        return self.state / "runs" / run

    def intake(self, run: str) -> Path:
        """The bare repository that the agent's tree comes into."""
        return self.run(run) / "intake.git"

    def layers(self, repository: str) -> Path:
        """What set-up left of a repository, kept between runs; an opaque name."""
        return self.state / "layers" / hashlib.sha256(repository.encode()).hexdigest()[:24]

    def cancel(self, run: str) -> Path:
        """A file that ends the run by being there."""
        return self.state / "cancel" / run

    def bundle(self, run: str) -> Path:
        """The evidence bundle of a run."""
        return self.state / "bundles" / f"{run}.bundle.tar"


@dataclass(frozen=True, slots=True)
class Ports:
    """What wiring hands to the pipeline."""

    boundary: Boundary
    boundary_text: bytes
    boundary_digest: str
    worker: str  # host name and process, for the log
    version: str
    places: Places
    tracker: Tracker
    code_host: CodeHost
    git: Git
    objects: Objects
    intake: Intake
    sandboxes: Sandboxes
    gateway: Gateway
    egress: Egress
    agent: Agent
    log: AuditLog
    artifacts: Artifacts
    signer: Signer
    broker: Broker
    clock: Clock
    #: PEM certificates that programs inside trust when they are let out.
    authorities: bytes
    #: Text without secrets, for what is stored or shown.
    redact: Callable[[str], str]
    #: Names of the secrets found in some bytes, by the gate's strict rules; empty when clean.
    find_secrets: Callable[[bytes], tuple[str, ...]]
