"""What the conversations of one door share: its policy, what is left of its budget, and whether it still answers."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ringfence.ports.egress import EgressPolicy

#: Refused attempts after which a door does not answer any more: whoever goes on like this will not stop by itself.
MAX_REFUSALS = 1000
#: Different names below one wildcard: labels are a way to say something to whoever answers for the name.
MAX_NAMES = 64


@dataclass(slots=True)
class Meter:
    """Bytes that may still pass, counted before they are passed on."""

    sent_left: int
    received_left: int

    def sending(self, count: int) -> bool:
        """Take from what may be sent; False when it is used up."""
        self.sent_left -= count
        return self.sent_left >= 0

    def receiving(self, count: int) -> bool:
        """Take from what may be received; False when it is used up."""
        self.received_left -= count
        return self.received_left >= 0


@dataclass(slots=True)
class Door:
    """One command's way out."""

    policy: EgressPolicy
    told: Callable[[str], None]  # called once, with why the run cannot go on
    denied: str | None = None
    refusals: int = 0
    attempts: int = 0
    requests_left: int = field(init=False)
    meter: Meter = field(init=False)
    _names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.requests_left = self.policy.requests
        self.meter = Meter(self.policy.sent, self.policy.received)

    @property
    def exhausted(self) -> bool:
        """Whether it has refused so often that it does not even answer any more."""
        return self.refusals >= MAX_REFUSALS

    def final(self, code: str) -> None:
        """Shut the door for good; the first reason stays."""
        if self.denied is None:
            self.denied = code
            self.told(code)

    def next_id(self) -> str:
        """A name for the next attempt, unique while the door is open."""
        self.attempts += 1
        return f"{self.policy.door}#{self.attempts}"

    def spend(self) -> str | None:
        """Take one request out of the budget; the name of the limit that is used up, or None."""
        if self.requests_left <= 0:
            return "requests"
        if self.meter.sent_left <= 0:
            return "sent"
        if self.meter.received_left <= 0:
            return "received"
        self.requests_left -= 1
        return None

    def may_name(self, host: str) -> bool:
        """Whether one more name below a wildcard may be looked up."""
        self._names.add(host)
        return len(self._names) <= MAX_NAMES
