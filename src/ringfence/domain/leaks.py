"""Whether a stream that leaves holds a known secret, in the spellings that a program can undo.

What is looked for: each value as it is and in the forms of encodings.py, in any case; and all of that again in what
the stream says without escapes, without white space, decoded from base64 (both alphabets, any alignment, folded
lines) or hex, or unpacked (gzip, zlib, deflated members of zip files), and once more inside that. How the stream is cut
makes no difference. What a reader could only undo with a key or by agreement (a cipher, letters in reverse,
a secret in halves over two requests) is not found; that is why hosts are listed at all.
"""

from collections.abc import Mapping

from ahocorasick_rs import BytesAhoCorasick

from ringfence.domain.encodings import encodings
from ringfence.domain.readings import (
    Budget,
    Reading,
    Squeezed,
    TooMuch,
    Unescaped,
    Unpacked,
    base64_read,
    hex_read,
    squeezed,
)

#: Shorter values would turn up by chance; they are reported instead.
SHORTEST = 8
#: Shorter forms are not looked for.
_SHORTEST_FORM = 8
#: Found instead of a name: something that could not be looked through, and must not pass either.
UNREADABLE = "content that cannot be looked through"
#: How many readings are taken of one another.
_DEPTH = 2
_SLICE = 16 << 10


class Leaks:
    """Knows what must not leave: values by the names that reports may show."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        #: Names of values that are too short to be looked for; the caller refuses or warns.
        self.too_short = tuple(name for name, value in values.items() if len(value.strip()) < SHORTEST)
        names: dict[bytes, str] = {}
        for name, value in values.items():
            if name not in self.too_short:
                names |= dict.fromkeys(_forms(value.strip()), name)
        self._forms = tuple(names)
        self._names = tuple(names.values())
        self._automaton = BytesAhoCorasick(list(self._forms))
        self.longest = max(map(len, self._forms), default=1)

    def scanner(self) -> "Scanner":
        """A fresh scanner; each stream has its own."""
        return Scanner(self)

    def find(self, content: bytes) -> str | None:
        """The name of a value in something that is there as a whole, or None."""
        scanner = self.scanner()
        return scanner.feed(content) or scanner.finish()

    def search(self, content: bytes) -> str | None:
        """The name of a value that stands in these bytes in one of its forms, in any case."""
        found = self._automaton.find_matches_as_indexes(content.lower())
        return self._names[found[0][0]] if found else None


def _forms(value: bytes) -> set[bytes]:
    forms = {form.lower() for form in encodings(value)}
    forms |= {squeezed(form) for form in forms}
    return {form for form in forms if len(form) >= _SHORTEST_FORM}


class Scanner:
    """Looks through one stream. After a finding it finds the same for ever."""

    def __init__(self, leaks: Leaks) -> None:
        self._budget = Budget()
        self._layer = _Layer(leaks, self._budget, _DEPTH)
        self._found: str | None = None

    def feed(self, piece: bytes) -> str | None:
        """Take a piece; the name of what is in the stream so far, `UNREADABLE`, or None."""
        for at in range(0, len(piece), _SLICE):
            if self._found is None:
                part = piece[at : at + _SLICE]
                self._budget.came += len(part)
                self._look(part, final=False)
        return self._found

    def finish(self) -> str | None:
        """The stream has ended: the same for all of it."""
        if self._found is None:
            self._look(b"", final=True)
        return self._found

    def _look(self, piece: bytes, *, final: bool) -> None:
        try:
            self._found = self._layer.feed(piece, final=final)
        except TooMuch:
            self._found = UNREADABLE


class _Layer:
    """One stream, and the streams that are read out of it."""

    def __init__(self, leaks: Leaks, budget: Budget, depth: int, tail: bytes = b"") -> None:
        self._leaks = leaks
        self._budget = budget
        self._depth = depth
        self._tail = tail
        self._readings: tuple[Reading, ...] = ()
        self._layers: dict[tuple[int, int], _Layer] = {}
        if depth:
            self._readings = (Unescaped(), Squeezed(), base64_read(), hex_read(), Unpacked(budget))

    def feed(self, piece: bytes, *, final: bool) -> str | None:
        """The name of what is found up to the end of this piece."""
        before, text = self._tail, self._tail + piece
        found = self._leaks.search(text)
        self._tail = text[-self._leaks.longest :]
        for number, reading in enumerate(self._readings):
            if found:
                return found
            found = self._read(number, reading, (before, piece), final=final)
        return found

    def _read(self, number: int, reading: Reading, at: tuple[bytes, bytes], *, final: bool) -> str | None:
        before, piece = at
        for track, content in reading.feed(piece, final=final):
            if content is None:
                found = self._end((number, track))
            elif (number, track) in self._layers:
                found = self._layers[number, track].feed(content, final=False)
            elif content == (piece if reading.whole else b""):
                continue  # it reads as it stands, or stands for nothing
            else:
                layer = _Layer(self._leaks, self._budget, self._depth - 1, before if reading.whole else b"")
                self._layers[number, track] = layer
                found = layer.feed(content, final=False)
            if found:
                return found
        ending = [key for key in self._layers if final and key[0] == number]
        return next((found for key in ending if (found := self._end(key))), None)

    def _end(self, key: tuple[int, int]) -> str | None:
        layer = self._layers.pop(key, None)
        return layer.feed(b"", final=True) if layer is not None else None
