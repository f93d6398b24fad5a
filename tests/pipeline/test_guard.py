"""The guard of a run: asked before each stage and while one waits, it ends a run whose time is over."""

from dataclasses import dataclass, replace

import pytest

from ringfence.domain import events as e
from ringfence.domain.errors import RunStopped
from ringfence.pipeline.steps import Guard
from ringfence.points import NoDoors
from ringfence.wiring import _ports, make_sandboxes, reading
from worksite import TICKET, Worksite

RUN = f"{TICKET}-r1"


@dataclass
class SetClock:
    """The worker's clock as a test sets it."""

    wall: float = 0.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.wall

    def token(self, size: int) -> str:
        return "0" * 2 * size


def test_a_run_that_takes_longer_than_it_may_is_ended(site: Worksite) -> None:
    clock = SetClock()
    with reading(site.settings) as look:
        ports = replace(_ports(look, make_sandboxes(site.settings), NoDoors(), NoDoors()), clock=clock)
        guard = Guard(RUN, ports)
        assert guard.reason() is None, "it has not begun"
        look.log.append(RUN, e.RunStarted("host/1", "0.1.0", "bubblewrap", False))
        began, limit = next(iter(look.log.records(RUN))).time, look.boundary.limits.run.time
        clock.wall = began + limit - 1
        assert guard.reason() is None
        guard.check()
        clock.wall = began + limit + 1
        assert guard.reason() == guard.leaving() == "time"
        with pytest.raises(RunStopped) as ended:
            guard.check()
        assert ended.value.reason == "time"
        assert Guard(RUN, ports).reason() == "time", "a worker that takes the run up counts from its beginning"
