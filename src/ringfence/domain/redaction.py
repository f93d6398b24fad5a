"""Redaction: known secrets and the formats of secrets are taken out of bytes before anything is stored.

One pass, in linear time, over streams of any size: known values and their encodings by Aho-Corasick, formats by
RE2; never Python's `re`, which hostile text can hold up for ever. What comes out does not depend on how the
bytes were cut into pieces. It guards against accidents: who wants to smuggle a value out past it can spell it
backwards, and only the sandbox is in the way of that.
"""

from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any

import re2  # type: ignore[import-untyped]
from ahocorasick_rs import BytesAhoCorasick

from ringfence.domain import secret_formats as formats
from ringfence.domain.encodings import encodings
from ringfence.domain.errors import InputError

KNOWN = "known-value"
#: Shorter values would turn up by chance everywhere; they are reported instead.
SHORTEST_KNOWN = 6
#: What a pattern of an operator may match at most in a stream.
LONGEST_CUSTOM = 4096
#: A stream is looked at when it has grown by this much, so that single bytes do not cost a scan each.
_STEP = 4096
_SLICE = 1 << 20
_MOST_FINDINGS = 100

Span = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """A secret in something that was to be published: which kind, and in which line. Never the value."""

    name: str
    line: int


class Redactor:
    """Knows what to take out. `known` are secret values, `patterns` are (name, RE2 pattern) of the operator."""

    def __init__(self, known: Iterable[bytes] = (), patterns: Iterable[tuple[str, str]] = ()) -> None:
        custom = [formats.Format(name, pattern.encode(), formats.VALUE) for name, pattern in patterns]
        names = {KNOWN, _Pem.name, *(one.name for one in custom), *(one.name for one in formats.FORMATS)}
        markers = frozenset(marker(name) for name in names)
        self._markers = markers
        self._longest_pattern = max(formats.LONGEST_FORMAT, LONGEST_CUSTOM if custom else 0)
        self._know(known)
        self._searches = (_together(formats.FORMATS, markers), *(_alone(one, markers) for one in custom))
        strict = tuple(one for one in formats.FORMATS if one.gate)
        self._strict = (_together(strict, markers), *self._searches[1:])

    def knowing(self, known: Iterable[bytes]) -> "Redactor":
        """The same patterns with these known values in place of the present ones."""
        other = copy(self)
        other._know(known)
        return other

    def _know(self, known: Iterable[bytes]) -> None:
        usable, too_short = _sort_out(known, self._markers)
        #: In words, which known values cannot be redacted; the worker refuses or warns, it does not stay silent.
        self.too_short: tuple[str, ...] = too_short
        literals = sorted({form for value in usable for form in encodings(value)})
        self._literals = BytesAhoCorasick(literals)
        longest = max((len(literal) for literal in literals), default=0)
        #: Nothing that a stream looks for is longer than this, tails of tokens aside.
        self.hold = max(longest, self._longest_pattern) + 64

    def redact(self, content: bytes) -> bytes:
        """The content with every secret replaced by `[redacted:<name>]`."""
        stream = self.stream()
        pieces = [stream.feed(content[at : at + _SLICE]) for at in range(0, len(content), _SLICE)]
        return b"".join([*pieces, stream.finish()])

    def redact_text(self, text: str) -> str:
        """The same for text; lone surrogates pass through."""
        clean = self.redact(text.encode("utf-8", "surrogatepass"))
        try:
            return clean.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:  # a secret ended inside a character
            return clean.decode("utf-8", "replace")

    def stream(self) -> "Stream":
        """A fresh stream; each output that is captured has its own."""
        return Stream(self._searches, self.known_spans, self.hold)

    def known_spans(self, content: bytes, since: int = 0) -> list[Span]:
        """Where known values are; overlapping ones too, for a part of a secret must not stay either."""
        found = self._literals.find_matches_as_indexes(memoryview(content)[since:], overlapping=True)
        return [(start + since, end + since, KNOWN) for _, start, end in found]

    def find(self, content: bytes) -> tuple[Finding, ...]:
        """Secrets in something that is to be published, by the precise rules only; the first hundred."""
        spans = self.known_spans(content) + _Pem().spans(content, len(content), final=True)[0]
        for search in self._strict:
            hits = _Cursor(search).spans(content, len(content))
            spans += [hit for hit in hits if not _is_placeholder(content[hit[0] : hit[1]])]
        found: dict[Finding, None] = {}
        line, counted = 1, 0
        for start, _, name in sorted(spans):
            line += content.count(b"\n", counted, start)
            counted = start
            found[Finding(name, line)] = None
            if len(found) == _MOST_FINDINGS:
                break
        return tuple(found)

    def withhold(self, content: bytes) -> tuple[bytes, dict[str, int]]:
        """The content without what the precise rules find, and of each kind how much that was."""
        kinds = {one.name for one in self.find(content)}
        if not kinds:
            return content, {}
        stream = Stream(self._strict, self.known_spans, self.hold)
        pieces = [stream.feed(content[at : at + _SLICE]) for at in range(0, len(content), _SLICE)]
        clean = b"".join([*pieces, stream.finish()])
        return clean, {kind: clean.count(marker(kind)) - content.count(marker(kind)) for kind in sorted(kinds)}


class Stream:
    """Redacts one stream piece by piece; `feed` gives back what is certain, `finish` the rest.

    The buffer keeps a little of what is already out (`_out` says up to where), because words and formats are
    recognised by what stands before them. Everything that begins before `cut` is decided with `hold` bytes in
    view behind it, so that more bytes could not change the decision: the pieces do not matter.
    """

    def __init__(self, searches: "tuple[_Search, ...]", known: Callable[[bytes, int], list[Span]], hold: int) -> None:
        self._known = known
        self._hold = hold
        self._pem = _Pem()
        self._cursors = [_Cursor(search) for search in searches]
        self._buffer = b""
        self._out = 0
        self._covered = 0  # where the last secret ends
        self._enough = _STEP

    def feed(self, piece: bytes) -> bytes:
        """Take a piece; give back what cannot be part of a secret any more."""
        self._buffer += piece
        return self._advance(final=False) if len(self._buffer) >= self._enough else b""

    def finish(self) -> bytes:
        """The rest."""
        return self._advance(final=True)

    def _advance(self, *, final: bool) -> bytes:
        buffer = self._buffer
        for cursor in self._cursors:
            self._covered = max(self._covered, cursor.resume(buffer))
        cut = len(buffer) if final else max(self._out, len(buffer) - self._hold)
        spans, cut = self._pem.spans(buffer, cut, final=final)
        for cursor in self._cursors:
            spans += cursor.spans(buffer, cut)
        spans += [span for span in self._known(buffer, self._out) if span[0] < cut]
        pieces, at = [], self._out
        for start, end, name in sorted(spans):
            # A secret that begins inside the one before it belongs to that one: one marker for both.
            if start >= self._covered:
                pieces += [buffer[max(at, self._covered) : start], marker(name)]
                at = start
            self._covered = max(self._covered, end)
        pieces.append(buffer[max(at, self._covered) : cut])
        self._trim(cut)
        return b"".join(pieces)

    def _trim(self, cut: int) -> None:
        dropped = max(0, cut - formats.LONGEST_FORMAT)
        self._buffer = self._buffer[dropped:]
        self._out = cut - dropped
        self._covered -= dropped
        self._pem.position -= dropped
        for cursor in self._cursors:
            cursor.position -= dropped
        self._enough = len(self._buffer) + _STEP


@dataclass(frozen=True, slots=True)
class _Search:
    """One RE2 expression. With several rules, the group that took part says which one matched."""

    expression: Any  # the class of RE2's expressions has no public name
    rules: tuple[formats.Format, ...]
    markers: frozenset[bytes]


class _Cursor:
    """Where a stream stands with one search."""

    def __init__(self, search: _Search) -> None:
        self.position = 0
        self._search = search
        self._open: bytes | None = None  # the tail of a token that reached the end of the bytes so far

    def resume(self, buffer: bytes) -> int:
        """Go on with a token that was cut; where it ends."""
        if self._open is not None:
            self._end_token(buffer, self.position, self._open)
            return self.position
        return 0

    def spans(self, buffer: bytes, cut: int) -> list[Span]:
        """Every secret that begins before `cut`."""
        spans: list[Span] = []
        while self.position < cut:
            match = self._search.expression.search(buffer, self.position)
            if match is None or match.start() >= cut:
                self.position = cut
                break
            several = len(self._search.rules) > 1
            rule = self._search.rules[match.lastindex - 1 if several else 0]
            start, end = match.span(match.lastindex if several else 0)
            if start >= cut:  # its keyword is out already, its value is not: next time
                self.position = match.start()
                break
            own = self._own_marker(buffer, start)
            if own or end == start:
                self.position = start + max(own, 1)
            elif rule.name == "keyword" and _reads_like_code(buffer, start):
                self.position = end
            else:
                self._end_token(buffer, min(end, start + LONGEST_CUSTOM), rule.tail)
                spans.append((start, self.position, rule.name))
        return spans

    def _own_marker(self, buffer: bytes, start: int) -> int:
        """The length of the marker that stands here, so that redacting twice changes nothing."""
        if not buffer.startswith(_MARK, start):
            return 0
        end = buffer.find(b"]", start, start + _LONGEST_MARKER) + 1
        return end - start if buffer[start:end] in self._search.markers else 0

    def _end_token(self, buffer: bytes, end: int, tail: bytes) -> None:
        self.position = _run_end(buffer, end, tail)
        self._open = tail if tail and self.position == len(buffer) else None


class _Pem:
    """Private keys in PEM armour: the one format over many lines."""

    name = "private-key"

    def __init__(self) -> None:
        self.position = 0

    def spans(self, buffer: bytes, cut: int, *, final: bool) -> tuple[list[Span], int]:
        """The keys that begin before `cut`, and the cut, moved before a key that is not complete."""
        spans: list[Span] = []
        while self.position < cut:
            begin = _PEM_BEGIN.search(buffer, self.position)
            if begin is None or begin.start() >= cut:
                break
            end = _pem_end(buffer, begin.end(), begin.start() + formats.PEM_LONGEST, final=final)
            if end is None:
                cut = begin.start()
                break
            spans.append((begin.start(), end, self.name))
            self.position = end
        self.position = max(self.position, cut)
        return spans, cut


def marker(name: str) -> bytes:
    """What stands in the place of a secret."""
    return b"[redacted:%s]" % name.encode()


def _options() -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes, not characters: hostile input is seldom valid UTF-8
    options.max_mem = 64 << 20  # of automaton; with less, RE2 falls back to its slow engine on hostile input
    options.log_errors = False
    return options


_MARK = b"[redacted:"
_LONGEST_MARKER = 80
_PEM_BEGIN = re2.compile(formats.PEM_BEGIN, _options())
_PEM_DASHES = b"-----"
_PEM_LABEL = 72
_CODE = frozenset(b".()[]{}$_<>&*|")


def _together(rules: tuple[formats.Format, ...], markers: frozenset[bytes]) -> _Search:
    return _Search(re2.compile(b"|".join(rule.pattern for rule in rules), _options()), rules, markers)


def _alone(rule: formats.Format, markers: frozenset[bytes]) -> _Search:
    where, mend = f"logs.redaction.patterns: {rule.name}", "write it in RE2 syntax, so that it needs at least 4 bytes"
    if len(marker(rule.name)) > _LONGEST_MARKER:
        raise InputError("the name of a redaction pattern is too long", where=where, mend="use at most 60 letters")
    try:
        expression = re2.compile(rule.pattern, _options())
    except re2.error as failure:
        raise InputError(f"not a pattern: {failure}", where=where, mend=mend) from failure
    if expression.search(b"") is not None:
        raise InputError("the pattern matches nothing at all, and so everywhere", where=where, mend=mend)
    return _Search(expression, (rule,), markers)


def _sort_out(known: Iterable[bytes], markers: frozenset[bytes]) -> tuple[list[bytes], tuple[str, ...]]:
    """Known values that can be looked for, and in words those that cannot."""
    usable, unusable = [], []
    for number, value in enumerate((value.strip() for value in known), 1):
        if len(value) < SHORTEST_KNOWN:
            unusable.append(f"known value {number}: {len(value)} bytes, {SHORTEST_KNOWN} are needed")
        elif any(value in one for one in markers):
            unusable.append(f"known value {number}: a word of the redaction itself")
        else:
            usable.append(value)
    return usable, tuple(unusable)


def _run_end(buffer: bytes, start: int, tail: bytes) -> int:
    """Where the run of `tail` bytes from `start` ends; in windows, for a buffer may hold many tokens."""
    size = 256
    while tail and start < len(buffer):
        window = buffer[start : start + size]
        rest = len(window.lstrip(tail))
        start += len(window) - rest
        if rest:
            break
        size = min(2 * size, 1 << 16)
    return start


def _pem_end(buffer: bytes, after: int, limit: int, *, final: bool) -> int | None:
    """Where a private key ends; None when that cannot be known yet."""
    end = buffer.find(formats.PEM_END, after, limit)
    if end < 0:
        return min(limit, len(buffer)) if final or len(buffer) >= limit else None
    end += len(formats.PEM_END)
    dashes = buffer.find(_PEM_DASHES, end, end + _PEM_LABEL)
    if dashes >= 0:
        return dashes + len(_PEM_DASHES)
    return end if final or len(buffer) >= end + _PEM_LABEL else None


def _reads_like_code(buffer: bytes, start: int) -> bool:
    """Whether what follows a keyword is an expression (`token = self.next()`) rather than a value."""
    word = buffer[start : start + 48].split(maxsplit=1)[0].rstrip(b",;:")
    return not any(0x30 <= byte <= 0x39 for byte in word) and not _CODE.isdisjoint(word)


def _is_placeholder(value: bytes) -> bool:
    """Whether a value is plainly made up for documentation; such are redacted, but no reason to refuse a patch."""
    return value.lower() in formats.PLACEHOLDERS or value[:1] in b"${<%*" or b"EXAMPLE" in value or len(set(value)) < 5
