"""Audit log: records appended and verified in a second. `python benchmarks/audit_log.py`"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from table import Row, rate, show

from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.domain.chain import GENESIS, Record, first_break, link, read_lines, to_lines
from ringfence.domain.events import CheckEnded, CommandRan, Event, ModelCalled, StageEnded, StageStarted, to_json
from ringfence.domain.redaction import Redactor

RUNS = 20
APPENDED = 100
VERIFIED = 10_000
RUN = "INV-1-r1"
DIGEST = "sha256:" + "0123456789abcdef" * 4

EVENTS: tuple[Event, ...] = (
    StageStarted("work", 1),
    CommandRan("agent", ("sh", "-c", "python -m pytest -q"), 0, None, 1.25, 0.75, 123_456_789, DIGEST, 1200),
    ModelCalled("agent/1", "local", "openai", "coder", "allow", "models.routes", "", 200, 1000, 200, False, 12.5, 3.25,
                DIGEST, DIGEST, False),
    CheckEnded("patch", 1, "0" * 40, "test", "test", ("python", "-m", "pytest"), True, 0, None, 2.5, DIGEST, True),
    StageEnded("work", 1, 12.5, "3 files, +12 -4, commit 0123456789ab"),
)  # fmt: skip


def rows() -> Iterator[Row]:
    """What is measured, one row after the other."""
    redact = Redactor([os.urandom(16).hex().encode() for _ in range(5)]).redact_text
    with tempfile.TemporaryDirectory() as place:
        log = SqliteAuditLog(Path(place) / "audit.sqlite", clock=SystemClock(), redact=redact)
        samples = tuple(rate(APPENDED, lambda: _append(log)) for _ in range(RUNS))
        log.close()
        yield Row("append: redact, link, write, fsync", "records/s", samples)
        yield Row("the disk alone: write a record's bytes, fsync", "records/s", _disk(Path(place) / "bare"))
    records = _records()
    content = to_lines(records)
    yield Row("verify the lines of a bundle", "records/s", _rates(lambda: read_lines(content, RUN)))
    yield Row("verify records of the log", "records/s", _rates(lambda: first_break(records, RUN)))


def _append(log: SqliteAuditLog) -> None:
    for number in range(APPENDED):
        log.append(RUN, EVENTS[number % len(EVENTS)])


def _disk(path: Path) -> tuple[float, ...]:
    """What the same number of durable writes costs without a log, on the same disk, in the same minute."""

    def write() -> None:
        with path.open("ab") as file:
            for _ in range(APPENDED):
                file.write(b"x" * 600)
                file.flush()
                os.fdatasync(file.fileno())

    return tuple(rate(APPENDED, write) for _ in range(RUNS))


def _records() -> list[Record]:
    records: list[Record] = []
    previous = GENESIS
    for number in range(VERIFIED):
        record = link(RUN, number, 1_790_000_000.123 + number, to_json(EVENTS[number % len(EVENTS)]), previous)
        records.append(record)
        previous = record.hash
    return records


def _rates(verify: object) -> tuple[float, ...]:
    assert callable(verify)
    return tuple(rate(VERIFIED, verify) for _ in range(RUNS))


if __name__ == "__main__":
    show(rows())
