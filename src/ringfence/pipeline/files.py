"""Files of the worker's own, written whole or not at all, also when the power goes."""

import os
from pathlib import Path


def put_in_place(path: Path, content: bytes) -> None:
    """Write a file that only the worker's user can read, durably, over one that is there. Errors: OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    fresh.rename(path)
    make_names_durable(path.parent)


def make_names_durable(directory: Path) -> None:
    """Have the names in a directory on its disk."""
    if not directory.is_dir():
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
