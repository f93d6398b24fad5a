"""Pull requests and what people and workers said about them, in one SQLite file.

Every change is one transaction that is on the disk before the answer goes out; a killed server loses
nothing that it confirmed. Rules stand in pulls.py, not here: this module keeps and finds.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ringfence.web.host.store import change, connection, prepare

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pulls (
    repository TEXT NOT NULL, number INTEGER NOT NULL, head TEXT NOT NULL, base TEXT NOT NULL,
    title TEXT NOT NULL, body TEXT NOT NULL, draft INTEGER NOT NULL, author TEXT NOT NULL,
    author_kind TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'merged')),
    head_sha TEXT NOT NULL, base_sha TEXT NOT NULL, merge_commit TEXT,
    created REAL NOT NULL, updated REAL NOT NULL, closed REAL,
    PRIMARY KEY (repository, number)
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS one_open ON pulls (repository, head) WHERE state = 'open';
CREATE TABLE IF NOT EXISTS remarks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, repository TEXT NOT NULL, number INTEGER NOT NULL,
    author TEXT NOT NULL, author_kind TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    sha TEXT NOT NULL, created REAL NOT NULL,
    FOREIGN KEY (repository, number) REFERENCES pulls (repository, number)
) STRICT;
CREATE INDEX IF NOT EXISTS remarks_of ON remarks (repository, number);
CREATE TABLE IF NOT EXISTS statuses (
    id INTEGER PRIMARY KEY AUTOINCREMENT, repository TEXT NOT NULL, sha TEXT NOT NULL, context TEXT NOT NULL,
    state TEXT NOT NULL, description TEXT NOT NULL, target_url TEXT, creator TEXT NOT NULL, created REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS statuses_of ON statuses (repository, sha);
CREATE TABLE IF NOT EXISTS merges (
    repository TEXT NOT NULL, number INTEGER NOT NULL, sha TEXT NOT NULL, actor TEXT NOT NULL,
    PRIMARY KEY (repository, number)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull request as it is kept; `head_sha` and `base_sha` are what was there when it last changed state."""

    repository: str
    number: int
    head: str
    base: str
    title: str
    body: str
    draft: int
    author: str
    author_kind: str
    state: str
    head_sha: str
    base_sha: str
    merge_commit: str | None
    created: float
    updated: float
    closed: float | None


@dataclass(frozen=True, slots=True)
class Remark:
    """One line of a pull request's history: a comment, a review, or something that was done.

    `kind`: comment, APPROVED, CHANGES_REQUESTED, COMMENTED, or ready, closed, reopened, merged.
    """

    id: int
    repository: str
    number: int
    author: str
    author_kind: str
    kind: str
    body: str
    sha: str
    created: float


@dataclass(frozen=True, slots=True)
class Status:
    """One status of one commit."""

    id: int
    repository: str
    sha: str
    context: str
    state: str
    description: str
    target_url: str | None
    creator: str
    created: float


class Records:
    """The records of all repositories of a host."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def prepare(self) -> None:
        """Make the tables that are not there."""
        prepare(self._path, _SCHEMA)

    def add_pull(self, pull: Pull) -> Pull | None:
        """Keep a new pull request under the next number; None when its branch has an open one."""
        with change(self._path) as db:
            row = db.execute("SELECT max(number) FROM pulls WHERE repository = ?", (pull.repository,)).fetchone()
            try:
                db.execute(
                    f"INSERT INTO pulls VALUES ({', '.join('?' * 16)})",  # noqa: S608 - question marks only
                    (pull.repository, (row[0] or 0) + 1, pull.head, pull.base, pull.title, pull.body, pull.draft,
                     pull.author, pull.author_kind, pull.state, pull.head_sha, pull.base_sha, pull.merge_commit,
                     pull.created, pull.updated, pull.closed),
                )  # fmt: skip
            except sqlite3.IntegrityError:
                return None
            return _pull(db, pull.repository, (row[0] or 0) + 1)

    def change_pull(self, before: Pull, after: Pull, *, remark: Remark | None = None) -> bool:
        """Store a changed pull request and what is remarked of it; False when it is no longer as it was `before`."""
        with change(self._path) as db:
            try:
                done = db.execute(
                    "UPDATE pulls SET title = ?, body = ?, draft = ?, state = ?, base = ?, head_sha = ?, base_sha = ?,"
                    " merge_commit = ?, updated = ?, closed = ?"
                    " WHERE repository = ? AND number = ? AND updated = ? AND state = ?",
                    (after.title, after.body, after.draft, after.state, after.base, after.head_sha, after.base_sha,
                     after.merge_commit, max(after.updated, before.updated + 1e-5), after.closed,
                     before.repository, before.number, before.updated, before.state),
                )  # fmt: skip
            except sqlite3.IntegrityError:
                return False
            if done.rowcount != 1:
                return False
            if after.state == "merged":
                db.execute("DELETE FROM merges WHERE repository = ? AND number = ?", (after.repository, after.number))
            if remark is not None:
                _add_remark(db, remark)
        return True

    def pull(self, repository: str, number: int) -> Pull | None:
        """One pull request."""
        with connection(self._path) as db:
            return _pull(db, repository, number)

    def pulls(self, repository: str, *, state: str = "", head: str = "", base: str = "") -> list[Pull]:
        """The pull requests of a repository, newest first; an empty filter lets all through."""
        with connection(self._path) as db:
            rows = db.execute(
                "SELECT * FROM pulls WHERE repository = ?1"
                " AND (?2 = '' OR state = ?2 OR (?2 = 'done' AND state <> 'open'))"
                " AND (?3 = '' OR head = ?3) AND (?4 = '' OR base = ?4) ORDER BY number DESC",
                (repository, state, head, base),
            )
            return [Pull(*row) for row in rows]

    def add_remark(self, remark: Remark) -> Remark:
        """Keep a comment or a review; its id is given here."""
        with change(self._path) as db:
            number = _add_remark(db, remark)
            return Remark(*db.execute("SELECT * FROM remarks WHERE id = ?", (number,)).fetchone())

    def remarks(self, repository: str, number: int) -> list[Remark]:
        """The history of a pull request, oldest first."""
        with connection(self._path) as db:
            rows = db.execute(
                "SELECT * FROM remarks WHERE repository = ? AND number = ? ORDER BY id", (repository, number)
            )
            return [Remark(*row) for row in rows]

    def add_status(self, status: Status) -> Status:
        """Keep a status; its id is given here."""
        with change(self._path) as db:
            cursor = db.execute(
                "INSERT INTO statuses (repository, sha, context, state, description, target_url, creator, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (status.repository, status.sha, status.context, status.state, status.description, status.target_url,
                 status.creator, status.created),
            )  # fmt: skip
            return Status(*db.execute("SELECT * FROM statuses WHERE id = ?", (cursor.lastrowid,)).fetchone())

    def statuses(self, repository: str, sha: str) -> list[Status]:
        """All statuses of a commit, newest first."""
        with connection(self._path) as db:
            rows = db.execute(
                "SELECT * FROM statuses WHERE repository = ? AND sha = ? ORDER BY id DESC", (repository, sha)
            )
            return [Status(*row) for row in rows]

    def intend_merge(self, repository: str, number: int, *, sha: str, actor: str) -> bool:
        """Say that a merge is about to move the base branch to `sha`; False when one is under way."""
        with change(self._path) as db:
            row = (repository, number, sha, actor)
            return db.execute("INSERT OR IGNORE INTO merges VALUES (?, ?, ?, ?)", row).rowcount == 1

    def drop_merge(self, repository: str, number: int) -> None:
        """Forget an intended merge that did not happen."""
        with change(self._path) as db:
            db.execute("DELETE FROM merges WHERE repository = ? AND number = ?", (repository, number))

    def intended_merges(self) -> list[tuple[str, int, str, str]]:
        """Merges that a stopped server left half done: repository, number, commit, actor."""
        with connection(self._path) as db:
            return [(row[0], row[1], row[2], row[3]) for row in db.execute("SELECT * FROM merges")]


def _pull(db: sqlite3.Connection, repository: str, number: int) -> Pull | None:
    row = db.execute("SELECT * FROM pulls WHERE repository = ? AND number = ?", (repository, number)).fetchone()
    return Pull(*row) if row else None


def _add_remark(db: sqlite3.Connection, remark: Remark) -> int | None:
    return db.execute(
        "INSERT INTO remarks (repository, number, author, author_kind, kind, body, sha, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (remark.repository, remark.number, remark.author, remark.author_kind, remark.kind, remark.body, remark.sha,
         remark.created),
    ).lastrowid  # fmt: skip
