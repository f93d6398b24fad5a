"""The kill switch: what ends runs when nothing else can be trusted to work.

It needs the settings and the state directory. It asks the worker to stop by a file and does not wait for an answer
before it kills: what a run has on this host is found by marks and control groups. The boundary, the keys and the
engine's database are not opened; the log is only looked at, and may be locked or broken. It says what it could
confirm and what it could not, and never takes silence for a yes.
"""

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringfence.adapters import place
from ringfence.adapters.audit_logs.sqlite import Standing, standing
from ringfence.adapters.clock import SystemClock
from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.adapters.sandboxes.bubblewrap.limits import processes
from ringfence.domain.errors import EvidenceBroken, InputError
from ringfence.domain.halt import Halt
from ringfence.pipeline.orders import Orders, Quarantine
from ringfence.ports.sandbox import Frozen
from ringfence.settings import Settings

_LOOK = 0.1
_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Halted:
    """What a halt came to. Seconds count from the command; None is what could not be confirmed."""

    what: str
    processes: int  # that were found; what the worker ended before is not among them
    left: int
    last_process: float | None  # none was left by then
    last_door: float | None
    runs: tuple[str, ...]  # whose worker has written down that all of them is closed
    worker: str  # "none", "closed its runs", "did not answer and was ended", "did not answer"
    open: tuple[str, ...]  # what could not be confirmed, in sentences
    grants: int = 0  # revoked in the place of a worker that is not there any more

    @property
    def orphaned(self) -> bool:
        """Nobody is there who would give back what the runs were granted."""
        return self.worker in ("none", "did not answer and was ended")

    @property
    def confirmed(self) -> bool:
        """Everything that was wanted is known to be so."""
        return not self.open and not self.left


def sandboxes_of(settings: Settings) -> BubblewrapSandboxes:
    """The sandboxes of this host."""
    return BubblewrapSandboxes(settings.state, uid_base=settings.sandbox.uid_base, uid_count=settings.sandbox.uid_count)


def halt(settings: Settings, wanted: Halt, patience: float) -> Halted:
    """End what a halt covers that is in force already; wait at most `patience` for the worker to close its runs."""
    orders = Orders(settings.state)
    done = _Switch(settings, orders, wanted).pull(patience)
    with suppress(OSError):
        orders.note("halt", by=wanted.by, reason=wanted.reason, since=wanted.since, confirmed=done.confirmed,
                    halted=done.what, last_process=done.last_process, last_door=done.last_door,
                    worker=done.worker, open=list(done.open))  # fmt: skip
    return done


def quarantine(settings: Settings, run: str, why: Quarantine) -> Frozen:
    """Keep a run as it stands: the order first, then its processes. Errors: `InputError` for one that has ended."""
    orders = Orders(settings.state)
    with suppress(EvidenceBroken):
        known = {one.run: one for one in _standing(settings.state)}
        if run not in known or known[run].ended:
            raise InputError(
                f"run {run!r} " + ("has ended" if run in known else "is not there"), mend="`ringfence runs` lists them"
            )
    orders.quarantine(run, why)
    frozen = sandboxes_of(settings).freeze(run)
    orders.note("quarantine", run=run, by=why.by, reason=why.reason, since=why.since, processes=len(frozen.processes))
    return frozen


def release(settings: Settings, run: str, by: str, record: Callable[[int], str]) -> tuple[int, str]:
    """End what a quarantined run has; its worker, or the next one, cleans up. Processes, and what `record` said.

    `record` is told their number while the run still stands still: afterwards its log may be closed.
    """
    orders = Orders(settings.state)
    if not orders.quarantined(run):
        raise InputError(f"run {run!r} is not quarantined", mend="`ringfence runs` shows which are")
    sandboxes = sandboxes_of(settings)
    frozen = len(sandboxes.processes(run))
    said = record(frozen)
    orders.release(run)
    ended = sandboxes.end((run,))
    orders.note("release", run=run, by=by, since=_CLOCK.now(), processes=frozen, left=ended.left)
    return frozen, said


class _Switch:
    """One pull of the switch."""

    def __init__(self, settings: Settings, orders: Orders, wanted: Halt) -> None:
        self._state = settings.state
        self._wanted = wanted
        self._sandboxes = sandboxes_of(settings)
        self._spare = orders.all_quarantined()
        self._open: list[str] = []

    def pull(self, patience: float) -> Halted:
        """Kill, then ask, then kill the worker itself if it is silent and everything is to stop."""
        runs = self._runs()
        ended = self._sandboxes.end(runs, spare=self._spare)
        # The order is older than this process has been looking: a worker that obeys may have killed before.
        last = self._elapsed() if ended.found or place.is_taken(self._state) or self._closed() else 0.0
        worker, closed, door = self._worker(patience)
        again = self._sandboxes.end(runs, spare=self._spare)
        if again.found:
            last = self._elapsed()
        if again.left:
            self._open.append(f"{again.left} processes do not die; look at them with ps")
        for run in sorted(self._spare):
            self._open_if(runs is None or run in runs, f"{run} is quarantined: frozen, not ended; `ringfence release`")
        return Halted(
            what=self._wanted.what,
            processes=ended.found + again.found,
            left=again.left,
            last_process=None if again.left else last,
            last_door=door,
            runs=closed,
            worker=worker,
            open=tuple(self._open),
        )

    def _runs(self) -> frozenset[str] | None:
        """Whose processes are to be ended; None for everybody's."""
        if self._wanted.scope == "all":
            return None
        if self._wanted.scope == "run":
            return frozenset({self._wanted.name})
        try:
            return frozenset(one.run for one in self._log() if self._covers(one))
        except EvidenceBroken as broken:
            self._open.append(f"which runs are of {self._wanted.name} is not known, so all were ended: {broken.what}")
            return None

    def _worker(self, patience: float) -> tuple[str, tuple[str, ...], float | None]:
        """What the worker did about it, the runs that it has closed, and when the last door was closed."""
        if not place.is_taken(self._state):
            return self._obeyed() if self._closed() else ("none", (), 0.0)
        deadline = time.monotonic() + patience
        while True:
            waiting = self._waiting()
            if waiting is not None and not waiting:
                return self._obeyed()
            if time.monotonic() > deadline:
                break
            time.sleep(_LOOK)
        why = "its log cannot be read" if waiting is None else f"not closed: {', '.join(sorted(waiting))}"
        if self._wanted.scope != "all":
            self._open.append(
                f"the worker has not said that doors are closed and grants let go ({why}); nobody is left in the "
                "sandboxes to use a door. End the worker to be sure"
            )
            return "did not answer", (), None
        return self._end_worker(why)

    def _obeyed(self) -> tuple[str, tuple[str, ...], float]:
        closed = self._closed()
        return "closed its runs", tuple(sorted(closed)), max(closed.values(), default=0.0)

    def _end_worker(self, why: str) -> tuple[str, tuple[str, ...], float | None]:
        """A worker that does not obey is ended, with all that it started: gateway, git, sandboxes."""
        worker = place.holder(self._state)
        if worker is None or worker == os.getpid():
            self._open.append(f"the worker does not answer ({why}) and its process cannot be told; end it by hand")
            return "did not answer", (), None
        with suppress(OSError):
            everybody = [os.pidfd_open(pid) for pid in processes.usage(worker).pids if pid != worker]
            leader = os.pidfd_open(worker)
            if place.holder(self._state) == worker:
                _signal(leader, signal.SIGKILL)
            # What dies by itself with the worker has half a second to do so; git takes its lock files away.
            for number in (signal.SIGTERM, signal.SIGKILL):
                for fd in everybody:
                    _signal(fd, number)
                _until(lambda: not any(map(_alive, (leader, *everybody))), 0.5)
            left = sum(map(_alive, (leader, *everybody)))
            for fd in (leader, *everybody):
                os.close(fd)
            if not left:
                return "did not answer and was ended", (), self._elapsed()
        self._open.append("the worker did not answer and could not be ended")
        return "did not answer", (), None

    def _waiting(self) -> frozenset[str] | None:
        """Runs that the worker still has to close; None when the log cannot be read."""
        try:
            return frozenset(
                one.run
                for one in self._log()
                if self._covers(one) and one.halted is None and not one.ended and one.run not in self._spare
            )
        except EvidenceBroken:
            return None

    def _closed(self) -> dict[str, float]:
        """Runs that the worker has closed since this command was started, with its seconds."""
        with suppress(EvidenceBroken):
            return {
                one.run: one.halted
                for one in self._log()
                if one.halted is not None and one.closed >= self._wanted.since
            }
        return {}

    def _log(self) -> tuple[Standing, ...]:
        return _standing(self._state)

    def _covers(self, one: Standing) -> bool:
        return self._wanted.covers(one.run, one.repository)

    def _elapsed(self) -> float:
        return round(_CLOCK.now() - self._wanted.since, 3)

    def _open_if(self, so: bool, sentence: str) -> None:
        if so:
            self._open.append(sentence)


def _standing(state: Path) -> tuple[Standing, ...]:
    path = state / "audit.sqlite"
    return standing(path) if path.exists() else ()


def _signal(fd: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(fd, number)


def _alive(fd: int) -> bool:
    """Whether a process executes: a zombie that nobody waits for does not."""
    try:
        signal.pidfd_send_signal(fd, 0)
    except ProcessLookupError:
        return False
    return not select.select([fd], [], [], 0)[0]


def _until(so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not so() and time.monotonic() < deadline:
        time.sleep(0.01)
