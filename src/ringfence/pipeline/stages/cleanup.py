"""Cleanup: nothing of a run stays on disk or in memory; always, also after a crash, whatever happened before."""

from dataclasses import dataclass

from ringfence.domain.errors import RingfenceError, RunStopped
from ringfence.domain.events import CheckoutRemoved
from ringfence.domain.events import RunStopped as RunStoppedEvent
from ringfence.pipeline.orders import Orders
from ringfence.pipeline.ports import Places
from ringfence.pipeline.rooms import remove_tree
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.sandbox import Sandboxes


@dataclass(frozen=True, slots=True)
class Swept:
    """What was taken away."""

    bytes: int
    processes: int

    @property
    def line(self) -> str:
        """One line for a person."""
        left = f", {self.processes} left-over processes ended" if self.processes else ""
        return f"{self.bytes / 1e6:.1f} MB removed{left}"


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why a run ended early, in one word and in a sentence."""

    reason: str
    detail: str

    @property
    def outcome(self) -> str:
        """What the run came to: "refused", "cancelled" or "stopped"."""
        return self.reason if self.reason in ("refused", "cancelled") else "stopped"

    @property
    def line(self) -> str:
        """One line for a person."""
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Closed:
    """The run is over and its bundle is written."""

    outcome: str
    bundle: str

    @property
    def line(self) -> str:
        """One line for a person."""
        return f"{self.outcome}; evidence in {self.bundle}"


def stopped(run: str, error: RingfenceError, log: AuditLog) -> Stopped:
    """Write down why the run ends early."""
    reason = error.reason if isinstance(error, RunStopped) else _REASONS.get(type(error).__name__, "failed")
    detail = " — ".join(part for part in (error.what, error.where, error.mend) if part)
    log.append(run, RunStoppedEvent(reason, detail[:2000]), once="run.stopped")
    return Stopped(reason, detail)


_REASONS = {
    "Cancelled": "cancelled",
    "ControlMissing": "control_missing",
    "HostFailed": "host_failed",
    "EvidenceBroken": "evidence_broken",
    "InputError": "input_error",
}


def sweep(run: str, places: Places, sandboxes: Sandboxes, log: AuditLog) -> Swept:
    """End and remove whatever the run still has."""
    processes = sandboxes.reclaim(run)
    size = remove_tree(places.run(run))
    places.cancel(run).unlink(missing_ok=True)
    Orders(places.state).forget(run)
    log.append(run, CheckoutRemoved(size), once="checkout.removed")
    return Swept(size, processes)
