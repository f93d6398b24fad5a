"""The port of the audit log: append-only, hash-chained per run. An allow that cannot be recorded is a deny."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from ringfence.domain.chain import Record
from ringfence.domain.events import Event


class AuditLog(Protocol):
    """Keeps the records of all runs. Every text in an event is redacted before it is stored."""

    def append(self, run: str, event: Event, *, once: str | None = None) -> Record:
        """Write one event durably and return its record.

        With `once`, an event of this run that was written under the same key is returned instead of
        written again, so that a step repeated after a crash records its effect one time. Safe to call
        from several threads and processes. Errors: `EvidenceBroken` when it cannot be written.
        """
        ...

    def records(self, run: str, *, after: int = -1) -> Sequence[Record]:
        """The records of a run in order, those with a sequence number above `after`."""
        ...

    def since(self, when: float) -> Sequence[Record]:
        """The records of all runs that were written at a time (seconds since the epoch) or later, in that order."""
        ...

    def runs(self) -> Sequence[str]:
        """All run ids that have a record, the newest first."""
        ...

    def forget(self, run: str) -> None:
        """Remove a run whose retention has passed. Only the sweep calls this."""
        ...

    def follow(self, run: str) -> Iterator[Record]:
        """Yield records as they come, until `run.ended` or `ticket.refused`."""
        ...
