"""The port of the content store: blobs by digest. Steps of a run pass digests, never blobs."""

from collections.abc import Set
from typing import Protocol


class Artifacts(Protocol):
    """Keeps redacted blobs. Digests are `sha256:<64 hex digits>`."""

    def put(self, content: bytes) -> str:
        """Redact and store a blob durably; the digest is that of the redacted bytes."""
        ...

    def get(self, digest: str) -> bytes:
        """The blob, checked against its digest. Errors: `EvidenceBroken` when missing or changed."""
        ...

    def sweep(self, named: Set[str], before: float) -> int:
        """Remove blobs that are not named and were last put before a time; how many. Only the sweep calls this."""
        ...
