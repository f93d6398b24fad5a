"""What the conversations of one door share: its policy, what is left of its budget, and whether it still answers."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ringfence.domain.leaks import Leaks
from ringfence.egress.authority import Authority
from ringfence.ports.egress import EgressPolicy

#: Refused attempts after which a door does not answer any more: whoever goes on like this will not stop by itself.
MAX_REFUSALS = 1000
#: Different names below one wildcard: labels are a way to say something to whoever answers for the name.
MAX_NAMES = 64


@dataclass(slots=True, weakref_slot=True, eq=False)
class Meter:
    """What a run may still let pass; the doors of a run that are open at once share it."""

    requests_left: int
    sent_left: int
    received_left: int

    def spend(self) -> str | None:
        """Take one request; the name of the limit that is used up, or None."""
        for name, left in (
            ("requests", self.requests_left),
            ("sent", self.sent_left),
            ("received", self.received_left),
        ):
            if left <= 0:
                return name
        self.requests_left -= 1
        return None

    def sending(self, count: int) -> bool:
        """Take bytes from what may be sent, before they are; False when it is used up."""
        self.sent_left -= count
        return self.sent_left >= 0

    def receiving(self, count: int) -> bool:
        """Take bytes from what may be received, before they are passed on; False when it is used up."""
        self.received_left -= count
        return self.received_left >= 0


@dataclass(frozen=True, slots=True)
class Upstream:
    """The proxy of the operator's own network, by which everything goes out."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the process has, and sandboxes never: whom it trusts, what it puts on requests, what it looks for."""

    trust: ssl.SSLContext | None = None  # None: no connection is inspected
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    leaks: Leaks = field(default_factory=lambda: Leaks({}))
    upstream: Upstream | None = None


@dataclass(slots=True)
class Door:
    """One command's way out."""

    policy: EgressPolicy
    meter: Meter
    told: Callable[[str], None]  # called once, with why the run cannot go on
    holdings: Holdings = field(default_factory=Holdings)
    authority: Authority | None = None
    denied: str | None = None
    refusals: int = 0
    attempts: int = 0
    _names: set[str] = field(default_factory=set)

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

    def may_name(self, host: str) -> bool:
        """Whether one more name below a wildcard may be looked up."""
        self._names.add(host)
        return len(self._names) <= MAX_NAMES
