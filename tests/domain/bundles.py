"""A whole run's bundle, ways to change it, and what a verification finds."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import HealthCheck, settings

from evidence_run import (
    Key,
    bundle,
    whole_run,
)
from ringfence.domain.attestation import CHECKPOINT_PAYLOAD, checkpoint
from ringfence.domain.bundle import read_bundle, write_bundle
from ringfence.domain.chain import Record, to_lines
from ringfence.domain.evidence import verify

#: On a busy machine a slow example is no finding.
CALM = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

KEY = Key()
RECORDS = whole_run(KEY)
WHOLE = bundle(KEY, RECORDS)
FOLLOWS_FROM_TRUST = ("end", "boundary", "artifacts", "statement", "order", "checks", "commit", "tree", "trailers")


def broken(content: bytes, key: bytes = KEY.public) -> list[str]:
    return [finding.check for finding in verify(content, key) if not finding.ok]


def said(content: bytes, check: str, key: bytes = KEY.public) -> str:
    return next(finding.detail for finding in verify(content, key) if finding.check == check)


def changed(**parts: object) -> bytes:
    return write_bundle(replace(read_bundle(WHOLE), **parts))


def signed_by(key: Key, records: Sequence[Record], **parts: object) -> bytes:
    """A bundle whose log and closing fit together, everything else from the whole one."""
    closing = key.sign(checkpoint(records), CHECKPOINT_PAYLOAD)
    return changed(log=to_lines(records), closing=closing, **parts)
