"""Group C: a patch that changes what set-up is made from cannot give its result to anything but its own validation."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hosting import run_git
from ringfence.domain import events as e
from worksite import FILES, REPOSITORY, TICKET, Worksite, worksite

COMMANDS = f"commands.repositories.{REPOSITORY}"
HONEST = "mkdir -p .deps && echo 'echo honest' > .deps/tool\n"
POISON = "printf \"mkdir -p .deps; echo 'echo poisoned' > .deps/tool\" > setup.sh; "


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Worksite]:
    files = {**FILES, "lock.txt": "one\n", "setup.sh": HONEST, ".gitignore": ".deps/\n"}
    with worksite(tmp_path / "site", files) as site:
        check = {"name": "test", "kind": "test", "run": ["sh", "-c", "sh .deps/tool; sh check.sh"], "timeout": "60s"}
        site.boundary({
            f"{COMMANDS}.setup": [["sh", "setup.sh"]], f"{COMMANDS}.setup_inputs": ["lock.txt"],
            f"{COMMANDS}.checks": [check],
        })  # fmt: skip
        yield site


def carried(site: Worksite, ticket: str) -> tuple[e.Event, ...]:
    site.ticket(ticket)
    done = site.ringfence("run", ticket)
    assert done.returncode == 0, done.stdout + done.stderr
    return site.events(f"{ticket}-r1")


def said(site: Worksite, events: tuple[e.Event, ...]) -> list[tuple[str, str]]:
    """What the tool that set-up leaves said in each check, by the side."""
    from ringfence.wiring import reading

    with reading(site.settings) as look:
        return [
            (one.side, look.artifacts.get(one.output).split()[0].decode())
            for one in events
            if isinstance(one, e.CheckEnded)
        ]


def made(events: tuple[e.Event, ...]) -> list[e.LayerMade]:
    return [event for event in events if isinstance(event, e.LayerMade)]


def advanced(site: Worksite, lock: str) -> None:
    """Somebody else changes the lock file on the main branch."""
    tree = site.root / "advance"
    run_git(site.root, "clone", "-q", str(site.host), str(tree))
    (tree / "lock.txt").write_text(lock)
    run_git(tree, "commit", "-q", "-a", "-m", "Advance")
    site.git("fetch", "-q", str(tree), "+HEAD:refs/heads/main")


def test_c43_a_poisoned_set_up_is_served_to_nobody_else(place: Worksite) -> None:
    """The patch's key is later that of an honest base commit: its layer is still made from that commit."""
    place.story(POISON + "echo two > lock.txt; echo 2 > value.txt")
    first = carried(place, TICKET)
    assert said(place, first) == [("base", "honest"), ("patch", "poisoned")], "it judges the patch itself"
    base, patch = made(first)
    assert (base.scope, patch.scope) == ("repository", "run")
    advanced(place, "two\n")
    place.story("echo 2 > value.txt")
    second = carried(place, "T-2")
    [layer] = made(second)
    assert layer.layer == patch.layer, "the same key, for what is declared is the same"
    assert layer.content != patch.content
    assert said(place, second) == [("base", "honest"), ("patch", "honest")]


def test_c43_a_repair_that_takes_the_change_back_gets_the_base_s_layer(place: Worksite) -> None:
    """Within a run, what the first attempt's set-up left serves only a tree with the first attempt's inputs."""
    place.story(POISON + "echo two > lock.txt; echo 3 > value.txt", "git checkout -q HEAD~1 -- lock.txt || echo one > "
                "lock.txt; echo 2 > value.txt")  # fmt: skip
    events = carried(place, TICKET)
    assert said(place, events) == [("base", "honest"), ("patch", "poisoned"), ("patch", "honest")]
    assert [event.scope for event in made(events)] == ["repository", "run"]


def test_c43_a_patch_of_the_commands_alone_is_not_run_as_set_up(place: Worksite) -> None:
    """What is not declared as an input is not read from a patch either: its checks see the base's result."""
    place.story(POISON + "echo 2 > value.txt")
    events = carried(place, TICKET)
    assert said(place, events) == [("base", "honest"), ("patch", "honest")]
    assert len(made(events)) == 1
