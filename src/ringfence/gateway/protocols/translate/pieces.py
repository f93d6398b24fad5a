"""An answer in no particular protocol: what a reader of one finds, and a writer of another one tells."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ringfence.gateway.protocols.shape import Counted

#: Why an answer ended: the model was done, at a limit, wants tools to be called, or refused.
Why = Literal["done", "limit", "calls", "refused"]


@dataclass(frozen=True, slots=True)
class Begun:
    """The answer's name and model, as the provider gave them."""

    id: str
    model: str


@dataclass(frozen=True, slots=True)
class Text:
    """Some of what the model says."""

    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """A call of a tool begins."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """Some of the arguments (JSON text) of the call that began last."""

    text: str


@dataclass(frozen=True, slots=True)
class Quiet:
    """Something that is not told: the model thinks. Whoever waits may know that something came."""


Piece = Begun | Text | Called | Arguments | Quiet


class Reader(Protocol):
    """Reads one answer of a provider, judged by its own protocol. Errors: ValueError for what nobody can tell."""

    def whole(self, answer: dict[str, Any]) -> Iterator[Piece]:
        """The pieces of an answer in one piece."""
        ...

    def event(self, event: dict[str, Any]) -> Iterator[Piece]:
        """The pieces of one event of a stream."""
        ...

    @property
    def why(self) -> Why:
        """Why it ended, once it has."""
        ...


class Writer(Protocol):
    """Writes one answer for an agent."""

    def whole(self, pieces: Iterable[Piece], why: Why, usage: Counted | None) -> dict[str, Any]:
        """An answer in one piece."""
        ...

    def event(self, piece: Piece) -> bytes:
        """What a piece is in a stream; perhaps nothing."""
        ...

    def end(self, why: Why, usage: Counted | None) -> bytes:
        """The closing words of a stream."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """A whole call of a tool."""

    id: str
    name: str
    arguments: str


def gathered(pieces: Iterable[Piece]) -> list[Begun | Text | Call]:
    """Pieces put together: texts that follow each other are one, and calls have their arguments."""
    found: list[Begun | Text | Call] = []
    for piece in pieces:
        last = found[-1] if found else None
        match piece:
            case Text() if isinstance(last, Text):
                found[-1] = Text(last.text + piece.text)
            case Called():
                found.append(Call(piece.id, piece.name, ""))
            case Arguments() if isinstance(last, Call):
                found[-1] = Call(last.id, last.name, last.arguments + piece.text)
            case Begun() | Text():
                found.append(piece)
            case _:
                continue
    return found
