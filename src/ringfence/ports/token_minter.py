"""The port of token minters: a code host that makes short-lived credentials out of one that can do nothing else.

What is wanted carries a reference of the worker's own choosing, written down before the host is asked, so that a
token can be revoked also when the answer that held it was lost. A host that cannot revoke says so.
"""

from dataclasses import dataclass
from typing import Protocol

from ringfence.ports.broker import Secret


@dataclass(frozen=True, slots=True)
class Wanted:
    """A token for one repository. `write_prefix`: what it may push, None for reading only.

    With a slash at its end it is all branches below; without one it is that very branch.
    """

    reference: str
    repository: str
    write_prefix: str | None
    seconds: int

    @property
    def permissions(self) -> str:
        """What it may do, in words."""
        return "read" if self.write_prefix is None else f"write:{self.write_prefix}"


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was made exactly as wanted. Both times are by the host's clock, which alone decides."""

    secret: Secret
    username: str
    expires: float  # seconds since the epoch
    seconds: float  # from the moment of the answer


class TokenMinter(Protocol):
    """Mints and revokes at one code host. Errors: `HostFailed` when the host refuses or gives something else."""

    @property
    def host(self) -> str:
        """The address that the tokens are for."""
        ...

    def mint(self, minter: Secret, wanted: Wanted) -> Token:
        """A token that can do what is wanted, for no longer than wanted, and nothing else."""
        ...

    def revoke(self, minter: Secret, reference: str) -> bool:
        """End the token of that reference, made or not; True when the host says that it is out of use."""
        ...

    def refuses(self, secret: Secret) -> bool:
        """Try a token that should be dead: True when the host does not take it."""
        ...
