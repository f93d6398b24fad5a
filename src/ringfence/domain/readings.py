"""Other ways to read a stream of bytes: without escapes, without white space, as base64, as hex, unpacked.

Each reading takes a stream piece by piece and gives back what it says in another spelling, on one or more tracks;
how the stream was cut into pieces makes no difference. Nothing here knows what is looked for (leaks.py does).
"""

import binascii
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

#: Shorter runs of letters and digits are words, not encodings.
_SHORTEST_RUN = 12
#: What is unpacked at once.
_STEP = 64 << 10
#: Streams that are unpacked side by side; ordinary content has one, and a few that turn out to be none.
MOST_OPEN = 48
_NAMED = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}
_CONTROL = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_ESCAPE = re.compile(
    rb"%(?P<percent>[0-9A-Fa-f]{2})|\\u(?P<unicode>[0-9A-Fa-f]{4})|\\x(?P<byte>[0-9A-Fa-f]{2})|\\(?P<one>[^ux])|"
    rb"={1,2}(?P<printable>[0-9A-Fa-f]{2})|=\r?\n|&#[xX](?P<entity>[0-9A-Fa-f]{1,6});|&#(?P<figures>[0-9]{1,7});|"
    rb"&(?P<named>amp|lt|gt|quot|apos);"
)
_UNFINISHED = re.compile(
    rb"(?:%[0-9A-Fa-f]?|\\(?:u[0-9A-Fa-f]{0,3}|x[0-9A-Fa-f]?)?|=(?:=?[0-9A-Fa-f]|=|\r)?|"
    rb"&(?:#(?:[xX][0-9A-Fa-f]{0,6}|[0-9]{0,7})|[a-z]{0,4}))\Z"
)
_LONGEST_ESCAPE = 12
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_HEX = b"0123456789ABCDEFabcdef"


class Reading(Protocol):
    """One way to read a stream."""

    #: Whether what needs no decoding passes through, so that the new stream has the context of the old one.
    whole: bool

    def feed(self, piece: bytes, *, final: bool) -> Iterator[tuple[int, bytes | None]]:
        """What the next piece says, with the number of its track; None ends a track. Raises `TooMuch`."""
        ...


class TooMuch(ValueError):
    """What is packed unpacks to more than anybody would look through."""


class Unescaped:
    """Percent escapes, escapes of JSON and C, quoted-printable and entities, all of them replaced."""

    whole = True

    def __init__(self) -> None:
        self._carry = b""

    def feed(self, piece: bytes, *, final: bool) -> Iterator[tuple[int, bytes]]:
        """The piece, on one track."""
        text = self._carry + piece
        cut = None if final else _UNFINISHED.search(text, max(0, len(text) - _LONGEST_ESCAPE))
        end = cut.start() if cut else len(text)
        self._carry = text[end:]
        yield 0, _ESCAPE.sub(_unescaped, text[:end])


def _unescaped(match: re.Match[bytes]) -> bytes:
    kind, written = match.lastgroup, match[match.lastgroup] if match.lastgroup else b""
    if kind in ("percent", "byte", "printable"):
        return bytes((int(written, 16),))
    if kind in ("unicode", "entity", "figures"):
        number = int(written, 10 if kind == "figures" else 16)
        return chr(number).encode("utf-8", "surrogatepass") if number <= 0x10FFFF else match[0]
    if kind == "named":
        return _NAMED[written]
    return _CONTROL.get(written, written)


class Squeezed:
    """Without white space and zero bytes: folded lines, spaced letters, two bytes a letter."""

    whole = True

    def feed(self, piece: bytes, *, final: bool) -> Iterator[tuple[int, bytes]]:  # noqa: ARG002 - nothing is held
        """The piece, on one track."""
        yield 0, squeezed(piece)


def squeezed(content: bytes) -> bytes:
    """Content without white space and zero bytes."""
    return content.translate(None, b"\0\t\n\v\f\r ")


class Decoded:
    """Runs of letters that stand for bytes in groups; a track for each place where the first group may begin."""

    whole = False

    def __init__(self, letters: bytes, group: int, decode: Callable[[bytes], bytes], *, dropped: bytes) -> None:
        read = bytes.maketrans(b"-_", b"+/")
        self._table = bytes(byte if byte in letters else 0x20 for byte in read)
        self._group = group
        self._decode = decode
        self._dropped = dropped
        self._carry = b""
        self._begun = False

    def feed(self, piece: bytes, *, final: bool) -> Iterator[tuple[int, bytes]]:
        """What the runs of the piece stand for."""
        text = self._carry + piece.translate(self._table, self._dropped)
        runs = text.split()
        going = self._begun and bool(text) and text[0] != 0x20
        ongoing = bool(text) and text[-1] != 0x20 and not final
        last = runs.pop() if ongoing else b""
        closed = [run for number, run in enumerate(runs) if len(run) >= _SHORTEST_RUN or (going and number == 0)]
        going = going and not runs
        ready = max(0, (len(last) - self._group + 1) // self._group * self._group)
        if not going and len(last) < _SHORTEST_RUN:
            ready = 0
        self._begun = ready > 0 or (going and ongoing)
        self._carry = last[ready:]
        for track in range(self._group):
            said = [self._decode(run[track:]) for run in closed]
            yield track, b"".join([*said, self._decode(last[track : track + ready])])


def base64_read() -> Decoded:
    """Base64 of both alphabets, also when its lines are folded."""
    return Decoded(_BASE64, 4, _from_base64, dropped=b"\r\n")


def hex_read() -> Decoded:
    """Hex of any case, also with colons or spaces between."""
    return Decoded(_HEX, 2, _from_hex, dropped=b"\r\n :")


def _from_base64(run: bytes) -> bytes:
    rest = len(run) % 4
    whole = run if rest == 0 else run[:-1] if rest == 1 else run + b"=" * (4 - rest)
    return binascii.a2b_base64(whole)


def _from_hex(run: bytes) -> bytes:
    return binascii.unhexlify(run[: len(run) // 2 * 2])


def _zlib_beginnings() -> bytes:
    """The two bytes that a zlib stream may begin with, without a preset dictionary."""
    pairs = ((first << 8) + second for first in range(0x08, 0x80, 0x10) for second in range(256) if not second & 0x20)
    return b"|".join(re.escape(pair.to_bytes(2, "big")) for pair in pairs if pair % 31 == 0)


_PACKED = re.compile(rb"\x1f\x8b\x08|PK\x03\x04|" + _zlib_beginnings(), re.DOTALL)
_LONGEST_MARK = 4
#: How zlib is told what begins like this; a zlib stream begins with one of several.
_WINDOWS = {b"\x1f\x8b\x08": 31, b"PK\x03\x04": -15}
_ZIP_HEAD = 30


class Budget:
    """How much may be unpacked: a floor, and a hundred times of what came."""

    FLOOR = 8 << 20
    RATIO = 100

    def __init__(self) -> None:
        self.came = 0
        self._unpacked = 0

    def take(self, count: int) -> None:
        """Count what was unpacked. Raises `TooMuch`."""
        self._unpacked += count
        if self._unpacked > self.FLOOR + self.RATIO * self.came:
            raise TooMuch("it unpacks to more than is looked through")


class Unpacked:
    """What gzip, zlib and zip streams hold, wherever in the stream they begin; a track for each."""

    whole = False

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._carry = b""
        self._open: dict[int, _Inflating] = {}
        self._begun = 0

    def feed(self, piece: bytes, *, final: bool) -> Iterator[tuple[int, bytes | None]]:  # noqa: ARG002 - nothing is held
        """What the piece unpacks to."""
        for track, stream in list(self._open.items()):
            yield from self._unpack(track, stream, piece)
        text, old = self._carry + piece, len(self._carry)
        for match in _PACKED.finditer(text):
            if match.end() <= old:
                continue  # it began in an earlier piece, and is open
            self._begun += 1
            stream = self._open[self._begun] = _Inflating(match[0], self._budget)
            yield from self._unpack(self._begun, stream, text[match.start() :])
            if len(self._open) > MOST_OPEN:
                raise TooMuch("more packed streams in one another than are looked through")
        self._carry = text[-(_LONGEST_MARK - 1) :]

    def _unpack(self, track: int, stream: "_Inflating", piece: bytes) -> Iterator[tuple[int, bytes | None]]:
        for content in stream.feed(piece):
            yield track, content
        if stream.over:
            del self._open[track]
            yield track, None


class _Inflating:
    """One packed stream. What comes before an error in it counts: a reader may be content with that."""

    def __init__(self, mark: bytes, budget: Budget) -> None:
        window = _WINDOWS.get(mark, 15)
        self.over = False
        self._inflate = zlib.decompressobj(window)
        self._budget = budget
        self._head: bytes | None = b"" if window < 0 else None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What the next piece holds."""
        rest = self._after_head(piece)
        while rest and not self.over:
            before = self._inflate.copy()
            try:
                content = self._inflate.decompress(rest, _STEP)
            except zlib.error:
                self.over = True
                yield self._up_to_the_error(before, rest)
                return
            self._budget.take(len(content))
            if content:
                yield content
            self.over = self._inflate.eof
            rest = self._inflate.unconsumed_tail

    def _up_to_the_error(self, inflate: "zlib._Decompress", rest: bytes) -> bytes:
        found = []
        try:
            for at in range(len(rest)):
                found.append(inflate.decompress(rest[at : at + 1]))
                self._budget.take(len(found[-1]))
        except zlib.error:
            pass
        return b"".join(found)

    def _after_head(self, piece: bytes) -> bytes:
        """What follows the head of a member of a zip file; nothing while there is too little of it."""
        if self._head is None:
            return piece
        self._head += piece
        if len(self._head) < _ZIP_HEAD:
            return b""
        method = int.from_bytes(self._head[8:10], "little")
        length = _ZIP_HEAD + sum(int.from_bytes(self._head[at : at + 2], "little") for at in (26, 28))
        if method != 8:
            self.over = True  # stored, and read as it stands; or packed in a way that is not looked through
            return b""
        if len(self._head) < length:
            return b""
        rest, self._head = self._head[length:], None
        return rest
