"""Stages as steps: begun and ended on the log, guarded, done once.

The guard runs before a stage and again while a stage waits for a process: it is how a cancelled run, a
spent time limit or a changed boundary ends work within a second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from ringfence.domain.boundary import Boundary
from ringfence.domain.errors import Cancelled, RunStopped
from ringfence.domain.events import StageEnded, StageStarted, from_json
from ringfence.domain.run import fold
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.clock import Clock
from ringfence.ports.engine import Steps


class Shown(Protocol):
    """A stage's value that can say itself in one line."""

    @property
    def line(self) -> str:
        """One line for a person, redacted."""
        ...


S = TypeVar("S", bound=Shown)


@dataclass(frozen=True, slots=True)
class Guard:
    """Says why a run must not go on."""

    run: str
    log: AuditLog
    clock: Clock
    boundary: Boundary
    digest: str  # of the boundary document that this worker enforces now
    cancel_file: Path

    def reason(self) -> str | None:
        """A short reason, or None; cheap enough to be asked twice a second."""
        if self.cancel_file.exists():
            return "cancelled"
        records = self.log.records(self.run)
        if records and self.clock.now() - records[0].time > self.boundary.limits.run.time:
            return "time"
        return None

    def check(self) -> None:
        """Raise when the run must not go on. Called at the start of every guarded stage."""
        reason = self.reason()
        if reason == "cancelled":
            raise Cancelled(f"run {self.run} was cancelled")
        if reason == "time":
            raise RunStopped("time", f"the run took longer than {self.boundary.limits.run.time} s")
        admitted = fold(self.run, (from_json(r.event) for r in self.log.records(self.run))).boundary
        if admitted and admitted != self.digest:
            raise RunStopped(
                "boundary_changed",
                "the boundary document is not the one that this run was admitted under",
                mend="start a new run of the ticket",
            )


class Stages:
    """Does stages of one run, each once. Their names and order are what a replay is checked against."""

    def __init__(self, steps: Steps, guard: Guard) -> None:
        self._steps = steps
        self._guard = guard

    def __call__(self, name: str, returns: type[S], do: Callable[..., S], *given: object, attempt: int = 0) -> S:
        """Do a stage that may be stopped. With `attempt`, `do` gets it as its last argument."""
        arguments = (*given, attempt) if attempt else given

        def guarded() -> S:
            self._guard.check()
            return self._recorded(name, attempt, lambda: do(*arguments))

        return self._steps(f"{name}/{attempt}", returns, guarded)

    def always(self, name: str, returns: type[S], do: Callable[..., S], *given: object) -> S:
        """Do a stage that nothing may stop: what ends a run and cleans up."""
        return self._steps(name, returns, lambda: do(*given))

    def _recorded(self, name: str, attempt: int, do: Callable[[], S]) -> S:
        guard = self._guard
        guard.log.append(guard.run, StageStarted(name, attempt))
        begun = guard.clock.monotonic()
        value = do()
        seconds = round(guard.clock.monotonic() - begun, 3)
        guard.log.append(
            guard.run, StageEnded(name, attempt, seconds, value.line), once=f"stage.ended/{name}/{attempt}"
        )
        return value
