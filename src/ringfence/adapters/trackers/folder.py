"""A folder of Markdown files as a tracker: front matter says what a ticket is, the rest is its body.

To put a file into the folder is to hand the ticket to a worker; whether it is approved by someone who
may do so is decided by admission, not here, and names are passed on as they are written. Nothing is
ever changed in the folder. Files come from people, so each is read as hostile: a regular file of a
bounded size, UTF-8, plain values only; links, pipes and unknown keys are errors with file, line and mend.
"""

import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from ringfence.domain.errors import InputError
from ringfence.domain.ticket import TICKET_ID, Ticket

_FILE_BYTES = 64 * 1024
_FILES = 5_000
_TITLE = 300
_REQUIRED = ("id", "title", "type", "repository", "requester")
_OPTIONAL = ("approved_by", "stage")
_STAGES = ("observe", "branch", "pull_request")
_SHAPE = "start the file with a line ---, then id, title, type, repository and requester, then a line ---"

_log = logging.getLogger(__name__)


def _warn(problem: InputError) -> None:
    _log.warning("ticket.unreadable: %s (%s)", problem.what, problem.where)


class FolderTracker:
    """Reads `*.md` of one folder. `unreadable` is told of every file that cannot become a ticket."""

    def __init__(self, path: Path, *, unreadable: Callable[[InputError], None] = _warn) -> None:
        self._path = path
        self._unreadable = unreadable

    def ticket(self, ticket_id: str) -> Ticket:
        """A fresh snapshot of the one ticket with this id."""
        problems: list[InputError] = []
        found = [(name, ticket) for name, ticket in self._read_all(problems.append) if ticket.id == ticket_id]
        if len(found) == 1:
            return found[0][1]
        if found:
            raise self._twice(ticket_id, [name for name, _ in found])
        unread = "; these could not be read: " + ", ".join(p.where for p in problems[:5]) if problems else ""
        raise InputError(
            f"there is no ticket {ticket_id[:80]!r}",
            where=f"{self._path}{unread}",
            mend="write the id as it stands in the front matter of a file *.md in this folder",
        )

    def approved(self) -> Sequence[Ticket]:
        """All readable tickets by id; of two files with the same id neither is taken."""
        by_id: dict[str, list[tuple[str, Ticket]]] = {}
        for name, ticket in self._read_all(self._unreadable):
            by_id.setdefault(ticket.id, []).append((name, ticket))
        tickets = []
        for ticket_id, found in sorted(by_id.items()):
            if len(found) > 1:
                self._unreadable(self._twice(ticket_id, [name for name, _ in found]))
            else:
                tickets.append(found[0][1])
        return tuple(tickets)

    def _twice(self, ticket_id: str, names: list[str]) -> InputError:
        places = ", ".join(str(self._path / name) for name in names)
        return InputError(
            f"the id {ticket_id} stands in several files", where=places, mend="give each ticket an id of its own"
        )

    def _read_all(self, unreadable: Callable[[InputError], None]) -> Iterator[tuple[str, Ticket]]:
        try:
            names = sorted(path.name for path in self._path.iterdir() if path.name.endswith(".md"))
        except OSError as error:
            raise InputError(
                "the ticket folder cannot be read",
                where=f"{self._path}: {error.strerror}",
                mend="name a readable folder of Markdown files",
            ) from error
        if len(names) > _FILES:
            raise InputError(
                f"the ticket folder holds {len(names)} tickets, more than {_FILES}",
                where=str(self._path),
                mend="move finished tickets elsewhere",
            )
        for name in names:
            try:
                yield name, parse_ticket(_read(self._path / name), str(self._path / name))
            except InputError as problem:
                unreadable(problem)


def parse_ticket(text: str, where: str) -> Ticket:
    """One file as a ticket. Errors: `InputError` with `file:line`."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if lines[0].rstrip() != "---" or end is None:
        raise InputError("the ticket has no front matter", where=f"{where}:1", mend=_SHAPE)
    values = _front_matter("\n".join(lines[1:end]), where)
    texts = {key: _text(values, key, where) for key in _REQUIRED}
    if TICKET_ID.match(texts["id"]) is None:
        raise _wrong(values, "id", where, "use at most 64 letters, digits, - and _, starting with a letter or digit")
    if len(texts["title"]) > _TITLE:
        raise _wrong(values, "title", where, f"use at most {_TITLE} characters")
    stage = _text(values, "stage", where) if "stage" in values else None
    if stage is not None and stage not in _STAGES:
        raise _wrong(values, "stage", where, f"write one of {', '.join(_STAGES)}, or leave it out")
    body = "\n".join(lines[end + 1 :]).strip("\n")
    return Ticket(body=body, approved_by=_names(values, "approved_by", where), stage=stage, **texts)


def _read(path: Path) -> str:
    """The text of a regular file that is no link, bounded before it is read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            raw = file.read(_FILE_BYTES + 1) if regular else b""
    except OSError as error:
        raise InputError(
            f"the ticket cannot be read: {error.strerror}", where=f"{path}:1", mend="use a regular file, not a link"
        ) from error
    if not regular:
        raise InputError("the ticket is no regular file", where=f"{path}:1", mend="use a regular file")
    if len(raw) > _FILE_BYTES:
        raise InputError("the ticket is too long", where=f"{path}:1", mend=f"keep it below {_FILE_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError("the ticket is not UTF-8", where=f"{path}:{line}", mend="save the file as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError("the ticket holds a NUL character", where=f"{path}:{line}", mend="remove it")
    return text


def _front_matter(text: str, where: str) -> CommentedMap:
    """The mapping between the two lines; its line numbers are one less than the file's."""
    reader = YAML(typ="rt", pure=True)
    try:
        values = reader.load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 1
        raise InputError(
            f"the front matter is no YAML: {error.problem}", where=f"{where}:{line}", mend=_SHAPE
        ) from error
    except (YAMLError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"the front matter is no YAML: {error}", where=f"{where}:1", mend=_SHAPE) from error
    if not isinstance(values, CommentedMap):
        raise InputError("the front matter is no mapping", where=f"{where}:2", mend=_SHAPE)
    for key in values:
        if key not in (*_REQUIRED, *_OPTIONAL):
            raise _wrong(values, key, where, f"the keys are {', '.join((*_REQUIRED, *_OPTIONAL))}")
    return values


def _text(values: CommentedMap, key: str, where: str) -> str:
    if key not in values:
        raise InputError(
            f"the ticket has no {key}", where=f"{where}:2", mend=f"add a line `{key}: …` to the front matter"
        )
    value = values[key]
    if not isinstance(value, str) or not value.strip() or "\n" in value:
        raise _wrong(values, key, where, f'write one line of text, in quotes when it looks like a number: {key}: "…"')
    return str(value)  # ruamel's own kinds of string end here


def _names(values: CommentedMap, key: str, where: str) -> tuple[str, ...]:
    value: Any = values.get(key, [])
    if not isinstance(value, list) or not all(
        type(name) is str and name.strip() and "\n" not in name for name in value
    ):
        raise _wrong(values, key, where, f"write a list of names: {key}: [dana]")
    return tuple(str(name) for name in value)


def _wrong(values: CommentedMap, key: object, where: str, mend: str) -> InputError:
    line = values.lc.key(key)[0] + 2
    return InputError(f"the ticket's {str(key)[:80]!r} is not usable", where=f"{where}:{line}", mend=mend)
