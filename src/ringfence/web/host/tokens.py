"""Short-lived tokens that a minter has made: for listed repositories, read or write below a prefix, revocable by name.

Only digests are kept. The host's own clock alone says when a token ends, whatever its bearer thinks the time
is. What a token may do is never more than its minter may give *now*: a minter that is taken out or cut
back takes its tokens with it.
"""

import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from ringfence.ports.clock import Clock
from ringfence.web.host.git.policy import reaches
from ringfence.web.host.principals import Permission, Principal, Principals, digest_of
from ringfence.web.host.store import change, connection, prepare

LONGEST_SECONDS = 3600
#: Chosen by whoever mints, so that a token can be revoked also when the answer that held it was lost.
REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,99}")
#: How far the host's clock may have gone back since a token was made before the token is out.
_BACKWARDS = 5.0
_KEPT_SECONDS = 86_400.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
    minter TEXT NOT NULL, reference TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, permissions TEXT NOT NULL,
    created REAL NOT NULL, expires REAL NOT NULL, revoked REAL,
    PRIMARY KEY (minter, reference)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Minted:
    """A token as the host keeps it: everything but the token."""

    minter: str
    reference: str
    digest: str
    permissions: dict[str, Permission]
    created: float
    expires: float
    revoked: float | None


def prepare_tokens(path: Path) -> None:
    """Make the table if it is not there."""
    prepare(path, _SCHEMA)


class Tokens:
    """The minted tokens of a host."""

    def __init__(self, path: Path, principals: Principals, clock: Clock) -> None:
        self._path = path
        self._principals = principals
        self._clock = clock

    def mint(
        self, minter: Principal, reference: str, permissions: dict[str, Permission], *, seconds: float
    ) -> tuple[str, Minted] | None:
        """A fresh token; None when the reference has been used, also by a revocation that came first."""
        token, now = f"rfm_{secrets.token_hex(32)}", self._clock.now()
        kept = Minted(minter.name, reference, digest_of(token), permissions, now, now + seconds, None)
        with change(self._path) as db:
            db.execute("DELETE FROM tokens WHERE expires < ?", (now - _KEPT_SECONDS,))
            added = db.execute("INSERT OR IGNORE INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?)", _row(kept))
            return (token, kept) if added.rowcount == 1 else None

    def find(self, minter: str, reference: str) -> Minted | None:
        """What is kept of a token."""
        with connection(self._path) as db:
            row = db.execute("SELECT * FROM tokens WHERE minter = ? AND reference = ?", (minter, reference)).fetchone()
            return _minted(row) if row else None

    def lives(self, minted: Minted) -> bool:
        """The token is taken at this moment, as far as time and revocation go."""
        now = self._clock.now()
        return minted.revoked is None and minted.created - _BACKWARDS <= now < minted.expires

    def revoke(self, minter: str, reference: str) -> Minted:
        """End a token now. A reference that was never used is used up: a mint on its way comes too late."""
        now = self._clock.now()
        never = Minted(minter, reference, f"never-{secrets.token_hex(16)}", {}, now, now + LONGEST_SECONDS, now)
        with change(self._path) as db:
            db.execute("INSERT OR IGNORE INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?)", _row(never))
            db.execute(
                "UPDATE tokens SET revoked = ? WHERE minter = ? AND reference = ? AND revoked IS NULL",
                (now, minter, reference),
            )
            found = db.execute("SELECT * FROM tokens WHERE minter = ? AND reference = ?", (minter, reference))
            return _minted(found.fetchone())

    def revoke_token(self, token: str) -> bool:
        """End the token that is shown; False when it is none, or ended already."""
        minted = self._living(token)
        if minted is not None:
            self.revoke(minted.minter, minted.reference)
        return minted is not None

    def authenticate(self, token: str) -> Principal | None:
        """The bearer of a living token: a worker with the minter's name, and no more than both may do."""
        minted = self._living(token)
        minter = self._principals.find(minted.minter) if minted is not None else None
        if minted is None or minter is None or minter.kind != "minter":
            return None
        pairs = {name: narrowed(wanted, minter.permissions.get(name)) for name, wanted in minted.permissions.items()}
        permissions = {name: found for name, found in pairs.items() if found is not None}
        return Principal(minter.name, "worker", permissions, minted.expires, minted.digest)

    def _living(self, token: str) -> Minted | None:
        with connection(self._path) as db:
            row = db.execute("SELECT * FROM tokens WHERE digest = ?", (digest_of(token),)).fetchone()
        minted = _minted(row) if row else None
        return minted if minted is not None and self.lives(minted) else None


def narrowed(wanted: Permission, most: Permission | None) -> Permission | None:
    """What is wanted, as far as `most` allows it; None when not even reading is."""
    if most is None or not most.read:
        return None
    within = most.write_prefix is not None and (
        wanted.write_prefix == most.write_prefix or reaches(most.write_prefix, wanted.write_prefix or "")
    )
    return Permission(write_prefix=wanted.write_prefix if within else None)


def _row(minted: Minted) -> tuple[str, str, str, str, float, float, float | None]:
    permissions = json.dumps({name: found.write_prefix for name, found in minted.permissions.items()})
    return (minted.minter, minted.reference, minted.digest, permissions, minted.created, minted.expires, minted.revoked)


def _minted(row: tuple[str, str, str, str, float, float, float | None]) -> Minted:
    permissions = {name: Permission(write_prefix=prefix) for name, prefix in json.loads(row[3]).items()}
    return Minted(row[0], row[1], row[2], permissions, row[4], row[5], row[6])
