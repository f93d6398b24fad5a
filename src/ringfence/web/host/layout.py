"""Where a host keeps what: one directory, readable by its owner only, that holds all of it."""

import re
from dataclasses import dataclass
from pathlib import Path

from ringfence.web.host.git.policy import RepositoryPolicy
from ringfence.web.host.principals import read_json

REPOSITORY = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,38})/([A-Za-z0-9][A-Za-z0-9._-]{0,98})")
#: First parts of the host's own addresses.
RESERVED = frozenset({"repos", "user", "login", "logout", "static", "api", "app", "installation"})


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below a host's root."""

    root: Path

    @property
    def repositories(self) -> Path:
        """Directory of the bare repositories."""
        return self.root / "repositories"

    @property
    def registry(self) -> Path:
        """The repositories and their policies."""
        return self.root / "host.json"

    @property
    def principals(self) -> Path:
        """The principals, with digests of their tokens."""
        return self.root / "principals.json"

    @property
    def records(self) -> Path:
        """Pull requests, comments, reviews and statuses."""
        return self.root / "records.sqlite"

    @property
    def hooks(self) -> Path:
        """The one directory of hooks, for all repositories."""
        return self.root / "hooks"

    def bare(self, repository: str) -> Path:
        """The bare repository of a name that is_repository_name has found good."""
        return self.repositories / f"{repository}.git"

    def policies(self) -> dict[str, RepositoryPolicy]:
        """Every repository with its policy. Errors: `ControlMissing`."""
        return read_json(
            self.registry, lambda rows: {name: RepositoryPolicy.from_json(policy) for name, policy in rows.items()}
        )


def is_repository_name(name: str) -> bool:
    """`owner/name`, plain, and no address of the host itself."""
    found = REPOSITORY.fullmatch(name)
    return (
        found is not None
        and found[1] not in RESERVED
        and ".." not in name
        and not name.endswith((".git", ".", ".lock"))
    )
