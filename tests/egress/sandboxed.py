"""A sandbox with the network of a set-up phase, through the real proxy."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from world import USER

from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.domain.boundary import Boundary, Network, NetworkRule
from ringfence.domain.events import EgressDecided, from_json
from ringfence.domain.parse import parse
from ringfence.egress.process import EgressProcess, Inspecting
from ringfence.pipeline.exits import Exits
from ringfence.points import attempt_recorder
from ringfence.ports.broker import Secret
from ringfence.ports.sandbox import Mount, SandboxSpec, Workspace

ROOT = Path(__file__).parents[2]
RUN = "run-1"
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass
class Room:
    """A sandbox with the network of a set-up phase."""

    sandboxes: BubblewrapSandboxes
    log: SqliteAuditLog
    tree: Path
    bundle: Path = BUNDLE
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def run(
        self,
        *argv: str,
        hosts: tuple[tuple[str, int], ...] = (),
        rules: tuple[NetworkRule, ...] = (),
        secrets: dict[str, str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> tuple[int | None, str]:
        """Run a command that may reach these hosts, and by these rules; its exit code and output."""
        boundary = _boundary(hosts, rules)
        recording = attempt_recorder(self.log)
        limits = boundary.limits.sandbox
        mounts = (Mount(Path("/usr"), "/usr"),)
        variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/agent", **(environment or {})}
        spec = SandboxSpec(RUN, "setup", argv, limits, 240.0, Workspace(self.tree), mounts, variables)
        held = {name: Secret(value) for name, value in (secrets or {}).items()}
        opening = Inspecting(self.bundle.read_text(), time.time, held)
        with EgressProcess(recording, names=self.names, inspecting=opening, user=USER) as egress:
            exits = Exits(RUN, boundary, egress, self.log, self.bundle.read_bytes())
            furnished = exits.furnish(spec)
            with self.sandboxes.hold(furnished) as held, exits.open(furnished, held) as gone:
                outcome = held.run(stop=gone)
        return outcome.exit_code, outcome.output.decode(errors="replace")

    def decided(self) -> list[EgressDecided]:
        events = [from_json(record.event) for record in self.log.records(RUN)]
        return [event for event in events if isinstance(event, EgressDecided)]


def _boundary(hosts: tuple[tuple[str, int], ...], more: tuple[NetworkRule, ...]) -> Boundary:
    read = parse((ROOT / "examples" / "boundaries" / "minimal.yaml").read_text())
    assert isinstance(read, Boundary)
    rules = tuple(NetworkRule(host=host, port=port, purpose="registry") for host, port in dict.fromkeys(hosts))
    return read.model_copy(update={"network": Network(setup=(*rules, *more), agent=(), validation=())})
