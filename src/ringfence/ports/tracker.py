"""The port of trackers: where tickets come from. A refused ticket is left alone."""

from collections.abc import Sequence
from typing import Protocol

from ringfence.domain.ticket import Ticket


class Tracker(Protocol):
    """Reads tickets; never changes one in this version."""

    def ticket(self, ticket_id: str) -> Ticket:
        """A fresh snapshot. Errors: `InputError` with file, line and mend when there is none or it is unreadable."""
        ...

    def approved(self) -> Sequence[Ticket]:
        """Tickets that wait for a worker, in a stable order. An unreadable one is reported, not returned."""
        ...
