"""The broker: opens a secret for one purpose and one repository, late, and lets go of it early.

Which secret may serve what is decided by `domain/rules.py`; every grant is on the log when it is minted
and when it ends, never with its value. This version opens secrets that already exist; it does not yet
mint short-lived ones, and says so in SECURITY.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ringfence.domain.boundary import Boundary
from ringfence.domain.decision import Deny
from ringfence.domain.errors import ControlMissing
from ringfence.domain.events import GrantMinted, GrantRevoked
from ringfence.domain.rules import secret_for
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.broker import Grant
from ringfence.ports.clock import Clock
from ringfence.ports.secret_source import SecretSource


class BoundaryBroker:
    """Implements ports/broker.py by a boundary and one source of secrets."""

    def __init__(self, boundary: Boundary, source: SecretSource, log: AuditLog, clock: Clock) -> None:
        self._boundary = boundary
        self._source = source
        self._log = log
        self._clock = clock

    @contextmanager
    def grant(self, run: str, purpose: str, repository: str) -> Iterator[Grant]:
        """A grant, recorded when minted and when it ends."""
        name = secret_for(self._boundary, purpose, repository)
        if isinstance(name, Deny):
            raise ControlMissing(
                f"no secret may be used for {purpose} of {repository}",
                where=f"boundary, rule {name.rule}",
                mend=f"list a secret with purpose {purpose} and this repository in the boundary's secrets",
            )
        secret = self._source.read(name)
        identity = f"{purpose}-{self._clock.token(4)}"
        self._log.append(run, GrantMinted(identity, purpose, repository, name))
        try:
            yield Grant(identity, purpose, repository, "ringfence", secret)
        finally:
            self._log.append(run, GrantRevoked(identity, "let go; the secret itself outlives the run"))

    def known_values(self) -> tuple[str, ...]:
        """Every secret value that this worker can open, for redaction at capture."""
        return tuple(self._source.read(name).reveal() for name in self._source.names())
