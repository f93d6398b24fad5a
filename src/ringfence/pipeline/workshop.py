"""The workshop of one run: its log as people see it, its rooms, and the sources that rooms are made of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ringfence.domain.boundary import Repository
from ringfence.domain.errors import InputError
from ringfence.domain.events import Event, from_json
from ringfence.domain.run import RunView, fold
from ringfence.pipeline.exits import Exits
from ringfence.pipeline.ports import Ports
from ringfence.pipeline.prepared import PreparedTrees
from ringfence.pipeline.rooms import Room, Rooms, Source
from ringfence.pipeline.stages.checkout import Checkout


class Workshop:
    """What several stages of a run share; it decides nothing."""

    def __init__(self, run: str, ports: Ports, *, stop: Callable[[], str | None], paused: Callable[[], bool]) -> None:
        self._run = run
        self._ports = ports
        self._stop = stop
        self._paused = paused
        self._stock: PreparedTrees | None = None

    @property
    def intake(self) -> Path:
        """The bare repository that the agent's tree comes into."""
        return self._ports.places.intake(self._run)

    def events(self) -> tuple[Event, ...]:
        """The log so far."""
        return tuple(from_json(record.event) for record in self._ports.log.records(self._run))

    def view(self) -> RunView:
        """What the log says so far."""
        return fold(self._run, self.events())

    def repository(self, name: str) -> Repository:
        """What the boundary says of a repository. Errors: `InputError` when it says nothing."""
        found = self._ports.boundary.repository(name)
        if found is None:
            raise InputError(f"repository {name} is not in the boundary")
        return found

    def rooms(self, taken: Checkout) -> Rooms:
        """Rooms for a repository's commands."""
        ports, repository = self._ports, taken.repository
        if self._stock is None:
            self._stock = PreparedTrees(self._run, ports, repository, taken.base)
        return Rooms(
            self._run,
            ports.boundary,
            repository,
            place=ports.places.run(self._run),
            sandboxes=ports.sandboxes,
            log=ports.log,
            artifacts=ports.artifacts,
            exits=Exits(self._run, ports.boundary, ports.egress, ports.log, ports.authorities),
            stop=self._stop,
            paused=self._paused,
            stock=self._stock,
        )

    def source(self, taken: Checkout, commit: str) -> Source:
        """A commit of the mirror, or one that only the intake has, with the pack that brings it."""
        mirror = self._ports.git.mirror(taken.repository)
        if commit in (taken.base, taken.start):
            return Source(mirror, commit)
        return Source(mirror, commit, self._ports.intake.pack(self.intake, commit, taken.start))

    @contextmanager
    def beside(self, taken: Checkout, rooms: Rooms) -> Iterator[tuple[tuple[str, Room], ...]]:
        """Rooms of the read-only repositories, for as long as the block runs."""
        made: list[tuple[str, Room]] = []
        try:
            for number, (name, commit) in enumerate(taken.context):
                room = rooms.make(f"context-{number}", Source(self._ports.git.mirror(name), commit))
                made.append((name, room))
            yield tuple(made)
        finally:
            for _name, room in made:
                rooms.remove(room)
