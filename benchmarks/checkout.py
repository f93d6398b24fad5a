"""Checkout of 50,000 files through a room, against `git clone --no-local` of the same mirror.

A room is what agents and checks work in: made inside a sandbox, as another user, from the warm mirror whose objects
it borrows. `clone --shared` is the least that git itself can do. Removing the tree is measured beside it, for every
room is removed again.

`python benchmarks/checkout.py [--directory DIR] [--rounds N] [--seconds S] [--files N]`
"""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from large import arguments, large_site, rounds
from table import Row, show

from ringfence.adapters.git import GitObjects, GitTransport
from ringfence.pipeline.exits import Exits
from ringfence.pipeline.rooms import Rooms, Source, remove_tree
from ringfence.points import NoDoors
from ringfence.wiring import Reading, make_sandboxes, reading
from worksite import REPOSITORY, TICKET

T = TypeVar("T")
RUN = "BENCH-1-r1"
ROOM = "room: sandboxed, from the mirror with alternates"
FULL = "git clone --no-local"
SHARED = "git clone --shared"
REMOVE = "room: removed again"


def main() -> None:
    """Measure and print."""
    asked = arguments(str(__doc__), 20)
    with large_site(asked.directory, asked.files) as site:
        warmed = site.ringfence("context", TICKET, timeout=600)
        if warmed.returncode != 0:
            raise SystemExit(f"error: the mirror could not be made\n{warmed.stderr}")
        taken: dict[str, list[float]] = {ROOM: [], FULL: [], SHARED: [], REMOVE: []}
        with reading(site.settings) as look:
            for _number in rounds(asked):
                _round(look, site.root / "clone", taken)
        rows = [Row(name, "s", tuple(times)) for name, times in taken.items()]
        for against in (FULL, SHARED):
            ratios = tuple(a / b for a, b in zip(taken[ROOM], taken[against], strict=True))
            rows.append(Row(f"ratio: room / {against}", "x", ratios))
        show(rows)


def _round(look: Reading, clone: Path, taken: dict[str, list[float]]) -> None:
    """Each way once."""
    mirror = GitTransport(look.places.state / "mirrors").mirror(REPOSITORY)
    commit = GitObjects().resolve(mirror, "refs/heads/main")
    assert commit is not None
    sandboxes = make_sandboxes(look.settings)
    rooms = Rooms(
        RUN, look.boundary, REPOSITORY, place=look.places.run(RUN), sandboxes=sandboxes, log=look.log,
        artifacts=look.artifacts, exits=Exits(RUN, look.boundary, NoDoors(), look.log, b""), stop=lambda: None,
        paused=lambda: False,
    )  # fmt: skip
    room, seconds = _timed(lambda: rooms.make("bench", Source(mirror, commit)))
    taken[ROOM].append(seconds)
    _none, seconds = _timed(lambda: rooms.remove(room))
    taken[REMOVE].append(seconds)
    sandboxes.reclaim(RUN)
    for name, option in ((FULL, "--no-local"), (SHARED, "--shared")):
        argv = ["git", "clone", "-q", option, str(mirror), str(clone)]
        _done, seconds = _timed(lambda argv=argv: subprocess.run(argv, check=True))
        taken[name].append(seconds)
        remove_tree(clone)


def _timed(do: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    value = do()
    return value, time.perf_counter() - began


if __name__ == "__main__":
    main()
