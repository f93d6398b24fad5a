"""Starts the worker's own trusted programs (git) with an environment built from empty.

Untrusted commands never come through here; they go through a sandbox.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ringfence.domain.errors import ControlMissing, HostFailed


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes


def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: bytes = b"",
    descriptors: tuple[int, ...] = (),
    timeout: float = 600.0,
) -> Ended:
    """Run a program to its end. `timeout` is in seconds; `descriptors` stay open in the child."""
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            capture_output=True,
            env=dict(environment),
            pass_fds=descriptors,
            timeout=timeout,
            check=False,
            umask=0o022,
            cwd="/",
        )
    except FileNotFoundError:
        raise ControlMissing(f"{argv[0]} is not installed", mend=f"apt-get install {argv[0]}") from None
    except subprocess.TimeoutExpired:
        raise HostFailed(
            f"{argv[0]} {argv[1]} did not end within {timeout:g} s", mend="look at the code host"
        ) from None
    return Ended(done.returncode, done.stdout, done.stderr)
