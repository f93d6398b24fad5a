"""YAML 1.2 text as plain values with the position of every key and value.

A boundary needs little of YAML, and what it does not need is refused where it stands: anchors, aliases, tags,
directives, several documents, keys that are not text, duplicate keys. Sizes are bounded before anything is
built. Plain scalars mean what they look like and nothing more: `yes` is text, `0755` is text, `1e3` is text.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from ringfence.domain.parse.problem import Place, Problem, Steps, written

MOST_BYTES = 256 << 10
_LONGEST_LINE = 20_000
_DEEPEST = 16
_MOST_EVENTS = 20_000
_PLAIN = "write plain YAML: mappings, lists, text, numbers, true and false"

_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FRACTION = re.compile(r"-?[0-9]{1,18}\.[0-9]{1,18}")
_DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")


@dataclass(slots=True)
class Tree:
    """A document as read: its value, and where everything in it stands."""

    value: Any = None
    values: dict[Steps, Place] = field(default_factory=dict)
    keys: dict[Steps, Place] = field(default_factory=dict)
    #: What could not be read as it stands; whatever is said of it later would only repeat that.
    unread: set[Steps] = field(default_factory=set)

    def place(self, steps: Steps, *, at_key: bool = False) -> Place:
        """Where these steps lead, or the nearest thing above that exists."""
        for count in range(len(steps), -1, -1):
            here = steps[:count]
            if at_key and here in self.keys:
                return self.keys[here]
            if here in self.values:
                return self.values[here]
        return Place(1, 1)

    def is_unread(self, steps: Steps) -> bool:
        """Whether it is, or lies below, something that was already reported as unreadable."""
        return any(steps[:count] in self.unread for count in range(len(steps) + 1))


@dataclass(slots=True)
class _Frame:
    """A mapping or a list that is being read."""

    steps: Steps
    held: dict[str, Any] | list[Any]
    key: str | None = None
    #: The value of this key is read and dropped, as the key is a duplicate.
    drop: bool = False
    #: All of this lies inside something that is dropped.
    lost: bool = False


class _Stop(Exception):
    """Reading cannot go on; the problem has been noted."""


def read(text: str, source: str) -> tuple[Tree, list[Problem]]:
    """The document, as far as it can be read, and what is wrong with its form. Never raises for any text."""
    reader = _Reader(source)
    if reader.refuses_text(text):
        return reader.tree, reader.problems
    try:
        for count, event in enumerate(YAML(typ="rt", pure=True).parse(text)):
            reader.take(event, count)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)
        reader.note((), place, f"not YAML: {error.problem or error.context}", "mend the line; quotes often do")
    except (YAMLError, ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What the library's own code raises over odd text: `%YAML 1.0` fails an assertion of it.
        first = (str(error).splitlines() or ["unreadable"])[0]
        reader.note((), reader.last, f"not YAML: {first}", "mend the text after this place")
    except _Stop:
        pass
    return reader.tree, reader.problems


class _Reader:
    """Takes the events of a parser one by one; bounded in depth and number, so it needs no recursion."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tree = Tree()
        self.problems: list[Problem] = []
        self.last = Place(1, 1)
        self._frames: list[_Frame] = []
        self._documents = 0

    def note(self, steps: Steps, place: Place, what: str, mend: str) -> None:
        """Write a problem down."""
        self.problems.append(Problem(self.source, place.line, place.column, written(steps), what, mend))
        self.tree.unread.add(steps)

    def refuses_text(self, text: str) -> bool:
        """Sizes, and characters that a reviewer would not see: Trojan-source tricks in a document people sign."""
        if len(text) > MOST_BYTES or len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
            limit = MOST_BYTES >> 10
            self.note((), Place(1, 1), f"longer than {limit} KiB", "a boundary is a page or two; list less in it")
            return True
        for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
            if len(line) > _LONGEST_LINE:
                # The scanner's time grows with the square of some lines.
                self.note((), Place(number, 1), f"a line longer than {_LONGEST_LINE} characters", "break it")
                continue
            for column, character in enumerate(line, 1):
                if _is_unseen(character):
                    place = Place(number, column)
                    what = f"the character U+{ord(character):04X} cannot be seen by a reader"
                    self.note((), place, what, "remove it; save the file as UTF-8 without a byte order mark")
        return bool(self.problems)

    def take(self, event: Any, count: int) -> None:
        """Read on by one event."""
        mark = event.start_mark
        self.last = place = Place(mark.line + 1, mark.column + 1)
        kind = type(event).__name__
        if count > _MOST_EVENTS or len(self._frames) > _DEEPEST:
            self._stop(place, "too many or too deeply nested values", "a boundary needs far fewer")
        if kind == "DocumentStartEvent":
            self._document(event, place)
        elif kind == "AliasEvent":
            self._refuse_odd_key(place)
            self._odd(place, "aliases are not read", "write the value out where it is used")
            self._put(None, place)
        elif kind == "ScalarEvent":
            self._check_marks(event, place)
            self._put_scalar(event, place)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._check_marks(event, place)
            self._open({} if kind == "MappingStartEvent" else [], place)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._frames.pop()

    def _document(self, event: Any, place: Place) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop(place, "a second document begins here", "one file holds one boundary")
        if event.version or event.tags:
            self._odd(place, "directives are not read", "remove the lines that begin with %")

    def _check_marks(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            self._odd(place, "anchors are not read", "write the value out where it is used")
        if event.tag is not None:
            self._odd(place, "tags are not read", _PLAIN)

    def _odd(self, place: Place, what: str, mend: str) -> None:
        self.note(self._next_steps(), place, what, mend)

    def _stop(self, place: Place, what: str, mend: str) -> None:
        self.note((), place, what, mend)
        raise _Stop

    def _next_steps(self) -> Steps:
        if not self._frames:
            return ()
        frame = self._frames[-1]
        if isinstance(frame.held, list):
            return (*frame.steps, len(frame.held))
        return frame.steps if frame.key is None else (*frame.steps, frame.key)

    def _open(self, held: dict[str, Any] | list[Any], place: Place) -> None:
        self._refuse_odd_key(place)
        steps = self._next_steps()
        lost = bool(self._frames) and (self._frames[-1].lost or self._frames[-1].drop)
        self._put(held, place)
        self._frames.append(_Frame(steps, held, lost=lost))

    def _refuse_odd_key(self, place: Place) -> None:
        if self._frames and isinstance(self._frames[-1].held, dict) and self._frames[-1].key is None:
            self._stop(place, "a key must be text", _PLAIN)

    def _put_scalar(self, event: Any, place: Place) -> None:
        frame = self._frames[-1] if self._frames else None
        if frame is not None and isinstance(frame.held, dict) and frame.key is None:
            self._take_key(frame, event.value, place)
            return
        if any(_is_unseen(character) for character in event.value if character not in "\n\t"):
            self._odd(place, "it holds a character that cannot be seen", "write text that a reader sees as it is")
        plain = event.style in (None, "")
        self._put(_meaning(event.value) if plain and event.tag is None else str(event.value), place)

    def _take_key(self, frame: _Frame, key: str, place: Place) -> None:
        steps = (*frame.steps, key)
        frame.key = key
        if isinstance(frame.held, dict) and key in frame.held and not frame.lost:
            first = self.tree.keys[steps]
            what = f"`{key}` stands here twice, first in line {first.line}"
            self.problems.append(
                Problem(self.source, place.line, place.column, written(steps), what, "keep one of them")
            )
            frame.drop = True
        elif not frame.lost:
            self.tree.keys[steps] = place

    def _put(self, value: Any, place: Place) -> None:
        steps = self._next_steps()
        frame = self._frames[-1] if self._frames else None
        if frame is None:
            self.tree.value = value
            self.tree.values[steps] = place
            return
        if not (frame.lost or frame.drop):
            self.tree.values[steps] = place
        if isinstance(frame.held, list):
            frame.held.append(value)
            return
        if not frame.drop:
            frame.held[frame.key or ""] = value
        frame.key, frame.drop = None, False


def _meaning(text: str) -> Any:
    """What a plain scalar is."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FRACTION.fullmatch(text):
        return float(text)
    day = _DAY.fullmatch(text)
    if day:
        try:
            return date(int(day[1]), int(day[2]), int(day[3]))
        except ValueError:
            return text
    return text


def _is_unseen(character: str) -> bool:
    """Control and format characters, odd line ends, and what stands for bytes that were not UTF-8."""
    if " " <= character <= "~" or character == "\t":
        return False
    return character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
