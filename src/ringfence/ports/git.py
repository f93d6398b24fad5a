"""The port of git transport: mirrors kept between runs, the intake of a run, and the push.

Two repositories matter. The *mirror* of a repository is a bare clone kept between runs. The *intake* of a
run is a bare repository that borrows the mirror's objects; the agent's tree comes in there, through
upload-pack run inside a sandbox, and the push goes out from there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ringfence.ports.broker import Grant


@dataclass(frozen=True, slots=True)
class Leash:
    """By what git with the network is ended in the middle: a reason to stop, and a mark for who cannot ask the worker.

    A push that is ended has happened at the host as a whole, or not at all.
    """

    mark: str = ""
    stop: Callable[[], str | None] = lambda: None


FREE = Leash()


class Git(Protocol):
    """Host-side git with the network. Errors: `HostFailed` with what git said, redacted."""

    def refresh_mirror(self, repository: str, url: str, grant: Grant, leash: Leash = FREE) -> Path:
        """Make the mirror hold what the host has now; safe when several runs want it."""
        ...

    def make_intake(self, path: Path, mirror: Path, base: str) -> Path:
        """A fresh bare repository that borrows the mirror's objects."""
        ...

    def push(self, repo: Path, url: str, commit: str, ref: str, grant: Grant, leash: Leash = FREE) -> bool:
        """Push exactly `commit` to `ref`, never by force; False when the host had it already."""
        ...

    def remote_ref(self, url: str, ref: str, grant: Grant, leash: Leash = FREE) -> str | None:
        """What the host has at `ref`."""
        ...

    def mirror(self, repository: str) -> Path:
        """Where the mirror of a repository is, whether or not it exists: an opaque name, seen inside sandboxes."""
        ...
