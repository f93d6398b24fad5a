"""The removal of model exchanges from a run's evidence: what is recorded of it, and how it is said.

Their bodies may be kept for less time than the log that names them. A record after the end of the run says that they
are gone, so that what was removed can be told from what is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from ringfence.domain.chain import Record
from ringfence.domain.measures import duration_text


@dataclass(frozen=True, slots=True)
class BodiesRemoved:
    """The bodies of the run's model exchanges were removed; the only event that may follow the end of a run."""

    kind: ClassVar[str] = "bodies.removed"
    bodies: int  # how many digests of the log have no content any more
    retention: int  # seconds after the end of the run
    boundary: str  # digest of the document that says so, which may be a later one than the run's


def removal(records: Sequence[Record]) -> Record | None:
    """The record that says so. It can only be the last."""
    return records[-1] if records and records[-1].event.get("kind") == BodiesRemoved.kind else None


def without_removal(records: Sequence[Record]) -> Sequence[Record]:
    """The records up to the end of the run."""
    return records[:-1] if removal(records) is not None else records


def said(record: Record) -> str:
    """`removed on 2026-12-07 under the boundary's retention of 14d`."""
    event: dict[str, Any] = record.event
    day = datetime.fromtimestamp(record.time, UTC).date().isoformat()
    return f"removed on {day} under the boundary's retention of {duration_text(event['retention'])}"
