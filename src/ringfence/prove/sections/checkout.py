"""Claims of the section `checkout`: where trees are, that nothing outside of theirs is seen, and that they go."""

from collections.abc import Iterator
from pathlib import Path

from ringfence.pipeline.rooms import remove_tree
from ringfence.prove import inside
from ringfence.prove.claim import Claim, Result, judged
from ringfence.prove.ground import RUN, Ground, How
from ringfence.prove.sections.commands import probed


def claims(ground: Ground) -> Iterator[Claim]:
    """The claims, in the order in which people ask."""
    location = ground.boundary.checkout.location
    yield Claim("checkout", f"a sandbox sees nothing of {location} but its own tree", lambda: _unseen(ground))
    yield Claim("checkout", "the tree is removed after a run, whatever its modes", lambda: _removed(ground))
    yield Claim("checkout", "hooks and filters of a repository run nowhere at its checkout", lambda: _hooks(ground))
    yield from probed(ground, "checkout")
    yield Claim("checkout", "a commit is checked out inside a sandbox", lambda: _made(ground), benign=True)


def _unseen(ground: Ground) -> Result:
    neighbour = ground.places.state / "neighbour"
    neighbour.mkdir(exist_ok=True)
    neighbour.chmod(0o755)  # only its place keeps it, so that a way to it would be seen
    bait = neighbour / "value"
    bait.write_text(ground.canary)
    bait.chmod(0o644)
    seen = [str(bait), str(ground.places.state / "audit.sqlite"), str(ground.mirror / "HEAD")]
    control = all(Path(one).read_bytes() for one in seen)
    answer = ground.attack(inside.search, _given(ground, seen), how=How(role="checks:base"))
    remove_tree(neighbour)
    came = answer.came or {"opened": [f"no answer: {answer.end}"], "found": [], "files": 0}
    good = control and not came["opened"] and not came["found"]
    said = f"{len(seen)} files of other runs and of the worker, each readable outside, tried by 5 ways inside: "
    return judged(good, said + (f"{came['files']} files looked through, none of them" if good else f"reached {came}"))


def _given(ground: Ground, places: list[str]) -> inside.Given:
    return {"backwards": ground.canary[::-1], "skip": list(ground.trees()), "places": places}


def _removed(ground: Ground) -> Result:
    room = ground.empty_room()
    given = {"locked": ["/workspace/locked", "/workspace/deep/locked"], "links": {"/workspace/out": "/etc"}}
    answer = ground.attack(inside.change, given, room=room, how=How(role="checks:base"))
    if answer.came != "changed":
        return judged(False, f"the tree was not made: {answer.end}")
    ground.rooms().remove(room)
    left = ground.sandboxes.reclaim(RUN)
    good = not room.path.exists() and left == 0
    return judged(good, f"a tree with unreadable directories and a link out is gone; {left} processes left")


def _hooks(ground: Ground) -> Result:
    """The checkout of a commit whose hooks are elsewhere: git is told so by the worker, and runs inside anyway."""
    room = ground.rooms().make("hooks", ground.source)
    hooks = sorted(path.name for path in (room.path / ".git" / "hooks").glob("*") if not path.name.endswith(".sample"))
    roles = {getattr(event, "role", "") for event in _events(ground)}
    ground.rooms().remove(room)
    return judged(not hooks and "checkout" in roles, f"git ran in a sandbox of role checkout; hooks in force: {hooks}")


def _events(ground: Ground) -> Iterator[object]:
    from ringfence.domain.events import from_json

    return (from_json(record.event) for record in ground.log.records(RUN))


def _made(ground: Ground) -> Result:
    room = ground.rooms().make("benign", ground.source)
    names = sorted(path.name for path in room.path.iterdir())
    good = (room.path / "value.txt").read_text() == "1\n"
    ground.rooms().remove(room)
    return judged(good, f"the tree of {ground.base[:12]} has {', '.join(names)}")
