"""What models have cost, counted from the audit log: what was promised when a call was let out, then what it used.

Counted when it was sent, not when it was answered: a crash in between, or a restart, refunds nothing. A call whose
end was never written has cost all that it might have.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ringfence.domain.chain import Record
from ringfence.domain.events import Event, ModelAsked, ModelCalled, from_json

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Spending:
    """Model calls so far. `money` is in billionths of the currency of the table of prices, an estimate."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    money: int = 0
    #: Calls that were let out and of whose end nothing is written yet.
    open: tuple[ModelAsked, ...] = ()

    def after(self, event: Event) -> "Spending":
        """After one more event of the same run."""
        match event:
            case ModelAsked():
                return replace(self._plus(event), requests=self.requests + 1, open=(*self.open, event))
            case ModelCalled() if event.decision == "allow":
                return self._plus(event)._closed(event.call)
            case _:
                return self

    def plus(self, other: "Spending") -> "Spending":
        """Both together, for a sum over runs."""
        return Spending(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.money + other.money,
        )

    def counts(self) -> dict[str, int]:
        """By the names that limits have."""
        names = ("requests", "input_tokens", "output_tokens", "money")
        return {name: getattr(self, name) for name in names}

    def _plus(self, event: ModelAsked | ModelCalled, sign: int = 1) -> "Spending":
        return replace(
            self,
            input_tokens=self.input_tokens + sign * event.input_tokens,
            output_tokens=self.output_tokens + sign * event.output_tokens,
            money=self.money + sign * event.cost,
        )

    def _closed(self, call: str) -> "Spending":
        """Without what was promised to a call; the last of that name, since a door that opens again counts anew."""
        places = [place for place, one in enumerate(self.open) if one.call == call]
        if not places:
            return self  # it was let out before what is counted here begins
        last = places[-1]
        return replace(self._plus(self.open[last], -1), open=self.open[:last] + self.open[last + 1 :])


def spent_in(records: Iterable[Record]) -> dict[str, Spending]:
    """What each run of these records has spent; they may begin in the middle of a run."""
    found: dict[str, Spending] = {}
    for record in records:
        if str(record.event.get("kind")).startswith("model."):
            found[record.run] = found.get(record.run, Spending()).after(from_json(record.event))
    return found


def day_began(now: float) -> float:
    """When the day (UTC) of a time began, both in seconds since the epoch."""
    return now - now % DAY_SECONDS


def day_name(now: float) -> str:
    """The day (UTC) of a time: 2026-11-23."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()
