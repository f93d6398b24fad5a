"""Secrets in files, one a file, readable by the worker's user alone."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ringfence.domain.errors import ControlMissing
from ringfence.ports.broker import Secret
from ringfence.ports.secret_source import Opened

_LIMIT = 64 * 1024
_MEND = "put the value there, one line of text"


class FileSecrets:
    """Implements ports/secret_source.py over `{name: path}`. A file that others can read is refused."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)

    def names(self) -> tuple[str, ...]:
        """The names that this source can open."""
        return tuple(self._files)

    def open(self, name: str) -> Opened:
        """The content of the file without its last line end."""
        path = self._files.get(name)
        if path is None:
            raise ControlMissing(
                f"secret {name!r} has no source", where="settings, section [secrets]", mend=f"add [secrets.{name}]"
            )
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise ControlMissing(
                f"secret {name!r} cannot be read: {error.strerror}",
                where=str(path),
                mend="put the value there, mode 0600",
            ) from None
        with os.fdopen(descriptor, "rb") as handle:
            found = os.fstat(handle.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
                raise ControlMissing(
                    f"secret {name!r} can be read by others", where=str(path), mend=f"chmod 600 {path}"
                )
            raw = handle.read(_LIMIT + 1)
        try:
            value = raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            value = ""
        if not value or len(raw) > _LIMIT:
            raise ControlMissing(f"secret {name!r} is empty, too long or no text", where=str(path), mend=_MEND)
        return Opened(Secret(value))

    def renew(self, _name: str, opened: Opened) -> Opened:
        """A file has no lease."""
        return opened

    def close(self, _name: str, _lease: str) -> bool:
        """A file has no lease."""
        return False
