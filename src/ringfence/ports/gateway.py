"""The port of the model gateway as the pipeline sees it: a door is opened for a run, watched, and closed."""

import socket
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from ringfence.domain.money import FREE, Rate


@dataclass(frozen=True, slots=True)
class DayBudget:
    """What may be spent on one day (UTC) by all doors that share it, and what was before this one opened."""

    scope: str  # as the boundary has it: "day" or "repository_day"
    of: str  # the repository; empty for everything
    day: str  # 2026-11-23
    most: Mapping[str, int]  # what is limited: requests, input_tokens, output_tokens, money
    spent: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Fallback:
    """An approved route to ask when the one before it has failed."""

    route: str
    model: str
    rate: Rate = FREE


@dataclass(frozen=True, slots=True)
class DoorPolicy:
    """What may pass one door. Values, not references: the gateway never reads the boundary itself."""

    run: str
    door: str  # a name for the log, "agent/1"
    model: str  # the model an agent asks for
    route: str
    requests: int  # what is left of the run's budget
    input_tokens: int
    output_tokens: int
    first_byte_timeout: float
    idle_timeout: float
    seconds: float | None = None  # left of the run's wall clock
    requests_per_second: float | None = None
    money: int | None = None  # left of the run's money, in billionths of the currency; None: not limited
    rate: Rate = FREE  # what the model costs, if that is known
    currency: str = ""  # empty: there is no table of prices
    as_of: str = ""  # the date of the table
    days: tuple[DayBudget, ...] = ()
    fallback: tuple[Fallback, ...] = ()  # in order
    fallback_on: tuple[str, ...] = ()  # unreachable, busy, failed, timeout


def policy_of(fields: Mapping[str, Any]) -> DoorPolicy:
    """The policy that `dataclasses.asdict` took apart. Raises TypeError or KeyError when it is none."""
    ways = tuple(Fallback(one["route"], one["model"], Rate(**one["rate"])) for one in fields["fallback"])
    days = tuple(DayBudget(**one) for one in fields["days"])
    nested = {"rate": Rate(**fields["rate"]), "days": days, "fallback": ways}
    return DoorPolicy(**{**fields, **nested, "fallback_on": tuple(fields["fallback_on"])})


class OpenDoor(Protocol):
    """A door in use."""

    def denied(self) -> str | None:
        """The reason of a final no that the gateway has given, or None: the worker then ends the agent."""
        ...


class Gateway(Protocol):
    """A process of its own that holds the model credentials and nothing else."""

    def open(self, listener: socket.socket, policy: DoorPolicy) -> AbstractContextManager[OpenDoor]:
        """Serve a planted listener under a policy until the block ends. Errors: `ControlMissing` when it is dead."""
        ...

    def alive(self) -> bool:
        """Whether it still answers; when not, its runs stop."""
        ...
