"""Secrets in files, one a file, readable by the worker's user alone."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ringfence.domain.errors import ControlMissing
from ringfence.ports.broker import Secret

_LIMIT = 64 * 1024


class FileSecrets:
    """Implements ports/secret_source.py over `{name: path}`. A file that others can read is refused."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)

    def names(self) -> tuple[str, ...]:
        """The names that this source can open."""
        return tuple(self._files)

    def read(self, name: str) -> Secret:
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
            value = handle.read(_LIMIT).decode("utf-8", "strict").rstrip("\r\n")
        if not value:
            raise ControlMissing(f"secret {name!r} is empty", where=str(path), mend="put the value there")
        return Secret(value)
