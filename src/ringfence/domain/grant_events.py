"""What is recorded of a grant: that it was asked for, given, used and ended. Never its value."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class GrantAsked:
    """A credential was about to be had; written before, so that a grant that a crash cut off can be revoked."""

    kind: ClassVar[str] = "grant.asked"
    grant: str
    purpose: str
    repository: str
    secret: str
    minter: str  # the secret that mints it; empty when it is not minted


@dataclass(frozen=True, slots=True)
class GrantMinted:
    """A credential was had for one purpose. Never its value."""

    kind: ClassVar[str] = "grant.minted"
    grant: str
    purpose: str
    repository: str
    secret: str
    source: str = "durable"  # "minted", "leased" or "durable"
    host: str = ""
    permissions: str = ""
    #: When it ends by itself, by the clock of whoever made it; None when it outlives the run.
    expires: float | None = None
    lease: str = ""


@dataclass(frozen=True, slots=True)
class GrantUsed:
    """A credential was opened for the first time."""

    kind: ClassVar[str] = "grant.used"
    grant: str


@dataclass(frozen=True, slots=True)
class GrantRevoked:
    """A credential of this run is out of use. `confirmed`: whoever made it refuses it, or says that it is gone."""

    kind: ClassVar[str] = "grant.revoked"
    grant: str
    how: str
    confirmed: bool = False
    uses: int = 0
