"""Browsers that have logged in, and links that log one in once; only digests of either are kept."""

from dataclasses import dataclass
from pathlib import Path

from ringfence.web.host.store import change, connection, prepare

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    digest TEXT PRIMARY KEY, principal TEXT NOT NULL, csrf TEXT NOT NULL, expires REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS login_links (
    digest TEXT PRIMARY KEY, principal TEXT NOT NULL, expires REAL NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that has logged in. `csrf` stands in every form it is given."""

    digest: str
    principal: str
    csrf: str
    expires: float


class Logins:
    """Sessions and login links of a host."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def prepare(self) -> None:
        """Make the tables that are not there."""
        prepare(self._path, _SCHEMA)

    def begin(self, session: Session, now: float) -> None:
        """Keep a session; old ones go."""
        with change(self._path) as db:
            db.execute("DELETE FROM sessions WHERE expires < ?", (now,))
            row = (session.digest, session.principal, session.csrf, session.expires)
            db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", row)

    def find(self, digest: str, now: float) -> Session | None:
        """The living session of that digest."""
        with connection(self._path) as db:
            row = db.execute("SELECT * FROM sessions WHERE digest = ? AND expires > ?", (digest, now)).fetchone()
            return Session(*row) if row else None

    def end(self, digest: str) -> None:
        """Forget a session."""
        with change(self._path) as db:
            db.execute("DELETE FROM sessions WHERE digest = ?", (digest,))

    def add_link(self, digest: str, principal: str, expires: float) -> None:
        """Keep the digest of a login link."""
        with change(self._path) as db:
            db.execute("INSERT INTO login_links VALUES (?, ?, ?)", (digest, principal, expires))

    def use_link(self, digest: str, now: float) -> str | None:
        """Whom a link logs in; it is gone with this call."""
        with change(self._path) as db:
            db.execute("DELETE FROM login_links WHERE expires < ?", (now,))
            row = db.execute("DELETE FROM login_links WHERE digest = ? RETURNING principal", (digest,)).fetchone()
            return str(row[0]) if row else None
