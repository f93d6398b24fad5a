"""The SQLite file of a host: one connection a call, so that any number of threads and processes may use it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


def prepare(path: Path, schema: str) -> None:
    """Make the tables that are not there, in a file that only its owner reads."""
    path.touch(mode=0o600)
    with connection(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(schema)


@contextmanager
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for reading."""
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        yield db


@contextmanager
def change(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction: on the disk when the block ends well, as if never begun when it does not."""
    with connection(path) as db:
        db.execute("BEGIN IMMEDIATE")
        with db:  # commits, or rolls back
            yield db
