"""Event streams of agents, read as the hostile bytes that they are: bounded and total, nothing here raises.

Whatever runs in the sandbox can print, so a stream is no more than what the agent says about itself. A
parser takes one event and tells the tally; what is missing or of another type reads as empty or zero.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ringfence.ports.agent import AgentReport, AgentStep

_LINE = 4 << 20  # bytes; a longer line is passed over
_STEPS = 2_000
_TEXT = 2_000  # characters of a step and of the last message
_MOST = 10**12
_MOST_TURNS = 100_000
OUTCOMES = ("finished", "gave_up", "turns", "time", "denied", "crashed")

Event = Mapping[str, Any]
_NOTHING: Event = {}


class Lines:
    """Splits a stream that comes in pieces into lines."""

    def __init__(self) -> None:
        self._left = b""
        self._too_long = False

    def take(self, piece: bytes) -> list[bytes]:
        """The lines that are complete now; one beyond the cap is dropped."""
        *lines, left = (self._left + piece).split(b"\n")
        if lines and self._too_long:
            lines, self._too_long = lines[1:], False
        self._left = left
        if len(left) > _LINE:
            self._left, self._too_long = b"", True
        return lines

    def rest(self) -> bytes:
        """The line that has no end."""
        left, self._left = self._left, b""
        return b"" if self._too_long else left


def event_of(line: bytes) -> Event:
    """One line as an event; an empty one when it is something else."""
    line = line.strip()
    if not line.startswith(b"{") or len(line) > _LINE:
        return _NOTHING
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return _NOTHING
    return value if isinstance(value, dict) else _NOTHING


def at(event: object, *path: str | int) -> object:
    """What stands at a path of keys and indexes; None when there is nothing."""
    for step in path:
        if isinstance(event, Mapping) and isinstance(step, str):
            event = event.get(step)
        elif isinstance(event, list) and isinstance(step, int) and -len(event) <= step < len(event):
            event = event[step]
        else:
            return None
    return event


def text(event: object, *path: str | int) -> str:
    """A text; empty when there is none."""
    found = at(event, *path)
    return found[:_TEXT].encode("utf-8", "replace").decode() if isinstance(found, str) else ""


def number(event: object, *path: str | int) -> int:
    """A count; zero when there is none."""
    found = at(event, *path)
    if not isinstance(found, int) or isinstance(found, bool):
        return 0
    return min(max(found, 0), _MOST)


def many(event: object, *path: str | int) -> list[Event]:
    """The objects of a list."""
    found = at(event, *path)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def brief(value: object) -> str:
    """Any value in a few words."""
    if isinstance(value, str):
        return value[:_TEXT]
    try:
        return json.dumps(value, ensure_ascii=False)[:_TEXT]
    except (ValueError, TypeError, RecursionError):
        return ""


@dataclass(slots=True)
class Tally:
    """What a stream has said so far, in our words."""

    turns: int = 0
    tools: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    outcome: str = ""
    message: str = ""
    steps: list[AgentStep] = field(default_factory=list)

    def turn(self, input_tokens: int = 0, output_tokens: int = 0) -> None:
        """The model answered once more."""
        self.turns += 1
        self.used(input_tokens, output_tokens)

    def used(self, input_tokens: int, output_tokens: int) -> None:
        """Tokens, as the agent counts them; the gateway's own count is what is paid for."""
        self.input_tokens = min(self.input_tokens + input_tokens, _MOST)
        self.output_tokens = min(self.output_tokens + output_tokens, _MOST)

    def tool(self, what: object) -> None:
        """A tool was called."""
        self.tools += 1
        self._step("tool", brief(what))

    def say(self, what: str) -> None:
        """A message of the agent."""
        if what.strip():
            self.message = what[:_TEXT]
            self._step("message", what)

    def fault(self, what: str) -> None:
        """An error that the agent speaks of."""
        self.message = what[:_TEXT]
        self._step("fault", what)

    def end(self, outcome: str, message: str = "") -> None:
        """The last word, until there is a later one."""
        self.outcome = outcome
        self.message = message[:_TEXT] or self.message

    def _step(self, kind: str, what: str) -> None:
        if len(self.steps) < _STEPS:
            self.steps.append(AgentStep(kind, what[:_TEXT]))

    def report(self) -> AgentReport:
        """All of it; without a last word the agent crashed."""
        outcome = self.outcome or "crashed"
        message = self.message if self.outcome else f"the event stream has no last word; {self.message}".strip("; ")
        return AgentReport(
            outcome, self.turns, message[:_TEXT], self.tools, self.input_tokens, self.output_tokens, tuple(self.steps)
        )


def own_events(event: Event, tally: Tally) -> None:
    """One event in our own form, which programs of ours print; docs/builtin-agent.md lists them."""
    kind = text(event, "event")
    if kind == "turn":
        n = number(event, "n")
        tally.turns = max(tally.turns, n) if n <= _MOST_TURNS else tally.turns
        tally.used(number(event, "usage", "prompt_tokens"), number(event, "usage", "completion_tokens"))
    elif kind == "tool":
        tally.tool(text(event, "command"))
    elif kind == "message":
        tally.say(text(event, "text"))
    elif kind == "fault":
        tally.fault(text(event, "text"))
    elif kind == "end" and text(event, "outcome") in OUTCOMES:
        said = number(event, "turns")
        tally.turns = said if 0 < said <= _MOST_TURNS else tally.turns
        tally.message = ""
        tally.end(text(event, "outcome"), text(event, "message"))


#: Tells the tally what one event says. It sees every event of the stream, in order.
Parser = Callable[[Event, Tally], None]


def read(output: bytes, parse: Parser) -> Tally:
    """A whole stream."""
    tally = Tally()
    lines = Lines()
    for line in (*lines.take(output), lines.rest()):
        parse(event_of(line), tally)
    return tally


def watch(parse: Parser) -> Callable[[bytes], int]:
    """A stream as it comes: takes pieces, and says how many turns there were."""
    tally, lines = Tally(), Lines()

    def take(piece: bytes) -> int:
        for line in lines.take(piece):
            parse(event_of(line), tally)
        return tally.turns

    return take
