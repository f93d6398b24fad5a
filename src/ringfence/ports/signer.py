"""The port of signers: who vouches for the evidence."""

from typing import Protocol


class Signer(Protocol):
    """Signs statements as DSSE envelopes (https://github.com/secure-systems-lab/dsse)."""

    @property
    def key_id(self) -> str:
        """Identifies the public key: `sha256:` over its DER SubjectPublicKeyInfo."""
        ...

    @property
    def public_key(self) -> bytes:
        """The public key, PEM SubjectPublicKeyInfo."""
        ...

    def sign(self, payload: bytes, payload_type: str) -> bytes:
        """A DSSE envelope as JSON bytes."""
        ...
