"""A ticket as the worker sees it: a snapshot, with the digest that admission records.

It does not know where tickets are kept; adapters/trackers do.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass

_SLUG = re.compile(r"[^a-z0-9]+")
#: Ticket ids become part of branch names and paths, so only these spellings are taken.
TICKET_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request for a change, as it stood when it was read. Title and body are untrusted text."""

    id: str
    title: str
    body: str
    type: str
    repository: str
    requester: str
    approved_by: tuple[str, ...] = ()
    #: A ticket may ask for less than the repository's stage allows ("observe", "branch"), never for more.
    stage: str | None = None
    url: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over the whole snapshot: an edit after approval is seen."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def slug(self) -> str:
        """The title as at most 40 characters of `[a-z0-9-]`, for branch names."""
        return _SLUG.sub("-", self.title.lower())[:40].strip("-") or "change"
