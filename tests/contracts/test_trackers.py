"""What every tracker does, run against the folder of Markdown files."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.adapters.trackers.folder import FolderTracker, parse_ticket
from ringfence.domain.errors import InputError
from ringfence.domain.ticket import Ticket
from ringfence.ports.tracker import Tracker

GOOD = """---
id: INV-7
title: "Reorder: too few cases"
type: bug
repository: demo/inventory
requester: dana
approved_by: [kim, "release[bot]"]
stage: branch
---

Two lines
of text.
"""
TICKET = Ticket(
    id="INV-7",
    title="Reorder: too few cases",
    body="Two lines\nof text.",
    type="bug",
    repository="demo/inventory",
    requester="dana",
    approved_by=("kim", "release[bot]"),
    stage="branch",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tickets"
    folder.mkdir()
    (folder / "seven.md").write_text(GOOD)
    return folder


def problem(folder: Path, name: str, content: bytes) -> InputError:
    """The one complaint about a file beside the good one."""
    (folder / name).write_bytes(content)
    seen: list[InputError] = []
    assert FolderTracker(folder, unreadable=seen.append).approved() == (TICKET,)
    assert len(seen) == 1
    assert seen[0].where.startswith(f"{folder / name}:")
    assert seen[0].mend
    return seen[0]


def test_a_ticket_is_read_as_it_stands(folder: Path) -> None:
    tracker: Tracker = FolderTracker(folder)
    assert tracker.ticket("INV-7") == TICKET
    assert tracker.approved() == (TICKET,)


def test_a_ticket_edited_after_it_was_read_has_another_digest(folder: Path) -> None:
    tracker = FolderTracker(folder)
    before = tracker.ticket("INV-7")
    (folder / "seven.md").write_text(GOOD.replace("Two", "Ten"))
    after = tracker.ticket("INV-7")
    assert after == replace(before, body="Ten lines\nof text.")
    assert after.digest != before.digest


def test_tickets_come_in_the_order_of_their_ids(folder: Path) -> None:
    for number in (9, 3, 10):
        (folder / f"{99 - number}.md").write_text(GOOD.replace("INV-7", f"INV-{number}"))
    (folder / "notes.txt").write_text("not a ticket")
    assert [ticket.id for ticket in FolderTracker(folder).approved()] == ["INV-10", "INV-3", "INV-7", "INV-9"]


def test_reading_changes_nothing_in_the_folder(folder: Path) -> None:
    before = [(path.name, path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()]
    FolderTracker(folder).approved()
    assert [(path.name, path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()] == before


def test_an_unknown_id_is_an_input_error_with_the_folder(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        FolderTracker(folder).ticket("INV-8")
    assert str(folder) in caught.value.where
    assert caught.value.mend


def test_of_two_tickets_with_one_id_neither_is_taken(folder: Path) -> None:
    (folder / "again.md").write_text(GOOD)
    seen: list[InputError] = []
    tracker = FolderTracker(folder, unreadable=seen.append)
    assert tracker.approved() == ()
    assert len(seen) == 1 and "again.md" in seen[0].where and "seven.md" in seen[0].where
    with pytest.raises(InputError, match="several files"):
        tracker.ticket("INV-7")


def test_a_missing_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        FolderTracker(tmp_path / "nowhere").approved()
    assert "nowhere" in caught.value.where


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("id: INV-7", "id: ../etc", 2, "id"),
        ("id: INV-7", "id: 7", 2, "id"),
        ("id: INV-7", 'id: "INV-7\\n"', 2, "id"),
        ("type: bug", "type: [bug]", 4, "type"),
        ("type: bug", "type: ''", 4, "type"),
        ("type: bug", "sort: bug", 4, "sort"),
        ("requester: dana", "requester: !!python/name:os.system x", 6, "requester"),
        ("approved_by: [kim, ", "approved_by: [[kim], ", 7, "approved_by"),
        ("stage: branch", "stage: merge", 8, "stage"),
        ("stage: branch", "type: feature", 8, "duplicate key"),
        ("stage: branch", "stage: [", 8, "no YAML"),
        ("stage: branch", "title: |\n  two\n  lines", 8, "duplicate key"),
        ("requester: dana\n", "", 2, "requester"),
        ('title: "Reorder: too few cases"', 'title: "' + "x" * 301 + '"', 3, "title"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(folder: Path, old: str, new: str, line: int, said: str) -> None:
    assert old in GOOD
    found = problem(folder, "wrong.md", GOOD.replace(old, new).encode())
    assert said in found.what
    assert found.where == f"{folder / 'wrong.md'}:{line}"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"no front matter", 1),
        (b"", 1),
        (b"---\nid: INV-7\n", 1),
        (b"---\n- id\n---\n", 2),
        (GOOD.encode() + b"\xff", 13),
        (GOOD.encode() + b"a\0b", 13),
        (GOOD.encode() + b"x" * 70_000, 1),
        (b"---\n" + b"[" * 5_000 + b"\n---\n", 1),
        (b"---\n%YAML 1.0\n---\n", 1),
    ],
    ids=["plain", "empty", "unclosed", "list", "latin", "nul", "long", "deep", "old"],
)
def test_a_file_that_is_no_ticket_is_reported_and_the_others_are_read(folder: Path, content: bytes, line: int) -> None:
    assert problem(folder, "wrong.md", content).where == f"{folder / 'wrong.md'}:{line}"


def test_links_and_pipes_are_not_read(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "secret.md"
    target.write_text(GOOD.replace("INV-7", "INV-8"))
    (folder / "link.md").symlink_to(target)
    os.mkfifo(folder / "pipe.md")
    (folder / "directory.md").mkdir()
    seen: list[InputError] = []
    assert FolderTracker(folder, unreadable=seen.append).approved() == (TICKET,)
    assert [Path(found.where).name for found in seen] == ["directory.md:1", "link.md:1", "pipe.md:1"]


def test_names_of_apps_are_passed_on_as_they_are() -> None:
    ticket = parse_ticket(GOOD.replace("requester: dana", 'requester: "dependabot[bot]"'), "t.md")
    assert ticket.requester == "dependabot[bot]"
    assert ticket.approved_by == ("kim", "release[bot]")


def test_windows_line_ends_and_a_byte_order_mark_make_no_difference() -> None:
    assert parse_ticket("\ufeff" + GOOD.replace("\n", "\r\n"), "t.md") == TICKET
