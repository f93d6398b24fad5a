"""The story of a run for a person who was not there: Markdown from its log, in order, with what matters apart.

Everything that a run, a ticket or a tool wrote stands in code spans. It judges nothing and leaves nothing out but the
fields that are empty.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from ringfence.domain import events as e
from ringfence.domain.chain import Record
from ringfence.domain.inert import code

_LONGEST = 300
_DENIALS = (e.TicketRefused, e.PatchRefused)
_ORDERS = (e.CancelRequested, e.RunHalted, e.RunQuarantined, e.RunReleased, e.RunStopped)


def timeline(run: str, records: Sequence[Record]) -> str:
    """The whole page."""
    told = [(record, e.from_json(record.event)) for record in records]
    began = records[0].time if records else 0.0
    sections = (
        ("Orders and ends", [one for one in told if isinstance(one[1], _ORDERS)]),
        ("Denied", [one for one in told if _denied(one[1])]),
        ("Left the sandbox, or tried to", [one for one in told if isinstance(one[1], e.ModelCalled | e.EgressDecided)]),
        ("Grants", [one for one in told if isinstance(one[1], e.GrantMinted | e.GrantRevoked)]),
        ("Everything, in order", told),
    )
    lines = [
        f"# Run {code(run, 120)}",
        "",
        f"{len(records)} records" + (f" from {_moment(began)} on" if records else ""),
    ]
    for title, rows in sections:
        lines += ["", f"## {title}", ""]
        lines += [_row(record, event, began) for record, event in rows] or ["Nothing is on record."]
    return "\n".join(lines) + "\n"


def denied(records: Sequence[Record]) -> tuple[Record, ...]:
    """The records of what was refused."""
    return tuple(record for record in records if _denied(e.from_json(record.event)))


def _denied(event: e.Event) -> bool:
    return isinstance(event, _DENIALS) or getattr(event, "decision", "") == "deny"


def _row(record: Record, event: e.Event, began: float) -> str:
    said = ", ".join(f"{name} {code(_text(value), _LONGEST)}" for name, value in asdict(event).items() if _says(value))
    return f"- {_moment(record.time)} (+{record.time - began:.1f} s) **{event.kind}** {said}".rstrip()


def _says(value: object) -> bool:
    return value is not None and value != "" and value != ()


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _moment(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
