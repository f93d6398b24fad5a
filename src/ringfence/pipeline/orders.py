"""Orders of the operator as files below the worker's state: halts and quarantines.

Files and not rows, so that they are obeyed and can be given when the database is locked or broken, by hand if
need be. They are read again each time somebody asks, so that an order is seen within a quarter of a second and
stays in force over restarts. What an order means is written in domain/halt.py.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ringfence.domain.halt import Halt, Scope, file_name, from_file, is_halt, to_file
from ringfence.pipeline.files import make_names_durable, put_in_place

_LARGEST = 64 << 10


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Who wants a run kept as it stands, and why. `since` is seconds since the epoch."""

    reason: str
    by: str
    since: float


class Orders:
    """The orders below one state directory. Holds nothing itself; any number of processes may have one."""

    def __init__(self, state: Path) -> None:
        self._halts = state / "halts"
        self._quarantine = state / "quarantine"
        self._notes = state / "interventions.jsonl"

    def halts(self) -> tuple[Halt, ...]:
        """The halts in force, the widest first. A directory that cannot be read halts everything."""
        try:
            names = sorted(name for name in os.listdir(self._halts) if is_halt(name))  # noqa: PTH208 - asked often
        except FileNotFoundError:
            return ()
        except OSError as failure:
            return (Halt("all", "", f"the halts cannot be read: {failure.strerror}"),)
        return tuple(_halt(self._halts / name) for name in names)

    def halt(self, halt: Halt) -> None:
        """Put a halt in force, durably. Errors: OSError."""
        put_in_place(self._halts / file_name(halt.scope, halt.name), to_file(halt))

    def resume(self, scope: Scope, name: str = "") -> tuple[Halt, ...]:
        """Take the halts of exactly this scope back; which they were."""
        taken = []
        for file in sorted(self._halts.iterdir()) if self._halts.is_dir() else ():
            halt = _halt(file)
            if is_halt(file.name) and (halt.scope, halt.name) == (scope, name):
                file.unlink(missing_ok=True)
                taken.append(halt)
        make_names_durable(self._halts)
        return tuple(taken)

    def quarantine(self, run: str, why: Quarantine) -> None:
        """Keep a run as it stands, durably. Errors: OSError."""
        self._released(run).unlink(missing_ok=True)
        put_in_place(self._quarantine / run, json.dumps(asdict(why)).encode() + b"\n")

    def quarantined(self, run: str) -> bool:
        """Whether a run is kept as it stands; what cannot be told counts as yes."""
        try:
            os.stat(self._quarantine / run)  # noqa: PTH116 - asked often; Path.exists hides some errors
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def why(self, run: str) -> Quarantine | None:
        """Who quarantined a run and why, also after its release; None when nobody did."""
        for place in (self._quarantine / run, self._released(run)):
            if place.exists():
                said = _json(place)
                return Quarantine(str(said.get("reason", "")), str(said.get("by", "")), float(said.get("since", 0)))
        return None

    def release(self, run: str) -> None:
        """Let a quarantined run be ended and cleaned up."""
        (self._quarantine / run).rename(self._released(run))
        make_names_durable(self._quarantine)

    def released(self, run: str) -> bool:
        """Whether a run was released and has not been cleaned up yet: it must end."""
        return self._released(run).exists()

    def forget(self, run: str) -> None:
        """The run is cleaned up: nothing is to be said of it any more."""
        self._released(run).unlink(missing_ok=True)

    def all_quarantined(self) -> frozenset[str]:
        """The runs that are kept as they stand."""
        if not self._quarantine.is_dir():
            return frozenset()
        return frozenset(name for name in os.listdir(self._quarantine) if "." not in name)  # noqa: PTH208

    def note(self, what: str, **fields: object) -> None:
        """Write an operator's act down outside of any database: one line of JSON. Errors: OSError."""
        line = json.dumps({"what": what, **fields}, sort_keys=True).encode() + b"\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._notes, flags, 0o600)
        try:
            os.write(fd, line)
            os.fsync(fd)
        finally:
            os.close(fd)

    def notes(self) -> tuple[dict[str, Any], ...]:
        """What operators did, in order; a line that cannot be read is left out."""
        try:
            lines = self._notes.read_bytes().splitlines()
        except OSError:
            return ()
        return tuple(said for said in map(_object, lines) if said)

    def _released(self, run: str) -> Path:
        # No run id holds a dot.
        return self._quarantine / f"{run}.released"


def _halt(file: Path) -> Halt:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return from_file(file.name, None, 0.0)
    with os.fdopen(fd, "rb") as handle:
        try:
            return from_file(file.name, handle.read(_LARGEST), os.fstat(fd).st_mtime)
        except OSError:
            return from_file(file.name, None, 0.0)


def _json(file: Path) -> dict[str, Any]:
    try:
        return _object(file.read_bytes())
    except OSError:
        return {}


def _object(content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
