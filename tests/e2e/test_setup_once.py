"""Set-up is done once: its layer is kept, found again, and made again when what it is made from changes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosting import run_git
from ringfence.domain import events as e
from worksite import FILES, REPOSITORY, TICKET, Worksite, worksite

COMMANDS = f"commands.repositories.{REPOSITORY}"
SETUP = (
    "mkdir -p .deps/bin && cp lock.txt .deps/ && chmod 600 .deps/lock.txt && echo made > loose.txt && "
    "printf '#!/bin/sh\\necho tool of /workspace\\n' > .deps/bin/tool && chmod +x .deps/bin/tool && "
    "ln -s bin/tool .deps/link && echo 9 > value.txt && rm AGENTS.md && date +%N > .deps/when"
)
CHECK = "cat .deps/when && .deps/link && cat .deps/lock.txt loose.txt && test -f AGENTS.md && sh check.sh"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Worksite]:
    with worksite(tmp_path / "site", {**FILES, "lock.txt": "one\n", ".gitignore": ".deps/\n"}) as site:
        declare(site)
        site.story("cat .deps/lock.txt && echo 2 > value.txt")
        yield site


def declare(site: Worksite, **changes: object) -> None:
    """The boundary, with set-up, what it is made from, and a check that needs what it leaves."""
    check = {"name": "test", "kind": "test", "run": ["sh", "-c", CHECK], "timeout": "60s"}
    asked = {
        f"{COMMANDS}.setup": [["sh", "-c", SETUP]], f"{COMMANDS}.setup_inputs": ["lock.txt"],
        f"{COMMANDS}.checks": [check],
    }  # fmt: skip
    site.boundary({**asked, **{key.replace("__", "."): value for key, value in changes.items()}})


def carried(site: Worksite, ticket: str) -> tuple[e.Event, ...]:
    """The events of a run that came to a pull request."""
    site.ticket(ticket)
    done = site.ringfence("run", ticket)
    assert done.returncode == 0, done.stdout + done.stderr
    return site.events(f"{ticket}-r1")


def setups(events: tuple[e.Event, ...]) -> int:
    return sum(isinstance(event, e.CommandRan) and event.role == "setup" for event in events)


def made(events: tuple[e.Event, ...]) -> list[e.LayerMade]:
    return [event for event in events if isinstance(event, e.LayerMade)]


def used(events: tuple[e.Event, ...]) -> list[e.LayerUsed]:
    return [event for event in events if isinstance(event, e.LayerUsed)]


def changed(site: Worksite) -> set[str]:
    """What the newest run's commit changes against the main branch."""
    return set(site.git("diff", "--name-only", "main", site.views()[0].commit).split())


def test_a_second_run_uses_what_the_first_one_set_up(place: Worksite) -> None:
    first = carried(place, TICKET)
    assert setups(first) == 1
    [layer] = made(first)
    assert (layer.scope, layer.why, layer.left_out) == ("repository", "there was none", 0)
    assert changed(place) == {"value.txt"}, "what set-up changed and made is in no patch"
    second = carried(place, "T-2")
    assert (setups(second), made(second)) == (0, [])
    [again] = used(second)
    assert (again.layer, again.content, again.files) == (layer.layer, layer.content, layer.files)
    assert again.made_from == layer.made_from


def test_a_patch_that_changes_an_input_is_validated_on_a_layer_of_its_own(place: Worksite) -> None:
    place.story("echo two > lock.txt; echo 2 > value.txt")
    events = carried(place, TICKET)
    base, patch = made(events)
    assert (base.scope, patch.scope, patch.why) == ("repository", "run", "the patch changes what set-up is made from")
    assert base.layer != patch.layer
    assert setups(events) == 2
    outputs = [event.output for event in events if isinstance(event, e.CheckEnded) and event.side == "patch"]
    assert outputs
    # Nothing that the patch made is kept: the same change in a later run is set up again.
    kept = [path.name for path in (place.state / "layers").rglob("layer.json")]
    assert len(kept) == 1
    assert list((place.state / "runs").iterdir()) == []
    place.story("echo two > lock.txt; echo 2 > value.txt")
    later = carried(place, "T-2")
    assert [event.scope for event in made(later)] == ["run"]
    assert [event.layer for event in used(later)] == [base.layer]


def test_without_declared_inputs_any_change_of_the_tree_is_one(place: Worksite) -> None:
    declare(place, **{f"{COMMANDS}.setup_inputs": []})
    first = carried(place, TICKET)
    assert [event.scope for event in made(first)] == ["repository", "run"]
    second = carried(place, "T-2")
    assert len(used(second)) == 1
    assert [event.scope for event in made(second)] == ["run"]


@pytest.mark.parametrize("key", ["setup", "environment", "network.setup", "path"])
def test_other_commands_tools_or_ways_out_are_another_layer(place: Worksite, key: str) -> None:
    first = carried(place, TICKET)
    rule = {"host": "packages.example.internal", "purpose": "registry"}
    value: object = {
        "setup": [["sh", "-c", f"{SETUP}; true"]], "environment": {"FLAVOUR": "other"}, "network.setup": [rule],
        "path": ["/usr/bin", "/usr/sbin"],
    }[key]  # fmt: skip
    declare(place, **{key if "." in key else f"{COMMANDS}.{key}": value})
    second = carried(place, "T-2")
    assert used(second) == []
    assert made(second)[0].layer != made(first)[0].layer


def test_a_tracked_file_comes_from_the_commit_whatever_the_layer_has(place: Worksite) -> None:
    first = carried(place, TICKET)
    advance(place, {"loose.txt": "tracked now\n", "value.txt": "1\n"})
    place.story("grep -qx 'tracked now' loose.txt && echo 2 > value.txt")
    second = carried(place, "T-2")
    assert [event.layer for event in used(second)] == [made(first)[0].layer], "its inputs are the same"
    assert changed(place) == {"value.txt"}


def test_a_layer_that_is_too_old_is_made_again(place: Worksite) -> None:
    [first] = made(carried(place, TICKET))
    [about] = (place.state / "layers").rglob("layer.json")
    said = json.loads(about.read_text())
    about.write_text(json.dumps({**said, "made": said["made"] - 8 * 86400}))
    [second] = made(carried(place, "T-2"))
    assert second.layer == first.layer
    assert second.content != first.content, "set-up wrote the time"


def test_a_layer_that_is_too_large_stops_the_run(place: Worksite) -> None:
    large = f"{SETUP}; head -c 2000000 /dev/zero > .deps/large"
    declare(place, **{f"{COMMANDS}.setup": [["sh", "-c", large]], "limits.layer": {"size": "1MiB"}})
    assert place.ringfence("run", TICKET).returncode != 0
    assert place.views()[0].reason == "layer_too_large"
    assert list((place.state / "layers").rglob("*.json")) == []


def test_a_layer_that_was_changed_is_made_again_and_the_log_says_why(place: Worksite) -> None:
    [first] = made(carried(place, TICKET))
    [tool] = (place.state / "layers").rglob("tool")
    with tool.open("a") as handle:
        handle.write("echo poisoned\n")
    [second] = made(carried(place, "T-2"))
    assert second.why == "the kept one was changed at b'.deps/bin/tool'"
    assert second.layer == first.layer


def advance(site: Worksite, files: dict[str, str]) -> None:
    """A further commit on the main branch, by somebody else."""
    tree = site.root / "advance"
    run_git(site.root, "clone", "-q", str(site.host), str(tree))
    for path, text in files.items():
        (tree / path).write_text(text)
    run_git(tree, "add", "-A", "-f")
    run_git(tree, "commit", "-q", "-m", "Advance")
    site.git("fetch", "-q", str(tree), "+HEAD:refs/heads/main")  # the host's own rules let nobody push there
