"""Evidence: the log so far becomes a signed statement about one commit; at the end, the whole becomes a bundle.

The statement is computed from the records alone (`domain/attestation.py`), so it cannot say what the log
does not. The raw commit object is kept, so that a bundle can be verified without a repository.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ringfence.domain import evidence
from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.events import EvidenceSealed, RunEnded, from_json
from ringfence.pipeline.files import put_in_place
from ringfence.ports.artifacts import Artifacts
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.signer import Signer


@dataclass(frozen=True, slots=True)
class Sealed:
    """A signed statement, by the digest of its envelope."""

    digest: str
    records: int

    @property
    def line(self) -> str:
        """One line for a person."""
        return f"{self.records} records, statement {self.digest[:19]}"


def seal(run: str, commit: bytes, log: AuditLog, artifacts: Artifacts, signer: Signer) -> Sealed:
    """Sign what is on record. Errors: `EvidenceBroken` when the commit holds something that must be redacted."""
    kept = artifacts.put(commit)
    if artifacts.get(kept) != commit:
        raise EvidenceBroken(
            "the commit object holds something that must be redacted", mend="look at the ticket's title"
        )
    _envelope, sealed = evidence.seal(log.records(run), signer.sign, signer.key_id)
    log.append(run, replace(sealed, commit_object=kept), once=f"evidence.sealed/{sealed.digest}")
    return Sealed(sealed.digest, sealed.records)


def bundle(run: str, boundary: bytes, path: Path, *, log: AuditLog, artifacts: Artifacts, signer: Signer) -> None:
    """Write the bundle of a run that has ended, durably; writing it again gives the same bytes."""
    records = log.records(run)
    events = [from_json(record.event) for record in records]
    if not events or not isinstance(events[-1], RunEnded):
        raise EvidenceBroken(f"run {run} has not ended; a bundle is made of what cannot grow any more")
    sealed = [event for event in events if isinstance(event, EvidenceSealed)]
    commit = artifacts.get(sealed[-1].commit_object) if sealed else None
    sources = evidence.Sources(signer.sign, signer.public_key, boundary, commit, _fetch(artifacts))
    put_in_place(path, evidence.bundle_of(records, sources))


def _fetch(artifacts: Artifacts) -> Callable[[str], bytes | None]:
    """The content store as a bundle asks it: a blob that is gone is left out, and verification says so."""

    def fetch(digest: str) -> bytes | None:
        try:
            return artifacts.get(digest)
        except EvidenceBroken:
            return None

    return fetch
