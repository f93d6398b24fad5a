"""The incident bundle of a run: what is known of it, in one file for people who look into it.

It copies no file of an untrusted tree: names, kinds, sizes and digests of small files are listed, links are read and
never followed, directories are entered by descriptor. Every text goes through redaction. It changes nothing.
"""

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ringfence.domain.chain import to_lines
from ringfence.domain.timeline import denied, timeline
from ringfence.pipeline.orders import Orders
from ringfence.pipeline.ports import Places
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.sandbox import Sandboxes

_DEEPEST = 128
_MOST_ENTRIES = 200_000
_SMALL = 1 << 20  # bytes of a file whose digest is taken


@dataclass(frozen=True, slots=True)
class Scene:
    """Where an incident is looked at."""

    log: AuditLog
    places: Places
    sandboxes: Sandboxes
    boundary: bytes
    redact: Callable[[str], str]


def export(scene: Scene, run: str, target: Path, *, now: float) -> tuple[str, ...]:
    """Write the bundle (0600); the names of what is in it."""
    records = scene.log.records(run)
    orders = Orders(scene.places.state)
    why = orders.why(run)
    seen = [asdict(one) for one in scene.sandboxes.processes(run)]
    notes = [note for note in orders.notes() if note.get("run") in (None, run)]
    files = list(_tree(scene.places.run(run)))
    facts = {
        "run": run,
        "exported": now,
        "quarantine": asdict(why) if why else None,
        "halts": [asdict(halt) for halt in orders.halts()],
        "processes": len(seen),
        "files": len(files),
        "denied": [record.event for record in denied(records)],
    }
    members = {
        "timeline.md": scene.redact(timeline(run, records)).encode(),
        "facts.json": _json(facts, scene.redact),
        "log.jsonl": to_lines(records),
        "processes.json": _json(seen, scene.redact),
        "files.json": _json(files, scene.redact),
        "interventions.json": _json(notes, scene.redact),
        "boundary.yaml": scene.redact(scene.boundary.decode("utf-8", "replace")).encode(),
    }
    _write(target, members, now)
    return tuple(members)


def _write(target: Path, members: dict[str, bytes], now: float) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(target, flags, 0o600), "wb") as handle, tarfile.open(fileobj=handle, mode="w") as bundle:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), int(now), 0o600
            bundle.addfile(entry, io.BytesIO(content))


def _json(value: Any, redact: Callable[[str], str]) -> bytes:
    return json.dumps(_redacted(value, redact), indent=1, sort_keys=True).encode() + b"\n"


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value.encode("utf-8", "replace").decode())
    if isinstance(value, dict):
        return {str(key): _redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item, redact) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class _Level:
    path: str
    fd: int
    names: Iterator[str]


def _tree(root: Path) -> Iterator[dict[str, Any]]:
    """Every name below `root`, depth first, whatever its owner did to it."""
    levels: list[_Level] = []
    try:
        _enter(levels, "", str(root), None)
        count = 0
        while levels and count < _MOST_ENTRIES:
            level = levels[-1]
            name = next(level.names, None)
            if name is None:
                os.close(levels.pop().fd)
                continue
            count += 1
            yield _entry(levels, name)
        if levels:
            yield {"path": levels[-1].path, "fault": f"more than {_MOST_ENTRIES} names; the rest is not listed"}
    except FileNotFoundError:
        return  # the run has no trees any more
    finally:
        while levels:
            os.close(levels.pop().fd)


def _entry(levels: list[_Level], name: str) -> dict[str, Any]:
    level = levels[-1]
    path = f"{level.path}/{name}".lstrip("/")
    said: dict[str, Any] = {"path": path}
    try:
        found = os.stat(name, dir_fd=level.fd, follow_symlinks=False)
        said |= {"mode": stat.filemode(found.st_mode), "user": found.st_uid, "size": found.st_size,
                 "changed": found.st_mtime, "names": found.st_nlink}  # fmt: skip
        if stat.S_ISLNK(found.st_mode):
            said["link"] = os.readlink(name, dir_fd=level.fd)
        elif stat.S_ISDIR(found.st_mode) and len(levels) >= _DEEPEST:
            said["fault"] = f"deeper than {_DEEPEST} levels; not listed"
        elif stat.S_ISDIR(found.st_mode):
            _enter(levels, path, name, level.fd)
        elif stat.S_ISREG(found.st_mode) and found.st_size <= _SMALL:
            said["sha256"] = _digest(name, level.fd)
    except OSError as failure:
        said["fault"] = failure.strerror
    return said


def _enter(levels: list[_Level], path: str, name: str, folder: int | None) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    names = sorted(os.listdir(fd))  # noqa: PTH208 - by descriptor
    levels.append(_Level(path, fd, iter(names)))


def _digest(name: str, folder: int) -> str | None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(fd, "rb") as handle:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return hashlib.sha256(handle.read(_SMALL)).hexdigest()
