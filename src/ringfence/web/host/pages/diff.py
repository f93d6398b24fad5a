"""A unified diff as values for a page: files, hunks, lines with numbers, and what of a line really changed.

It is cut where a page would become unreadable, and says so; nothing is left out without a note.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from ringfence.web.host.git.repository import Bare, ChangedFile

PATCH_BYTES = 4 << 20
FILE_LINES, PAGE_LINES, LINE_CHARS = 700, 4000, 800
_HUNK = re.compile(rb"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `parts`: its text before, in and after what changed against its partner."""

    kind: str  # "same", "add", "del", "hunk" or "note"
    old: int | None
    new: int | None
    parts: tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What a page shows of one file. `note` says what is not shown, and why."""

    file: ChangedFile
    lines: tuple[Line, ...] = field(default=())
    note: str = ""

    @property
    def mode_note(self) -> str:
        """A change of mode, which no line shows."""
        before, after = self.file.old_mode, self.file.new_mode
        links = {"120000": "symbolic link", "160000": "submodule", "100755": "executable"}
        if self.file.status == "A":
            return links.get(after, "")
        return "" if before == after or self.file.status == "D" else f"mode {before} → {after}"


@dataclass(frozen=True, slots=True)
class PageDiff:
    """All files, and whether everything is shown."""

    files: tuple[FileDiff, ...]
    whole: bool

    @property
    def added(self) -> int:
        """Lines added, in all files."""
        return sum(each.file.added or 0 for each in self.files)

    @property
    def removed(self) -> int:
        """Lines removed, in all files."""
        return sum(each.file.removed or 0 for each in self.files)


def read_diff(bare: Bare, base: str, head: str) -> PageDiff:
    """The diff between two commits, for one page."""
    text, complete = bare.patch(base, head, PATCH_BYTES)
    sections = _sections(text)
    left, files = PAGE_LINES, []
    for changed in bare.changed_files(base, head):
        # Where a file became a link, git writes a removal and an addition.
        own = [next(sections, None) for _ in range(2 if changed.status == "T" else 1)]
        if None in own:
            files.append(FileDiff(changed, note="not shown: the page is full"))
            continue
        shown = _file(changed, [section for section in own if section is not None], left)
        left -= len(shown.lines)
        files.append(shown)
    whole = complete and not any(each.note.startswith("not shown") for each in files)
    return PageDiff(tuple(files), whole)


def _sections(text: bytes) -> Iterator[list[bytes]]:
    """The diff of each file; inside of one, no line begins with `diff --git`."""
    current: list[bytes] = []
    for line in text.split(b"\n"):
        if line.startswith(b"diff --git "):
            if current:
                yield current
            current = [line]
        elif current:
            current.append(line)
    if current:
        yield current


def _file(changed: ChangedFile, sections: Sequence[list[bytes]], left: int) -> FileDiff:
    if changed.added is None:
        return FileDiff(changed, note="binary content")
    lines: list[Line] = []
    for section in sections:
        lines += _lines(section)
    limit = min(FILE_LINES, left)
    if len(lines) > limit:
        note = f"not shown: {len(lines) - max(limit, 0)} more lines"
        return FileDiff(changed, tuple(_paired(lines[: max(limit, 0)])), note)
    return FileDiff(
        changed, tuple(_paired(lines)), "" if lines else "moved as it is" if changed.before else "no line changed"
    )


def _lines(section: list[bytes]) -> Iterator[Line]:
    old = new = 0
    inside = False
    for raw in section:
        hunk = _HUNK.match(raw)
        if hunk and not raw.startswith((b"+", b"-", b" ")):
            old, new, inside = int(hunk[1]), int(hunk[2]), True
            yield Line("hunk", None, None, (_text(raw), "", ""))
        elif not inside or not raw:
            continue
        elif raw.startswith(b"+"):
            yield Line("add", None, new, (_text(raw[1:]), "", ""))
            new += 1
        elif raw.startswith(b"-"):
            yield Line("del", old, None, (_text(raw[1:]), "", ""))
            old += 1
        elif raw.startswith(b"\\"):
            yield Line("note", None, None, (_text(raw[2:]), "", ""))
        else:
            yield Line("same", old, new, (_text(raw[1:]), "", ""))
            old, new = old + 1, new + 1


def _text(raw: bytes) -> str:
    text = raw.decode("utf-8", "backslashreplace")
    return text if len(text) <= LINE_CHARS else f"{text[:LINE_CHARS]} … ({len(text) - LINE_CHARS} more characters)"


def _paired(lines: list[Line]) -> Iterator[Line]:
    """Mark what changed inside of lines where as many were removed as were added in their place."""
    at = 0
    while at < len(lines):
        gone = list(takewhile(lambda line: line.kind == "del", lines[at:]))
        come = list(takewhile(lambda line: line.kind == "add", lines[at + len(gone) :]))
        if gone and len(gone) == len(come):
            pairs = [_marked(one, other) for one, other in zip(gone, come, strict=True)]
            yield from (pair[0] for pair in pairs)
            yield from (pair[1] for pair in pairs)
        else:
            yield from gone
            yield from come
        at += len(gone) + len(come)
        if not gone and not come:
            yield lines[at]
            at += 1


def _marked(one: Line, other: Line) -> tuple[Line, Line]:
    a, b = one.parts[0], other.parts[0]
    shorter = min(len(a), len(b))
    start = next((at for at in range(shorter) if a[at] != b[at]), shorter)
    end = next((at for at in range(shorter - start) if a[-1 - at] != b[-1 - at]), shorter - start)
    if start + end < max(len(a), len(b)) * 0.3:  # two different lines: marking most of them says nothing
        return one, other
    cut_a, cut_b = len(a) - end, len(b) - end
    return (
        replace(one, parts=(a[:start], a[start:cut_a], a[cut_a:])),
        replace(other, parts=(b[:start], b[start:cut_b], b[cut_b:])),
    )
