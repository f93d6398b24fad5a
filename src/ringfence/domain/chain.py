"""The hash chain of a run's audit log: what a record is, how it is linked, and what broke when it does not hold."""

import hashlib
import json
from collections.abc import Iterable, Sequence
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


# Made once: json.dumps would make one for each record.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, ASCII only: the bytes that are hashed."""
    return _ENCODER.encode(value).encode()


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


def to_lines(records: Iterable[Record]) -> bytes:
    """The records as JSON lines `{"hash":…,"record":…}`: the hash is over the very bytes that follow `"record":`."""
    return b"".join(_line(record.hash, canonical(_body(record))) + b"\n" for record in records)


def read_lines(content: bytes, run: str | None = None) -> tuple[Sequence[Record], str | None]:
    """The records up to the first break in the chain, and that break in words. Without `run`, the first line names it.

    Every byte counts: a line must be spelled as `to_lines` spells it, up to the JSON inside the record, over
    whose bytes the hash is.
    """
    records: list[Record] = []
    previous = GENESIS
    lines = content.split(b"\n")
    if lines.pop() != b"":
        return (), f"record {len(lines)}: cut off"
    for expected, line in enumerate(lines):
        body = line[_BODY_AT:-1]
        digest = hashlib.sha256(body).hexdigest()
        if line != _line(digest, body):
            return records, f"record {expected}: content was changed"
        record = _parsed(body, digest)
        if record is None:
            return records, f"record {expected}: not a record"
        run = record.run if run is None else run
        if record.run != run:
            return records, f"record {expected}: belongs to run {record.run!r}, not {run!r}"
        if record.sequence != expected:
            return records, f"record {expected}: missing or moved (found sequence {record.sequence})"
        if record.previous != previous:
            return records, f"record {expected}: does not follow the record before it"
        records.append(record)
        previous = digest
    return records, None


_BODY_AT = len(b'{"hash":"","record":') + 64
_FIELDS = frozenset({"run", "sequence", "time", "event", "previous"})
_DECODE = json.JSONDecoder().decode


def _line(digest: str, body: bytes) -> bytes:
    return b'{"hash":"%b","record":%b}' % (digest.encode(), body)


def _body(record: Record) -> dict[str, Any]:
    return {
        "run": record.run, "sequence": record.sequence, "time": record.time, "event": record.event,
        "previous": record.previous,
    }  # fmt: skip


def _parsed(body: bytes, digest: str) -> Record | None:
    try:
        fields = _DECODE(body.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        return None
    run, sequence, time = fields["run"], fields["sequence"], fields["time"]
    event, previous = fields["event"], fields["previous"]
    if type(run) is str and type(sequence) is int and type(time) is float and type(event) is dict:
        return Record(run, sequence, time, event, previous, digest)
    return None
