"""The hash chain of a run's audit log: what a record is, how it is linked, and what broke when it does not hold."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: What the first record of a run links to.
GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Record:
    """One event with its place: `time` is seconds since the epoch, `previous` and `hash` are SHA-256 in hex."""

    run: str
    sequence: int
    time: float
    event: dict[str, Any]
    previous: str
    hash: str


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, ASCII only: the bytes that are hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def link(run: str, sequence: int, time: float, event: dict[str, Any], previous: str) -> Record:
    """The record that follows `previous`."""
    body = {"run": run, "sequence": sequence, "time": time, "event": event, "previous": previous}
    return Record(run, sequence, time, event, previous, hashlib.sha256(canonical(body)).hexdigest())


def first_break(records: Iterable[Record], run: str) -> str | None:
    """What is wrong with the chain, in words with the sequence number, or None when it holds."""
    previous = GENESIS
    for expected, record in enumerate(records):
        if record.run != run:
            return f"record {expected}: belongs to run {record.run!r}, not {run!r}"
        if record.sequence != expected:
            return f"record {expected}: missing or moved (found sequence {record.sequence})"
        if record.previous != previous:
            return f"record {expected}: does not follow the record before it"
        if link(run, record.sequence, record.time, record.event, previous).hash != record.hash:
            return f"record {expected}: content was changed"
        previous = record.hash
    return None
