"""Stages as steps: begun and ended on the log, guarded, done once.

The guard runs before a stage and again while a stage waits for a process: it is how a cancelled run, a
spent time limit or a changed boundary ends work within a second.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pydantic import TypeAdapter

from ringfence.domain.errors import Cancelled, RunStopped
from ringfence.domain.events import StageEnded, StageStarted, from_json
from ringfence.domain.halt import Halt, covering
from ringfence.domain.run import RunView, fold
from ringfence.pipeline.orders import Orders
from ringfence.pipeline.ports import Ports
from ringfence.ports.artifacts import Artifacts
from ringfence.ports.engine import Steps

_AGAIN = "start a new run of the ticket"
_PAUSE = 0.2


class Shown(Protocol):
    """A stage's value that can say itself in one line."""

    @property
    def line(self) -> str:
        """One line for a person, redacted."""
        ...


S = TypeVar("S", bound=Shown)


class Guard:
    """Says why a run must not go on, and whether it stands still. It reads the operator's orders each time."""

    def __init__(self, run: str, ports: Ports) -> None:
        self.run = run
        self.log = ports.log
        self.clock = ports.clock
        self._boundary = ports.boundary
        self._digest = ports.boundary_digest
        self._cancel = ports.places.cancel(run)
        self._began: float | None = None
        self._orders = Orders(ports.places.state)
        self._repository = ""

    def reason(self) -> str | None:
        """A short reason, or None; cheap enough to be asked several times a second."""
        if self._orders.released(self.run):
            return "quarantined"
        if self._cancel.exists():
            return "cancelled"
        if self.halt() is not None:
            return "halted"
        if self._began is None:
            records = self.log.records(self.run)
            self._began = records[0].time if records else None
        if self._began is not None and self.clock.now() - self._began > self._boundary.limits.run.time:
            return "time"
        return None

    def paused(self) -> bool:
        """Whether the run is quarantined: nothing of it goes on, and nothing of it is taken away."""
        return self._orders.quarantined(self.run)

    def leaving(self) -> str | None:
        """Why nothing of this run may leave the host now, or None."""
        return "quarantined" if self.paused() else self.reason()

    def halt(self) -> Halt | None:
        """The halt that covers this run, or None."""
        halts = self._orders.halts()
        if halts and not self._repository:
            self._repository = self._view().repository
        return covering(halts, self.run, self._repository)

    def stand_still(self) -> None:
        """Wait for as long as the run is quarantined."""
        while self.paused():
            time.sleep(_PAUSE)

    def check(self) -> None:
        """Raise when the run must not go on. Called at the start of every guarded stage."""
        self.stand_still()
        reason = self.reason()
        if reason == "cancelled":
            raise Cancelled(f"run {self.run} was cancelled")
        if reason == "time":
            raise RunStopped("time", f"the run took longer than {self._boundary.limits.run.time} s")
        if reason == "halted" and (halt := self.halt()) is not None:
            raise RunStopped("halted", halt.line, mend=f"`ringfence resume` lifts it; {_AGAIN}")
        if reason is not None:
            raise RunStopped(reason, f"run {self.run} was quarantined and released", mend=_AGAIN)
        admitted = self._view().boundary
        if admitted and admitted != self._digest:
            raise RunStopped(
                "boundary_changed",
                "the boundary document is not the one that this run was admitted under",
                mend=_AGAIN,
            )

    def _view(self) -> RunView:
        return fold(self.run, (from_json(record.event) for record in self.log.records(self.run)))


@dataclass(frozen=True, slots=True)
class Stage(Generic[S]):
    """Which stage, which attempt, and how its value is written."""

    name: str
    attempt: int
    codec: TypeAdapter[S]


class Stages:
    """Does stages of one run, each once. Their names and order are what a replay is checked against.

    A stage's value is on the log before the engine has it. When the worker is killed in between, the stage is
    begun again and gives back that value: its work, and what its model has cost, is not repeated.
    """

    def __init__(self, steps: Steps, guard: Guard, artifacts: Artifacts) -> None:
        self._steps = steps
        self._guard = guard
        self._artifacts = artifacts

    def __call__(self, name: str, returns: type[S], do: Callable[..., S], *given: object, attempt: int = 0) -> S:
        """Do a stage that may be stopped. With `attempt`, `do` gets it as its last argument."""
        arguments = (*given, attempt) if attempt else given

        def guarded() -> S:
            self._guard.check()
            return self._recorded(Stage(name, attempt, TypeAdapter(returns)), lambda: do(*arguments))

        return self._steps(f"{name}/{attempt}", returns, guarded)

    def always(self, name: str, returns: type[S], do: Callable[[], S]) -> S:
        """Do a stage that nothing may stop."""
        return self._steps(name, returns, lambda: self._recorded(Stage(name, 0, TypeAdapter(returns)), do))

    def _recorded(self, stage: Stage[S], do: Callable[[], S]) -> S:
        guard = self._guard
        earlier = self._earlier(stage)
        if earlier is not None:
            return earlier
        guard.log.append(guard.run, StageStarted(stage.name, stage.attempt))
        begun = guard.clock.monotonic()
        value = do()
        seconds = round(guard.clock.monotonic() - begun, 3)
        ended = StageEnded(stage.name, stage.attempt, seconds, value.line, self._kept(stage, value))
        guard.log.append(guard.run, ended, once=f"stage.ended/{stage.name}/{stage.attempt}")
        return value

    def _earlier(self, stage: Stage[S]) -> S | None:
        """The value that this stage came to before the worker was killed, if it came to one."""
        for record in self._guard.log.records(self._guard.run):
            event = from_json(record.event)
            if (
                isinstance(event, StageEnded)
                and ((event.stage, event.attempt) == (stage.name, stage.attempt))
                and event.result
            ):
                return stage.codec.validate_json(self._artifacts.get(event.result))
        return None

    def _kept(self, stage: Stage[S], value: S) -> str:
        """The digest of the value; empty when redaction would change it, and then the stage is simply done again."""
        content = stage.codec.dump_json(value)
        digest = self._artifacts.put(content)
        return digest if self._artifacts.get(digest) == content else ""
