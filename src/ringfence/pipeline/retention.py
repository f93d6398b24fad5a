"""Retention: what no living run needs and the boundary no longer keeps is removed."""

import math
from dataclasses import dataclass
from pathlib import Path

from ringfence.domain.boundary import Boundary
from ringfence.pipeline.layers import Shelf
from ringfence.pipeline.orders import Orders
from ringfence.pipeline.ports import Places
from ringfence.pipeline.rooms import remove_tree
from ringfence.ports.clock import Clock
from ringfence.ports.sandbox import Sandboxes


@dataclass(frozen=True, slots=True)
class Removed:
    """What a sweep took away, by name."""

    checkouts: tuple[str, ...]
    mirrors: tuple[str, ...]
    layers: tuple[str, ...]  # as repository/key, both opaque
    runs: tuple[str, ...]  # logs and bundles past their retention
    bodies: tuple[str, ...]  # runs whose model exchanges are past theirs
    blobs: int  # of the content store, which no log names any more
    #: What could not be removed, a sentence each.
    left: tuple[str, ...]


def sweep_checkouts(places: Places, alive: frozenset[str], sandboxes: Sandboxes) -> tuple[str, ...]:
    """Remove trees and processes of runs that are neither alive nor quarantined: what a crash left."""
    root, kept = places.state / "runs", Orders(places.state).all_quarantined()
    left = sorted(path.name for path in root.iterdir() if path.name not in alive | kept) if root.is_dir() else []
    for name in left:
        sandboxes.reclaim(name)
        remove_tree(root / name)
    return tuple(left)


def sweep_mirrors(places: Places, boundary: Boundary, clock: Clock) -> tuple[str, ...]:
    """Remove mirrors that were not used for long, then the longest unused ones until the rest fits."""
    cache = boundary.checkout.cache
    root = places.state / "mirrors"
    mirrors = sorted(root.glob("*.git"), key=lambda path: path.stat().st_mtime) if root.is_dir() else []
    sizes = {path: sum(item.lstat().st_size for item in path.rglob("*")) for path in mirrors}
    removed = []
    for path in mirrors:
        stale = clock.now() - path.stat().st_mtime > cache.keep
        if stale or sum(sizes.values()) > cache.size:
            remove_tree(path)
            del sizes[path]
            removed.append(path.name)
    return tuple(removed)


def sweep_layers(places: Places, boundary: Boundary, clock: Clock) -> tuple[str, ...]:
    """Remove layers that are too old, half made, or of a repository that has none, then the oldest until all fit.

    Only while no run uses any.
    """
    root, oldest = places.state / "layers", clock.now() - boundary.limits.layer.age
    wanted = {places.layers(name).name for name, commands in boundary.commands.repositories.items() if commands.setup}
    removed, left = [], []
    for place in sorted(root.iterdir()) if root.is_dir() else ():
        if place.is_symlink() or not place.is_dir():
            remove_tree(place)
            continue
        gone = Shelf(place).sweep(newer_than=oldest if place.name in wanted else math.inf)
        removed += [f"{place.name}/{name}" for name in gone]
        left += [(made, size, path) for made, size, path in Shelf(place).layers()]
    total = sum(size for _made, size, _path in left)
    for _made, size, path in sorted(left):
        if total > boundary.limits.layer.total:
            remove_tree(path)
            removed.append(f"{path.parent.name}/{path.name}")
            total -= size
    return tuple(removed)


def prepare(state: Path) -> Places:
    """Make the state directory and its places, readable by the worker's user alone."""
    for path in (
        state,
        *(state / name for name in ("runs", "mirrors", "layers", "cancel", "bundles", "keys", "halts", "quarantine")),
    ):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Places(state)
