"""The embedded audit log: one SQLite file, written by any number of threads and processes.

A record is on the disk before `append` returns (WAL with synchronous=FULL). Triggers refuse changes, removals
and records out of order, which catches mistakes; against somebody who can write the file only the chain and
the signed evidence help. It neither signs nor judges what it stores.
"""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from ringfence.domain.chain import GENESIS, Record, canonical, link
from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.events import Event, to_json
from ringfence.ports.clock import Clock

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS records (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL, sequence INTEGER NOT NULL, time REAL NOT NULL, event TEXT NOT NULL,
        previous TEXT NOT NULL, hash TEXT NOT NULL, once TEXT,
        UNIQUE (run, sequence), UNIQUE (run, once))""",
    "CREATE TABLE IF NOT EXISTS forgetting (run TEXT PRIMARY KEY)",
    """CREATE TRIGGER IF NOT EXISTS records_never_change BEFORE UPDATE ON records
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS records_never_go BEFORE DELETE ON records
        WHEN NOT EXISTS (SELECT 1 FROM forgetting WHERE run = OLD.run)
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    # Also what stops INSERT OR REPLACE, for which SQLite runs no DELETE trigger.
    """CREATE TRIGGER IF NOT EXISTS records_come_in_order BEFORE INSERT ON records
        WHEN NEW.sequence != (SELECT COALESCE(MAX(sequence) + 1, 0) FROM records WHERE run = NEW.run)
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
)
_COLUMNS = "run, sequence, time, event, previous, hash"
_LAST_KINDS = frozenset({"run.ended", "ticket.refused"})
_POLL_SECONDS = 0.1
_BUSY_SECONDS = 30.0


class SqliteAuditLog:
    """Keeps the records of all runs in one file (0600). Make one in each process; it does not outlive a fork."""

    def __init__(self, path: Path, *, clock: Clock, redact: Callable[[str], str]) -> None:
        self._path = path
        self._clock = clock
        self._redact = redact
        self._lock = Lock()
        with self._speaking_plainly("opened"):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            self._inode = self._identity()
            self._connection = _connect(path)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def append(self, run: str, event: Event, *, once: str | None = None) -> Record:
        """Redact, link and write one event durably; a `once` key that is taken gives back its record."""
        with self._lock, self._speaking_plainly("written"):
            stored = canonical(_redacted(to_json(event), self._redact)).decode()
            with self._transaction() as write:
                if once is not None:
                    row = write.execute(
                        f"SELECT {_COLUMNS} FROM records WHERE run = ? AND once = ?",  # noqa: S608 - constant
                        (run, once),
                    ).fetchone()
                    if row is not None:
                        return _record(row)
                last = write.execute(
                    "SELECT sequence, hash FROM records WHERE run = ? ORDER BY sequence DESC LIMIT 1", (run,)
                ).fetchone()
                sequence, previous = (last[0] + 1, last[1]) if last else (0, GENESIS)
                # Read inside the transaction, so that times rise with sequence numbers among honest clocks.
                record = link(run, sequence, float(self._clock.now()), json.loads(stored), previous)
                write.execute(
                    f"INSERT INTO records ({_COLUMNS}, once) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
                    (run, sequence, record.time, stored, previous, record.hash, once),
                )
            return record

    def records(self, run: str, *, after: int = -1) -> Sequence[Record]:
        """The records of a run in order, those with a sequence number above `after`."""
        with self._lock, self._speaking_plainly("read"):
            self._require_same_file()
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM records WHERE run = ? AND sequence > ? ORDER BY sequence",  # noqa: S608
                (run, after),
            ).fetchall()
            return [_record(row) for row in rows]

    def since(self, when: float) -> Sequence[Record]:
        """The records of all runs from a time on, in the order in which they were written."""
        with self._lock, self._speaking_plainly("read"):
            self._require_same_file()
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM records WHERE time >= ? ORDER BY position",  # noqa: S608 - constant
                (when,),
            ).fetchall()
            return [_record(row) for row in rows]

    def runs(self) -> Sequence[str]:
        """All run ids that have a record, the newest first."""
        with self._lock, self._speaking_plainly("read"):
            self._require_same_file()
            rows = self._connection.execute(
                "SELECT run FROM records GROUP BY run ORDER BY MIN(position) DESC"
            ).fetchall()
            return [row[0] for row in rows]

    def forget(self, run: str) -> None:
        """Remove a run whose retention has passed: the one way past the triggers, in one transaction."""
        with self._lock, self._speaking_plainly("written"), self._transaction() as write:
            write.execute("INSERT OR IGNORE INTO forgetting VALUES (?)", (run,))
            write.execute("DELETE FROM records WHERE run = ?", (run,))
            write.execute("DELETE FROM forgetting WHERE run = ?", (run,))

    def follow(self, run: str) -> Iterator[Record]:
        """Yield records as they come, until `run.ended` or `ticket.refused`; waits for a run that is not there yet."""
        after = -1
        while True:
            for record in self.records(run, after=after):
                yield record
                after = record.sequence
                if record.event.get("kind") in _LAST_KINDS:
                    return
            time.sleep(_POLL_SECONDS)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._require_same_file()
        # IMMEDIATE takes the write lock before the last record is read: two writers never link to the same one.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:  # something above failed; SQLite rolls some failures back itself
                self._connection.execute("ROLLBACK")

    def _identity(self) -> tuple[int, int]:
        found = self._path.stat(follow_symlinks=False)
        return found.st_dev, found.st_ino

    def _require_same_file(self) -> None:
        """A log that was deleted or replaced under us would swallow records: writing to it counts as failing."""
        if self._identity() != self._inode:
            raise EvidenceBroken("the audit log was replaced while it was open", where=str(self._path), mend=_MEND)

    @contextmanager
    def _speaking_plainly(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError) as failure:
            raise EvidenceBroken(
                f"the audit log cannot be {verb}: {failure}", where=str(self._path), mend=_MEND
            ) from failure


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands by the log: whose it is, whether a halt has closed it, whether it has ended."""

    run: str
    repository: str
    halted: float | None  # seconds from the halt to when all of the run was closed
    closed: float  # when that was written down, in seconds since the epoch
    ended: bool


def standing(path: Path, seconds: float = 1.0) -> tuple[Standing, ...]:
    """How all runs stand, read without writing, without a schema and without patience: for a kill switch.

    Errors: `EvidenceBroken` when the file cannot be read so; what it holds is not judged.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    times: dict[str, float] = {}
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=seconds)
        try:
            for run, when, event in connection.execute("SELECT run, time, event FROM records"):
                said = json.loads(event)
                found.setdefault(run, {})[str(said.get("kind"))] = said
                if said.get("kind") == "run.halted":
                    times[run] = float(when)
        finally:
            connection.close()
    except (sqlite3.Error, OSError, ValueError, AttributeError, TypeError) as failure:
        raise EvidenceBroken(f"the audit log cannot be read: {failure}", where=str(path), mend=_MEND) from failure
    return tuple(
        Standing(
            run,
            str(kinds.get("ticket.admitted", {}).get("repository", "")),
            kinds["run.halted"].get("seconds") if "run.halted" in kinds else None,
            times.get(run, 0.0),
            bool(_LAST_KINDS & kinds.keys()),
        )
        for run, kinds in found.items()
        if "run.started" in kinds
    )


_MEND = "look at the disk (space, permissions, who else touches the file); no run goes on without its log"


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("COMMIT")
    return connection


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Ask until it is so: SQLite does not wait for the lock when two processes switch a new file at once."""
    for _ in range(100):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            time.sleep(0.05)
        else:
            return
    connection.execute("PRAGMA journal_mode=WAL")


def _record(row: tuple[str, int, float, str, str, str]) -> Record:
    run, sequence, when, event, previous, digest = row
    return Record(run, sequence, when, json.loads(event), previous, digest)


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Every text of an event through `redact`, except its kind and its field names, which are ours."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted(item, redact) for item in value]
    if isinstance(value, dict):
        return {key: item if key == "kind" else _redacted(item, redact) for key, item in value.items()}
    return value
