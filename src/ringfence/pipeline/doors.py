"""The model door of an agent: which routes the boundary approves for a repository, and what is left to spend there.

What was spent is read from the log each time, so that neither a crash nor a restart gives anything back.
"""

from dataclasses import dataclass

from ringfence.domain.boundary import Boundary
from ringfence.domain.budget import Spent
from ringfence.domain.decision import Deny
from ringfence.domain.errors import RunStopped
from ringfence.domain.events import TicketAdmitted
from ringfence.domain.money import FREE, UNPRICED, Rate, amount
from ringfence.domain.rules import model_ways
from ringfence.domain.spending import Spending, day_began, day_name, spent_in
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.clock import Clock
from ringfence.ports.gateway import DayBudget, DoorPolicy, Fallback


@dataclass(frozen=True, slots=True)
class DoorPlan:
    """Whose door it is."""

    run: str
    door: str  # "agent/1"
    repository: str
    spent: Spent


def policy(plan: DoorPlan, boundary: Boundary, log: AuditLog, clock: Clock) -> DoorPolicy:
    """What may pass the door: the default model, its approved fallbacks, and what is left of the budgets.

    Errors: `RunStopped` when no route may be sent this repository, or when money is limited and a price is missing.
    """
    ways = model_ways(boundary, plan.repository)
    if isinstance(ways, Deny):
        raise RunStopped(
            "model_not_approved",
            f"no approved route to a model for {plan.repository} (rule {ways.rule})",
            where="boundary, section models",
            mend="name a default of the form route/model whose route lists this repository and its data class",
        )
    limits, spent, models = boundary.limits.run, plan.spent, boundary.models
    first, *others = ways
    return DoorPolicy(
        run=plan.run,
        door=plan.door,
        model=first[1],
        route=first[0],
        requests=max(0, limits.requests - spent.requests),
        input_tokens=max(0, limits.input_tokens - spent.input_tokens),
        output_tokens=max(0, limits.output_tokens - spent.output_tokens),
        first_byte_timeout=float(models.first_byte_timeout),
        idle_timeout=float(models.idle_timeout),
        seconds=max(0.0, limits.time - spent.seconds),
        requests_per_second=limits.requests_per_second,
        money=None if limits.money is None else max(0, amount(limits.money) - spent.money),
        rate=_rate(boundary, *first),
        currency=models.prices.currency if models.prices else "",
        as_of=models.prices.as_of.isoformat() if models.prices else "",
        days=_days(plan.repository, boundary, log, clock.now()),
        fallback=tuple(Fallback(route, model, _rate(boundary, route, model)) for route, model in others),
        fallback_on=tuple(models.fallback_on),
    )


def rate_of(boundary: Boundary, route: str, model: str) -> Rate:
    """What the owners say that a model costs; a recording costs nothing."""
    prices = boundary.models.prices
    price = prices.rate(route, model) if prices else None
    if price is None and any(one.name == route and one.provider == "replay" for one in boundary.models.routes):
        return FREE
    return UNPRICED if price is None else price


def _rate(boundary: Boundary, route: str, model: str) -> Rate:
    """The same for a run. Errors: `RunStopped` where money is limited and nobody knows what it costs."""
    limits, rate = boundary.limits, rate_of(boundary, route, model)
    limited = [one.money for one in (limits.run, limits.repository_day, limits.day) if one.money is not None]
    if limited and not rate.known:
        raise RunStopped(
            "price_unknown",
            f"money is limited, but the boundary does not say what {route}/{model} costs",
            where="boundary, section models.prices",
            mend="add its price to the table; `ringfence boundary check` names every model without one",
        )
    return rate


def _days(repository: str, boundary: Boundary, log: AuditLog, now: float) -> tuple[DayBudget, ...]:
    """The budgets of today that this door shares with others, with what is on the log of today."""
    limits = (("repository_day", repository, boundary.limits.repository_day), ("day", "", boundary.limits.day))
    limited = [(scope, of, most) for scope, of, section in limits if (most := section.most())]
    if not limited:
        return ()
    today = spent_in(log.since(day_began(now)))
    mine = {run: one for run, one in today.items() if _repository(log, run) == repository}
    return tuple(
        DayBudget(scope, of, day_name(now), most, _sum(mine if of else today).counts()) for scope, of, most in limited
    )


def _repository(log: AuditLog, run: str) -> str:
    kinds = (record.event for record in log.records(run))
    return next((str(event.get("repository")) for event in kinds if event.get("kind") == TicketAdmitted.kind), "")


def _sum(runs: dict[str, Spending]) -> Spending:
    total = Spending()
    for one in runs.values():
        total = total.plus(one)
    return total
