"""What an agent would obey is not in its tree, is not lost, and is in the patch when the agent writes it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gitsite import RUN, GitSite, ShellAgent, git_site
from ringfence.domain.errors import EvidenceBroken, RunStopped
from ringfence.pipeline.hidden import MOST_NAMED, Hidden, told
from ringfence.pipeline.steering import Steering

FILES = {
    "value.txt": "1\n",
    ".opencode/plugin/x.js": "run()\n",
    "deep/.opencode/x.js": "run()\n",
    ".env": "A=1\n",
    "deep/.env": "A=2\n",
    "odd name/.mcp.json": "{}\n",
}
HIDDEN = (".opencode", "/.env", ".mcp.json")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GitSite]:
    with git_site(tmp_path / "site", FILES) as made:
        yield made


def files(top: Path) -> list[str]:
    found = (path.relative_to(top) for path in top.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.parts[0] != ".git")


def test_what_is_hidden_is_not_in_the_tree_and_not_in_the_patch(site: GitSite) -> None:
    room = site.rooms.hide(site.rooms.make("agent-1", site.source), HIDDEN)
    assert files(room.path) == ["deep/.env", "value.txt"]
    site.inside(room, 'test -z "$(git status --porcelain)" && echo 2 > value.txt')
    assert list(site.collect(room)) == ["value.txt"]


def test_what_is_hidden_is_named_and_counted(site: GitSite) -> None:
    room = site.rooms.make("agent-1", site.source)
    site.inside(room, "mkdir -p 'new line\n/.opencode'; touch 'new line\n/.opencode/made'")
    taken = site.rooms.hide(room, HIDDEN).taken
    assert set(taken.files) == {".opencode/plugin/x.js", "deep/.opencode/x.js", ".env", "odd name/.mcp.json"}
    assert (taken.count, taken.made_count) == (4, 1)
    assert taken.made == ("new line\n/.opencode/made",)
    assert site.rooms.hide(site.rooms.make("agent-2", site.source), (".cursor",)).taken == Hidden()


def test_many_hidden_files_are_counted_and_the_first_named(tmp_path: Path) -> None:
    many = {f".claude/commands/{number:03}.md": "do it\n" for number in range(120)}
    with git_site(tmp_path / "many", {"value.txt": "1\n", **many}) as site:
        taken = site.rooms.hide(site.rooms.make("agent-1", site.source), (".claude",)).taken
    assert (len(taken.files), taken.count) == (MOST_NAMED, 120)


def test_a_list_that_is_not_there_is_an_error() -> None:
    for output in (b"", b"warning: 3\n", b"hidden files\0", b"hidden files\x000\n\0x\n\0"):
        with pytest.raises(RunStopped, match="nothing says"):
            told(output)
    one = told(b"warning\nhidden files\x002\n.claude/hidden files\x00.env\x00\x000\n\0")
    assert one.files == (".claude/hidden files", ".env"), "a name cannot pass for the head of the list"
    assert told(b"warning\nhidden files\x000\n\x000\n\0") == Hidden()


def test_what_the_agent_writes_in_a_hidden_place_is_in_the_patch(site: GitSite) -> None:
    room = site.rooms.hide(site.rooms.make("agent-1", site.source), HIDDEN)
    site.inside(
        room, "mkdir -p .opencode/plugin; cd .opencode; echo other > plugin/x.js; echo new > y.js; echo B > ../.env"
    )
    found = site.collect(room)
    assert {path: site.content(change) for path, change in found.items()} == {
        ".opencode/plugin/x.js": b"other\n",
        ".opencode/y.js": b"new\n",
        ".env": b"B\n",
    }


def test_a_hidden_file_that_comes_back_as_it_was_is_no_change(site: GitSite) -> None:
    room = site.rooms.hide(site.rooms.make("agent-1", site.source), HIDDEN)
    site.inside(room, "git show HEAD:.env > .env; echo 2 > value.txt")
    assert list(site.collect(room)) == ["value.txt"]


def test_what_set_up_made_in_a_hidden_place_is_taken_away_too(site: GitSite) -> None:
    room = site.rooms.make("agent-1", site.source)
    site.inside(
        room,
        "echo made > .opencode/plugin/made.js; ln -s deep .claude; mkdir -p new/.opencode; echo x > new/.opencode/y",
    )
    room = site.rooms.hide(room, (*HIDDEN, ".claude"))
    assert files(room.path) == ["deep/.env", "value.txt"]
    assert not (room.path / ".claude").is_symlink()


def test_a_link_or_a_file_in_place_of_a_hidden_folder_is_in_the_patch(site: GitSite) -> None:
    room = site.rooms.hide(site.rooms.make("agent-1", site.source), HIDDEN)
    site.inside(room, "ln -s deep .opencode")
    assert ".opencode" in site.collect(room)


class Obeying(ShellAgent):
    """An agent that would obey files of a repository."""

    hidden = HIDDEN


def steering(site: GitSite, script: str = "") -> Steering:
    return Steering(RUN, 2, Obeying(script), ("RULES.md",), site.intake, site.objects, site.log)


def test_a_hidden_file_that_differs_and_is_no_part_of_the_patch_is_an_error(site: GitSite) -> None:
    taken = site.rooms.hide(site.rooms.make("agent-1", site.source), HIDDEN).taken
    patch = site.attempt("echo B > .env; echo 2 > value.txt; echo C > RULES.md")
    changes = site.objects.changes(site.intake, site.base, patch.tree)
    steering(site).recheck(site.base, patch.tree, changes, taken)
    (event,) = [one.event for one in site.log.records(RUN) if one.event["kind"] == "configuration.rechecked"][-1:]
    assert (event["compared"], event["unchanged"], event["changed"]) == (4, 3, [".env", "RULES.md"])
    shown = tuple(change for change in changes if change.path != ".env")
    with pytest.raises(EvidenceBroken, match="differs, but is no part of the patch"):
        steering(site).recheck(site.base, patch.tree, shown, taken)


def test_nothing_is_said_to_be_hidden_from_an_agent_that_obeys_no_files(site: GitSite) -> None:
    site.attempt("echo 2 > value.txt")
    kinds = [record.event["kind"] for record in site.log.records(RUN)]
    assert "configuration.hidden" not in kinds
    assert kinds.count("configuration.rechecked") == 1
