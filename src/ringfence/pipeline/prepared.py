"""Rooms that share what they are made of: a commit is checked out once in a run, and set-up is done once.

Where the host can, a room is an empty tree over the commit's tree, and that over the layer that set-up left; what one
command writes, no other sees. Elsewhere each room is a checkout of its own with a copy of the layer. A file that the
commit has comes from the commit in both, whatever set-up did to it.

Layers that later runs use are made from the base commit alone. What a patch changes of set-up is made again from the
patch, kept with the run, and used for nothing else.
"""

import hashlib
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ringfence.domain.boundary import RepositoryCommands
from ringfence.domain.events import LayerMade, LayerUsed
from ringfence.domain.layers import Recipe, chosen
from ringfence.pipeline.layers import Layer, Shelf
from ringfence.pipeline.ports import Ports
from ringfence.pipeline.rooms import Room, Rooms, Source
from ringfence.pipeline.trees import copy_beside
from ringfence.ports.objects import TreeEntry


@dataclass(slots=True)
class PreparedTrees:
    """The trees and layers of one run and one repository, as far as this process has made or found them."""

    run: str
    ports: Ports
    repository: str
    base: str  # the commit whose set-up may be kept for later runs
    _trees: dict[str, Room] = field(default_factory=dict)
    _layers: dict[str, Layer] = field(default_factory=dict)
    _recipes: dict[str, Recipe] = field(default_factory=dict)

    def room(self, rooms: Rooms, name: str, source: Source) -> Room:
        """A room on a commit, with what set-up makes in it. Errors: `RunStopped` when set-up fails."""
        layer = self._layer(rooms, source) if self._commands.setup else None
        made = layer.contents if layer else b""
        if self.ports.sandboxes.stacks:
            tree = self._tree(rooms, source)
            room = rooms.over(name, tree, *([layer.tree] if layer else []))
            return replace(room, source=source, made=made)
        room = rooms.make(name, source)
        if layer is not None:
            copy_beside(layer.tree, room.path)
            self.ports.sandboxes.own(self.run, room.path)
        return replace(room, made=made)

    @property
    def _commands(self) -> RepositoryCommands:
        return self.ports.boundary.commands.repositories[self.repository]

    def _tree(self, rooms: Rooms, source: Source) -> Room:
        """The commit's own tree, which nobody writes any more; another one than the first is what differs from it."""
        found = self._trees.get(source.commit)
        if found is None:
            first = next(iter(self._trees.values()), None)
            found = rooms.make(f"tree-{len(self._trees)}", source, first)
            self._trees[source.commit] = found
        return found

    def _layer(self, rooms: Rooms, source: Source) -> Layer:
        recipe = self._recipe(source.commit)
        found = self._layers.get(recipe.key)
        if found is None:
            if source.commit == self.base or recipe.key == self._recipe(self.base).key:
                found = self._kept(rooms, recipe)
            else:
                found = self._made(rooms, source, recipe, "the patch changes what set-up is made from")
            self._layers[recipe.key] = found
        return found

    def _kept(self, rooms: Rooms, recipe: Recipe) -> Layer:
        """What an earlier run made from the same, or made now on the base commit."""
        clock, limits = self.ports.clock, self.ports.boundary.limits.layer
        began = clock.monotonic()
        found = Shelf(self.ports.places.layers(self.repository)).find(recipe.key, newer_than=clock.now() - limits.age)
        if not isinstance(found, Layer):
            mirror = self.ports.git.mirror(self.repository)
            return self._made(rooms, Source(mirror, self.base), recipe, found.why)
        event = LayerUsed(
            layer=found.key,
            content=found.content,
            files=found.files,
            size=found.size,
            age=round(max(0.0, clock.now() - found.made), 1),
            seconds=round(clock.monotonic() - began, 3),
            made_from=recipe.words,
        )
        self.ports.log.append(self.run, event, once=f"layer.used/{found.key}")
        return found

    def _made(self, rooms: Rooms, source: Source, recipe: Recipe, why: str) -> Layer:
        """Run the set-up commands on a tree of their own, and keep what they leave."""
        ports = self.ports
        began = ports.clock.monotonic()
        room = rooms.make("setup", source)
        try:
            rooms.prepare(room)
            tracked = [entry.path for entry in self._entries(source.commit)]
            # Tools that were exchanged meanwhile made what nobody can name: it is for this run.
            mine = source.commit != self.base or _fingerprint(self._commands, ports) != recipe.surroundings["tools"]
            place = ports.places.run(self.run) / "layers" if mine else ports.places.layers(self.repository)
            layer, left_out = Shelf(place).keep(
                recipe.key, room.path, tracked, most=ports.boundary.limits.layer.size, made=ports.clock.now()
            )
        finally:
            rooms.remove(room)
        event = LayerMade(
            layer=layer.key,
            content=layer.content,
            commit=source.commit,
            scope="run" if mine else "repository",
            why=why,
            files=layer.files,
            size=layer.size,
            seconds=round(ports.clock.monotonic() - began, 3),
            made_from=recipe.words,
            left_out=left_out,
        )
        ports.log.append(self.run, event)
        return layer

    def _recipe(self, commit: str) -> Recipe:
        """What set-up on a commit is made from."""
        found = self._recipes.get(commit)
        if found is None:
            found = self._recipes[commit] = Recipe(
                repository=self.repository,
                commands=self._commands.setup,
                inputs=self._inputs(commit),
                surroundings=self._surroundings(),
                network=tuple(rule.model_dump(mode="json") for rule in self.ports.boundary.network.setup),
            )
        return found

    def _inputs(self, commit: str) -> tuple[tuple[str, str, str], ...]:
        """The declared input files; the whole tree when none is declared, or when the commit has none of them."""
        patterns = self._commands.setup_inputs
        files = ((entry.path, entry.mode, entry.blob) for entry in self._entries(commit)) if patterns else ()
        intake = self.ports.places.intake(self.run)
        return chosen(patterns, files) or (("", "040000", self.ports.objects.tree_of(intake, commit)),)

    def _entries(self, commit: str) -> tuple[TreeEntry, ...]:
        return self.ports.objects.entries(self.ports.places.intake(self.run), commit)

    def _surroundings(self) -> dict[str, Any]:
        commands, chains = self._commands, self.ports.boundary.commands.toolchains
        return {
            "toolchains": [(name, chains[name].source, chains[name].target) for name in commands.toolchains],
            "path": commands.path,
            "environment": sorted(commands.environment.items()),
            "tools": _fingerprint(commands, self.ports),
        }


def _fingerprint(commands: RepositoryCommands, ports: Ports) -> str:
    """What is on PATH inside, by name, size and time: another interpreter or compiler is another toolchain."""
    whole = hashlib.sha256()
    for row in _programs(commands, ports):
        whole.update(repr(row).encode())
    return whole.hexdigest()


def _programs(commands: RepositoryCommands, ports: Ports) -> Iterator[tuple[str, str, int, int]]:
    chains = [ports.boundary.commands.toolchains[name] for name in commands.toolchains]
    for directory in commands.path:
        for chain in chains:
            if directory == chain.target or directory.startswith(chain.target.rstrip("/") + "/"):
                place = Path(chain.source) / posixpath.relpath(directory, chain.target)
                for program in sorted(place.iterdir()) if place.is_dir() else ():
                    state = program.lstat()
                    yield directory, program.name, state.st_size, state.st_mtime_ns
