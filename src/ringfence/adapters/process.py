"""Starts the worker's own trusted programs (git) with an environment built from empty.

Untrusted commands never come through here; they go through a sandbox.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ringfence.domain.errors import ControlMissing, HostFailed, RunStopped

_ASK = 0.2  # seconds between two questions to `stop`
_GRACE = 0.5  # seconds to end well


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
    stop: Callable[[], str | None] = lambda: None,
) -> Ended:
    """Run a program to its end. `timeout` is in seconds; `descriptors` stay open in the child.

    `stop` is asked several times a second; with a reason the program and all that it started are killed.
    Errors: `RunStopped` with that reason, `HostFailed` after the timeout, `ControlMissing` for what is not installed.
    """
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            pass_fds=descriptors,
            umask=0o022,
            cwd="/",
            start_new_session=True,
        )
    except FileNotFoundError:
        raise ControlMissing(f"{argv[0]} is not installed", mend=f"apt-get install {argv[0]}") from None
    with child:
        try:
            stdout, stderr = _talk(child, stdin, timeout, stop)
        except subprocess.TimeoutExpired:
            raise HostFailed(
                f"{argv[0]} {argv[1]} did not end within {timeout:g} s", mend="look at the code host"
            ) from None
        finally:
            if child.returncode is None:
                _end(child)
    return Ended(child.returncode, stdout, stderr)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a program that has not been waited for, and all that it started, which shares its session."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)  # git takes its lock files away when it is asked to end
    deadline = time.monotonic() + _GRACE
    # Not waited for yet, so that its number, which is the group's, is nobody else's when the rest is killed.
    while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _talk(
    child: "subprocess.Popen[bytes]", stdin: bytes, timeout: float, stop: Callable[[], str | None]
) -> tuple[bytes, bytes]:
    deadline = time.monotonic() + timeout
    given: bytes | None = stdin
    while True:
        if reason := stop():
            raise RunStopped(reason, "the run was ended while a program of the worker ran")
        try:
            return child.communicate(given, timeout=min(_ASK, max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            given = None
            if time.monotonic() >= deadline:
                raise
