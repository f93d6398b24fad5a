"""What is wrong with a document, where, and what to write instead."""

from dataclasses import dataclass

#: Where a value stands in a document: keys and list positions from the top.
Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in the text, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to change. Its text form is what editors and terminals make clickable."""

    source: str
    line: int
    column: int
    path: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}: {self.what} — {self.mend}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem before it has a position: the steps to the value, or with `at_key` to the key of that value.

    `line` is given where no value stands: in a comment.
    """

    steps: Steps
    what: str
    mend: str
    at_key: bool = False
    line: int | None = None


def written(steps: Steps) -> str:
    """The steps as people write them: `commands.repositories.acme/shop.checks[0].run`."""
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
