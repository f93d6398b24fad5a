"""Paths of web requests: which of them a pattern of the boundary covers, and which are not even looked at.

Pure. A path that a proxy and a server could read differently is refused instead of guessed at: dot segments,
backslashes, empty segments, escapes of escapes, and escapes of dots. An escaped slash has two readings (npm writes
`/@scope%2fname`), so both must be covered.
"""

import re
from collections.abc import Sequence
from string import ascii_letters, digits

from ringfence.domain.globs import fault, matches_exactly

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(ascii_letters + digits + "-_~")
#: What is never an honest spelling: controls, the percent sign itself, the dot, the backslash.
_NEVER = frozenset((*range(0x20), 0x25, 0x2E, 0x5C, 0x7F))
#: A dot segment, also with parameters behind it, which some servers drop.
_DOTS = re.compile(r"\.{1,2}(;.*)?")


class Ambiguous(ValueError):
    """A path that two readers read differently; says how."""


def readings(target: str) -> tuple[str, ...]:
    """The path of an origin-form target in its one spelling, or in its two where a slash is escaped.

    Raises `Ambiguous`.
    """
    path = target.partition("?")[0]
    if not path.startswith("/"):
        raise Ambiguous("it does not begin with a slash")
    if any(not "!" <= character <= "~" for character in target) or "\\" in target or "#" in target:
        raise Ambiguous("it holds characters that no path has")
    if _ESCAPE.sub("", path).count("%"):
        raise Ambiguous("a percent sign begins no escape")
    kept = _ESCAPE.sub(_canonical, path)
    both = dict.fromkeys((kept, kept.replace("%2F", "/")))
    for reading in both:
        segments = reading[1:].split("/")
        if any(not segment for segment in segments[:-1]):
            raise Ambiguous("it has an empty segment")
        if any(_DOTS.fullmatch(segment) for segment in segments):
            raise Ambiguous("it has a dot segment")
    return tuple(both)


def _canonical(match: re.Match[str]) -> str:
    byte = int(match[1], 16)
    if byte in _NEVER:
        raise Ambiguous(f"%{match[1]} is an escape that only serves to hide")
    return chr(byte) if chr(byte) in _UNRESERVED else f"%{byte:02X}"


def covered(patterns: Sequence[str], read: Sequence[str]) -> bool:
    """Whether every reading of a path is covered by one of the patterns; no pattern at all covers everything."""
    return not patterns or all(any(matches_exactly(pattern, path) for pattern in patterns) for path in read)


def pattern_fault(pattern: str) -> str | None:
    """Why the boundary cannot use a pattern; None when it can."""
    if not pattern.startswith("/"):
        return "a path begins with /"
    if pattern == "/":
        return None
    try:
        readings(pattern)
    except Ambiguous as ambiguous:
        return f"no request is ever spelled like this: {ambiguous}"
    if "%2F" in pattern.upper():
        return "write the slash itself; where a request has it escaped, both readings must be covered"
    return fault(pattern)
