"""What a person did to a run from outside, as events: cancelled, halted, quarantined, released.

Part of the closed union in events.py, which is where others take them from.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """A person asked for the end of the run."""

    kind: ClassVar[str] = "run.cancel_requested"
    by: str


@dataclass(frozen=True, slots=True)
class RunHalted:
    """A halt ended the run: by now its sandbox is dead, its doors are closed and its grants are let go.

    `seconds` is from the halt to now.
    """

    kind: ClassVar[str] = "run.halted"
    scope: str  # "all runs", "repository acme/tiny", "run INV-7-r1"
    by: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RunQuarantined:
    """The run's processes were frozen and everything of it is kept for inspection."""

    kind: ClassVar[str] = "run.quarantined"
    by: str
    reason: str
    processes: int
    how: str


@dataclass(frozen=True, slots=True)
class RunReleased:
    """The quarantine ended; what was frozen was killed."""

    kind: ClassVar[str] = "run.released"
    by: str
    processes: int
