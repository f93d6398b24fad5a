"""The port of the durable engine: a run survives its worker, and a finished step is never done again."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Steps(Protocol):
    """Inside a run: do a step once, write down its result, and give back the same result after a crash."""

    def __call__(self, name: str, returns: type[T], do: Callable[[], T]) -> T:
        """`do` is called unless its result is on record. Results are small values (frozen dataclasses), never blobs."""
        ...


class Engine(Protocol):
    """Carries runs. A run is a ticket id and a run id; everything else is read by its first step."""

    def start(self) -> Sequence[str]:
        """Take the place of the one worker and resume what was cut off; the ids of the resumed runs."""
        ...

    def submit(self, run: str, ticket: str) -> None:
        """Queue a run; the same id twice is one run."""
        ...

    def wait(self, run: str) -> None:
        """Return when the run has ended, whatever its outcome."""
        ...

    def unfinished(self) -> Sequence[str]:
        """Runs that have been submitted and have not ended."""
        ...

    def close(self) -> None:
        """Stop taking runs and let go of the place."""
        ...


#: What an engine calls to carry one run: `carry(run, ticket, steps)`.
Carry = Callable[[str, str, Steps], Any]
