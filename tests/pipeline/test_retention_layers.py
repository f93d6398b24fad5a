"""Retention of what set-up left: too old, half made, unwanted, or too much of it goes; the rest stays as it is."""

import dataclasses
from pathlib import Path

from ringfence.adapters.clock import SystemClock
from ringfence.domain.boundary import Boundary
from ringfence.domain.layers import Recipe, chosen
from ringfence.domain.parse import parse
from ringfence.pipeline.layers import Layer, Shelf
from ringfence.pipeline.retention import prepare, sweep_layers
from worksite import REPOSITORY, Server, Worksite

COMMANDS = f"commands.repositories.{REPOSITORY}"
LIMITS = {"size": "1MiB", "age": "1h", "total": "1MiB"}


def boundary(root: Path, **changes: object) -> Boundary:
    asked = {f"{COMMANDS}.setup": [["true"]], "limits.layer": LIMITS, **changes}
    read = parse(Worksite(root, Server(root)).boundary(asked).read_text(), source="boundary.yaml")
    assert isinstance(read, Boundary), read
    return read


def kept(root: Path, shelf: Shelf, number: int, *, made: float, size: int = 10) -> str:
    """Put a layer on a shelf; its key."""
    tree = root / f"tree-{number}"
    tree.mkdir()
    (tree / "file").write_bytes(b"x" * size)
    key = "sha256:" + f"{number:064d}"
    shelf.keep(key, tree, frozenset(), most=1 << 20, made=made)
    return key


def test_old_half_made_and_unwanted_layers_are_swept(tmp_path: Path) -> None:
    document, places, clock = boundary(tmp_path), prepare(tmp_path / "state"), SystemClock()
    shelf, other = Shelf(places.layers(REPOSITORY)), Shelf(places.layers("acme/gone"))
    young = kept(tmp_path, shelf, 1, made=clock.now())
    kept(tmp_path, shelf, 2, made=clock.now() - 7200)
    kept(tmp_path, other, 3, made=clock.now())
    (places.layers(REPOSITORY) / ".new-1").mkdir()
    (places.state / "layers" / "link").symlink_to(tmp_path)
    gone = sweep_layers(places, document, clock)
    assert sorted(name.rpartition("/")[2] for name in gone) == [f"{2:064d}", f"{3:064d}"]
    assert [path.name for path in places.layers(REPOSITORY).iterdir()] == [young[7:]]
    assert isinstance(shelf.find(young, newer_than=0.0), Layer)
    assert not (places.state / "layers" / "link").is_symlink()
    assert (tmp_path / "state").is_dir()
    assert sweep_layers(places, document, clock) == ()


def test_the_oldest_go_until_all_fit(tmp_path: Path) -> None:
    document, places, clock = boundary(tmp_path), prepare(tmp_path / "state"), SystemClock()
    shelf = Shelf(places.layers(REPOSITORY))
    for number, age in ((1, 30), (2, 20), (3, 10)):
        kept(tmp_path, shelf, number, made=clock.now() - age, size=500_000)
    assert [name.rpartition("/")[2] for name in sweep_layers(places, document, clock)] == [f"{1:064d}"]


def test_the_key_is_of_everything_that_a_layer_is_made_from() -> None:
    recipe = Recipe("a/b", (("true",),), (("lock", "100644", "1"),), {"path": ["/usr/bin"]}, ())
    others = (
        dataclasses.replace(recipe, repository="a/c"),
        dataclasses.replace(recipe, commands=(("true", ""),)),
        dataclasses.replace(recipe, inputs=(("lock", "100755", "1"),)),
        dataclasses.replace(recipe, inputs=(("lock", "100644", "2"),)),
        dataclasses.replace(recipe, surroundings={"path": ["/usr/sbin"]}),
        dataclasses.replace(recipe, network=({"host": "packages.example.internal"},)),
    )
    assert len({one.key for one in (recipe, *others)}) == 1 + len(others)
    assert dataclasses.replace(recipe).key == recipe.key


def test_inputs_are_chosen_as_other_globs_of_the_boundary_choose() -> None:
    entries = (("web/package-lock.json", "100644", "1"), ("lock.txt", "100644", "2"), ("src/a.py", "100644", "3"))
    assert [path for path, _, _ in chosen(["package-lock.json", "/lock.txt"], entries)] == [
        "lock.txt", "web/package-lock.json",
    ]  # fmt: skip
    assert chosen(["*.toml"], entries) == ()
