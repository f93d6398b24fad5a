"""The archive of ended runs: logs, bundles and the content store, and what goes from each when its time is over.

A run's log says what of it is gone; the content store keeps what some log still names. So a sweep that is cut off
leaves nothing that the next one does not find.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ringfence.domain.bodies import BodiesRemoved, removal, said, without_removal
from ringfence.domain.boundary import Logs
from ringfence.domain.bundle import LOG_AT, read_bundle
from ringfence.domain.chain import Record, to_lines
from ringfence.domain.errors import EvidenceBroken, InputError
from ringfence.domain.events import RunEnded, RunStarted, from_json
from ringfence.domain.evidence import without_bodies
from ringfence.domain.facts import Facts, gather
from ringfence.pipeline.files import put_in_place
from ringfence.pipeline.orders import Orders
from ringfence.pipeline.ports import Places
from ringfence.ports.artifacts import Artifacts
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.clock import Clock
from ringfence.ports.signer import Signer

#: A blob is stored before the record that names it is written: one that was stored this short ago may be named yet.
_SETTLED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Archive:
    """What is kept of runs."""

    places: Places
    log: AuditLog
    artifacts: Artifacts
    signer: Signer
    clock: Clock

    def forget(self, logs: Logs) -> tuple[str, ...]:
        """Forget runs that ended longer ago than logs are kept, with their bundles; which."""
        removed = []
        for run, _records in self._ended(logs.retention):
            _drop_unfinished(self.places.bundle(run))
            self.places.bundle(run).unlink(missing_ok=True)
            self.log.forget(run)
            removed.append(run)
        return tuple(removed)

    def remove_bodies(self, logs: Logs, boundary: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Record that model exchanges are past their time and take them out of bundles: which runs, and what is left.

        `boundary` is the digest of the document. Their blobs go with `collect`, when no other log names them.
        """
        removed, left = [], []
        for run, records in self._ended(logs.bodies_kept):
            try:
                if removal(records) is None:
                    gone = _facts(run, records).bodies
                    if not any(map(self._holds, gone)) and not (logs.exchanges == "full" and self._bundled(run, gone)):
                        continue  # there were none, or the boundary had only their digests kept
                    self.log.append(run, BodiesRemoved(len(gone), logs.bodies_kept, boundary), once=BodiesRemoved.kind)
                    removed.append(run)
                self._renew(self.places.bundle(run), self.log.records(run))
            except EvidenceBroken as broken:
                left.append(f"model exchanges of {run}, or of its bundle: {broken.what}")
        return tuple(removed), tuple(left)

    def collect(self) -> int:
        """Remove blobs that no log names, or only as the body of an exchange that is past its time; how many."""
        named: set[str] = set()
        before = self.clock.now() - _SETTLED_SECONDS
        for run in self.log.runs():
            records = self.log.records(run)
            gone = _facts(run, records).bodies if removal(records) is not None else frozenset()
            named |= _digests([record.event for record in records]) - gone
            if not _over(records):
                before = min(before, records[0].time)  # what it has stored since it began, it may name yet
        return self.artifacts.sweep(named, before)

    def _ended(self, seconds: float) -> list[tuple[str, list[Record]]]:
        """Runs that ended longer ago than this, with their records; what is quarantined is kept.

        What no worker carried (a preview, a grant of `doctor`) was over with its last record.
        """
        kept, found = Orders(self.places.state).all_quarantined(), []
        for run in self.log.runs():
            records = list(self.log.records(run))
            own = without_removal(records)
            ends = [one.time for one in own if one.event.get("kind") == RunEnded.kind or not _carried(records)]
            if ends and run not in kept and self.clock.now() - ends[-1] > seconds:
                found.append((run, records))
        return found

    def _holds(self, digest: str) -> bool:
        try:
            self.artifacts.get(digest)
        except EvidenceBroken:
            return False
        return True

    def _bundled(self, run: str, bodies: frozenset[str]) -> bool:
        """Whether the bundle still has what the content store has lost."""
        bundle = self.places.bundle(run)
        return bool(bodies) and bundle.exists() and not bodies.isdisjoint(read_bundle(bundle.read_bytes()).artifacts)

    def _renew(self, bundle: Path, records: Sequence[Record]) -> None:
        """Write a bundle again without what was removed, unless it says so already."""
        _drop_unfinished(bundle)
        lines = to_lines(records)
        if not bundle.exists() or _begins_with(bundle, lines):
            return
        again = without_bodies(bundle.read_bytes(), records, self.signer.sign, self.signer.public_key)
        put_in_place(bundle, again)


def content(log: AuditLog, artifacts: Artifacts, run: str, digest: str) -> bytes:
    """What a run's log names by a digest. Errors: `InputError` when it was removed, `EvidenceBroken` when lost."""
    records = log.records(run)
    if digest not in _digests([record.event for record in records]):
        raise InputError(f"the log of {run} does not name {digest[:80]!a}", mend=f"`ringfence logs {run}` shows what")
    gone = removal(records)
    if gone is not None and digest in _facts(run, records).bodies:
        raise InputError(
            f"the body of this model exchange was {said(gone)}",
            where=f"{run}, {digest}",
            mend="there is none any more; the log and the evidence name it by its digest, and hold",
        )
    return artifacts.get(digest)


def _drop_unfinished(bundle: Path) -> None:
    """What a killed process left of writing a bundle has bodies too."""
    for left in bundle.parent.glob(f".{bundle.name}.*"):
        left.unlink(missing_ok=True)


def _begins_with(bundle: Path, log: bytes) -> bool:
    """Whether a bundle has this log, which is its first member; only that is read."""
    with bundle.open("rb") as file:
        file.seek(LOG_AT)
        return file.read(len(log)) == log


def _facts(run: str, records: Sequence[Record]) -> Facts:
    return gather(run, (from_json(record.event) for record in records))


def _carried(records: Sequence[Record]) -> bool:
    """Whether a worker carries it, or has: a preview and a grant of `doctor` have no end of their own."""
    return any(record.event.get("kind") == RunStarted.kind for record in records)


def _over(records: Sequence[Record]) -> bool:
    return not _carried(records) or any(record.event.get("kind") == RunEnded.kind for record in records)


def _digests(value: object) -> frozenset[str]:
    """Every text of some events that is a digest, whatever it is the digest of."""
    if isinstance(value, str):
        return frozenset((value,)) if value.startswith("sha256:") else frozenset()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return frozenset(digest for part in parts for digest in _digests(part))
