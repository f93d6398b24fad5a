"""Progress of a run: one line a stage, as its log grows; events as JSON lines for scripts."""

import sys
from collections.abc import Callable
from dataclasses import asdict

from ringfence.cli.screen import plain, show_json
from ringfence.domain import events as e
from ringfence.domain.chain import Record
from ringfence.domain.checks import BASE_TESTS
from ringfence.domain.events import Event, from_json
from ringfence.ports.audit_log import AuditLog

_MARKS = {"ok": ("✓", "green"), "bad": ("✗", "red"), "note": ("·", "dim")}


def follow(log: AuditLog, run: str, *, json: bool) -> None:
    """Show a run until it has ended."""
    begun: float | None = None
    paint = _painter()
    for record in log.follow(run):
        begun = record.time if begun is None else begun
        if json:
            show_json(asdict(record))
        else:
            for mark, text in lines(from_json(record.event)):
                print(paint(mark, f"{record.time - begun:7.1f} s", plain(text)), flush=True)


def lines(event: Event) -> list[tuple[str, str]]:  # noqa: C901 - one flat table of cases reads best
    """What a person is shown of an event: nothing for most, one line for a stage, a check, a refusal."""
    match event:
        case e.RunStarted():
            word = "resumed" if event.resumed else "started"
            return [("note", f"{word} by {event.worker}; sandbox: {event.sandbox_level}")]
        case e.StageEnded():
            name = event.stage if event.attempt < 2 else f"{event.stage} {event.attempt}"
            return [("ok", f"{name:<13} {event.seconds:6.1f} s  {event.summary}")]
        case e.CheckEnded() if event.side == "patch" and not event.passed:
            return [("bad", f"check {event.name} failed ({event.stopped or f'exit code {event.exit_code}'})")]
        case e.ModelCalled() if event.decision == "deny":
            return [("bad", f"model call denied by rule {event.rule}: {event.reason}")]
        case e.EgressDecided() if event.decision == "deny":
            return [("bad", f"egress to {event.destination} denied by rule {event.rule}")]
        case e.TicketRefused():
            return [("bad", f"ticket {event.ticket} refused by rule {event.rule}: {event.detail or event.reason}")]
        case e.PatchRefused():
            return [("bad", f"patch refused by rule {event.rule}: {event.detail}")]
        case e.LayerUsed():
            return [("note", f"set-up: layer {event.layer[:19]} reused, {event.files} files")]
        case e.LayerMade():
            kept = "kept" if event.scope == "repository" else "for this run"
            made = f"layer {event.layer[:19]} made in {event.seconds:.1f} s, {event.files} files, {kept}"
            return [("note", f"set-up: {made}: {event.why}")]
        case e.CancelRequested():
            return [("note", f"{event.by} asked for the end of the run")]
        case e.RunHalted():
            return [("bad", f"{event.scope} halted by {event.by}: {event.reason}; all closed after {event.seconds} s")]
        case e.RunQuarantined():
            return [("bad", f"quarantined by {event.by}: {event.reason}; {event.processes} processes frozen")]
        case e.RunReleased():
            return [("note", f"released by {event.by}")]
        case e.CheckEnded() if event.side == BASE_TESTS and not event.passed:
            return [("bad", f"check {event.name} fails with the tests of the base commit")]
        case e.RunStopped():
            return [("bad", f"stopped: {event.reason}: {event.detail}")]
        case e.RunEnded():
            return [("note", f"ended: {event.outcome}")]
        case _:
            return []


def _painter() -> Callable[[str, str, str], str]:
    if not sys.stdout.isatty():
        return lambda mark, when, text: f"{when}  {_MARKS[mark][0]} {text}"
    colours = {"green": "32", "red": "31", "dim": "2"}

    def painted(mark: str, when: str, text: str) -> str:
        sign, colour = _MARKS[mark]
        return f"\x1b[2m{when}\x1b[0m  \x1b[{colours[colour]}m{sign}\x1b[0m {text}"

    return painted


def record_as_text(record: Record) -> str:
    """One record for `ringfence logs`: time, sequence, kind and the fields that say something."""
    fields = {key: value for key, value in record.event.items() if key != "kind" and value not in ("", [], None)}
    said = "  ".join(f"{key}={value}" for key, value in fields.items())
    return plain(f"{record.sequence:4d}  {record.event['kind']:<20} {said}")
