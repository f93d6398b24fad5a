"""Secrets that a command of the operator prints: no shell, an environment made from empty, a time and a size.

What the command says on standard error is shown nowhere, because it may hold the value.
"""

import os
import signal
import stat
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ringfence.domain.errors import ControlMissing
from ringfence.ports.broker import Secret
from ringfence.ports.secret_source import Opened

_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class SecretCommand:
    """A command that prints one secret. `environment` is all that it gets beside PATH and LC_ALL."""

    argv: tuple[str, ...]
    timeout: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)


class CommandSecrets:
    """Implements ports/secret_source.py over `{name: command}`; the command is run each time."""

    def __init__(self, commands: Mapping[str, SecretCommand]) -> None:
        self._commands = dict(commands)

    def names(self) -> tuple[str, ...]:
        """The names that this source can open."""
        return tuple(self._commands)

    def open(self, name: str) -> Opened:
        """What the command prints, without its last line end."""
        command = self._commands.get(name)
        if command is None:
            raise ControlMissing(
                f"secret {name!r} has no source", where="settings, section [secrets]", mend=f"add [secrets.{name}]"
            )
        fault = _fault(command.argv[0])
        if fault is not None:
            raise _missing(name, command, fault)
        raw = _printed(name, command)
        try:
            value = raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            value = ""
        if not value or len(raw) > _LIMIT:
            raise _missing(name, command, "it printed nothing, too much, or no text")
        return Opened(Secret(value))

    def renew(self, _name: str, opened: Opened) -> Opened:
        """What a command printed has no lease."""
        return opened

    def close(self, _name: str, _lease: str) -> bool:
        """What a command printed has no lease."""
        return False


def _printed(name: str, command: SecretCommand) -> bytes:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", **command.environment}
    try:
        child = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            umask=0o077,
            start_new_session=True,
        )
    except OSError as error:
        raise _missing(name, command, f"it does not start: {error.strerror}") from None
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill(child.pid)

    timer = threading.Timer(command.timeout, end)
    timer.start()
    try:
        assert child.stdout is not None
        with child.stdout:
            raw = child.stdout.read(_LIMIT + 1)
        if len(raw) <= _LIMIT:
            # Not reaped yet: until then nobody else can have its number, and its session can be ended by it.
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    finally:
        timer.cancel()
        timer.join()
        _kill(child.pid)  # whatever it left in its session, and itself when it printed too much
        exit_code = child.wait()
    if late.is_set():
        raise _missing(name, command, f"it did not end within {command.timeout:g} s")
    if exit_code != 0 and len(raw) <= _LIMIT:
        raise _missing(name, command, f"it ended with {exit_code}")
    return raw


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _fault(program: str) -> str | None:
    """Why a program may not be run: somebody else could have put it there."""
    path = Path(program)
    if not path.is_absolute():
        return "it must be named by its absolute path"
    try:
        found = path.stat()
    except OSError as error:
        return f"it cannot be run: {error.strerror}"
    if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o022:
        return "it is no file, or others can write it"
    if found.st_uid not in (0, os.geteuid()):
        return "it belongs to another user"
    return None


def _missing(name: str, command: SecretCommand, why: str) -> ControlMissing:
    return ControlMissing(
        f"the command for secret {name!r} gave none: {why}",
        where=f"settings, [secrets.{name}], {command.argv[0]}",
        mend="run it by hand as the worker's user",
    )
