"""Repair: whether to publish, to hand failing checks back, or to stop. Pure; bounded by the boundary."""

from dataclasses import dataclass
from typing import Literal

from ringfence.domain.boundary import RunLimits
from ringfence.domain.budget import Budget, Spent
from ringfence.domain.checks import Report
from ringfence.domain.money import amount


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a report. `reason` is short and stable, `detail` is for a person."""

    next: Literal["publish", "repair", "stop"]
    reason: str = ""
    detail: str = ""

    @property
    def line(self) -> str:
        """One line for a person."""
        return self.next if not self.detail else f"{self.next}: {self.detail}"


def after(report: Report, attempt: int, limits: RunLimits, spent: Spent) -> Verdict:
    """Publish only when every required check passed; repair only while there is budget."""
    if report.passed:
        return Verdict("publish")
    failing = ", ".join(result.name for result in report.failing) or "no required check was run"
    if attempt >= limits.attempts:
        return Verdict("stop", "checks_failed", f"after {attempt} attempts these checks fail: {failing}")
    budget = Budget(
        limits.attempts,
        limits.requests,
        limits.input_tokens,
        limits.output_tokens,
        float(limits.time),
        None if limits.money is None else amount(limits.money),
    )
    used_up = budget.exceeded(spent)
    if used_up is not None:
        return Verdict("stop", "budget_spent", f"{used_up} is used up while these checks fail: {failing}")
    return Verdict("repair", "checks_failed", f"these checks fail: {failing}")
