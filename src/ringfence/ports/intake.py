"""The port of intake: how objects come out of a sandbox, and how they get in.

It has neither a network nor a credential: an upload-pack that runs inside a sandbox speaks over a
descriptor, and every object that comes in is checked before it is kept.
"""

from pathlib import Path
from typing import Protocol


class Intake(Protocol):
    """Moves objects between a trusted bare repository and sandboxes."""

    def fetch_from_sandbox(self, intake: Path, reading: int, writing: int, ref: str) -> None:
        """Take `refs/heads/agent` in, as `ref`. Errors: `HostFailed`, and then nothing is kept."""
        ...

    def pack(self, repo: Path, want: str, have: str) -> bytes:
        """A thin pack with what `want` has beyond `have`, for a tree that is made inside a sandbox."""
        ...
