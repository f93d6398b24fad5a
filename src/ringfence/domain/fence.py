"""Fences around quoted text, and the uncovering of what a text hides from the people who approved it.

Invisible characters become visible notes, and constructs that a rendered page does not show are named.
Nothing here judges whether a text is an attack: no filter can. A fence only keeps clear who speaks.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

_FORMAT = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
#: Letters and marks by category that draw nothing: fillers, the blank Braille cell, inherent vowels, joiners.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_KINDS = (
    ("tag characters", ((0xE0000, 0xE007F),)),
    ("variation selectors", ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF))),
    ("bidirectional controls", ((0x061C, 0x061C), (0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069))),
    ("zero-width characters", ((0x180E, 0x180E), (0x200B, 0x200D), (0x2060, 0x2064), (0xFEFF, 0xFEFF))),
    ("soft hyphens", ((0xAD, 0xAD),)),
    ("invisible or control characters", ((0, 0x10FFFF),)),
)
#: What Markdown and HTML carry that a rendered page does not show as text. Every pattern is linear.
_UNSEEN = (
    ("HTML comments", re.compile(r"<!--")),
    ("image descriptions", re.compile(r"!\[|\balt\s{0,9}=", re.IGNORECASE)),
    ("link titles", re.compile(r"\]\([^()\n]{0,200}[\"']|\btitle\s{0,9}=", re.IGNORECASE)),
    ("data or aria attributes", re.compile(r"\b(?:data|aria)-[\w-]{1,40}\s{0,9}=", re.IGNORECASE)),
    ("link definitions", re.compile(r"^ {0,3}\[[^\]\n]{1,200}\]:", re.MULTILINE)),
    ("folded or hidden elements", re.compile(r"<(?:details|template)\b|\bhidden\s{0,9}[=>]|display:", re.IGNORECASE)),
)


@dataclass(frozen=True, slots=True)
class Revealed:
    """A text in which nothing is invisible, and what had to be uncovered, in words."""

    text: str
    hidden: tuple[str, ...]


def reveal(text: str) -> Revealed:
    """Make every invisible character visible as `[U+200B]`, a run of them as one note."""
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.isprintable():
        return Revealed(text, ())
    pieces: list[str] = []
    found: Counter[str] = Counter()
    for is_hidden, run in groupby(text, _is_hidden):
        characters = list(run)
        if not is_hidden:
            pieces.append("".join(characters))
            continue
        found.update(_kind(character) for character in characters)
        pieces.append(_note(characters))
    return Revealed("".join(pieces), tuple(f"{name} ({found[name]})" for name, _ in _KINDS if found[name]))


def unseen(text: str) -> tuple[str, ...]:
    """What a rendered page of this Markdown would not show to a reader, in words."""
    counts = ((name, sum(1 for _ in pattern.finditer(text))) for name, pattern in _UNSEEN)
    return tuple(f"{name} ({count})" for name, count in counts if count)


def one_line(text: str, limit: int = 200) -> str:
    """A text that cannot end its line: for titles, paths and sources that stand outside a fence."""
    line = " ".join(reveal(text).text.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def marker(texts: Iterable[str]) -> str:
    """A word that none of the texts holds, made from all of them: no text can be written to close its fence."""
    whole = "\0".join(texts)
    haystack = whole.casefold()
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
    while (word := f"quoted-{digest[:16]}") in haystack:
        digest = hashlib.sha256(digest.encode()).hexdigest()
    return word


def fence(text: str, word: str) -> str:
    """The text between two lines that carry the marker."""
    return f"<{word}>\n{text.rstrip()}\n</{word}>"


def _is_hidden(character: str) -> bool:
    if character in "\n\t":
        return False
    if " " <= character <= "~":
        return False
    point = ord(character)
    selector = 0xFE00 <= point <= 0xFE0F or 0xE0100 <= point <= 0xE01EF
    return selector or character in _BLANK or unicodedata.category(character) in _FORMAT


def _kind(character: str) -> str:
    point = ord(character)
    return next(name for name, ranges in _KINDS if any(low <= point <= high for low, high in ranges))


def _note(run: list[str]) -> str:
    points = sorted({ord(character) for character in run})
    if len(points) > 3:
        return f"[{len(run)} invisible characters, U+{points[0]:04X} to U+{points[-1]:04X}]"
    times = f" x{len(run)}" if len(run) > len(points) else ""
    return "[" + " ".join(f"U+{point:04X}" for point in points) + times + "]"
