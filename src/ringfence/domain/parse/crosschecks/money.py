"""Prices and fallbacks: what is limited must be countable, and what is asked instead must be approved."""

from collections.abc import Iterator

from ringfence.domain.boundary import Boundary
from ringfence.domain.decision import Deny
from ringfence.domain.parse.crosschecks.check import CrossCheck, quoted, repeated
from ringfence.domain.parse.problem import Finding
from ringfence.domain.rules import may_call_model

_DAY = 86_400


def _offers(boundary: Boundary) -> dict[str, bool]:
    """Every route/model there is, and whether asking it costs anything."""
    routes = boundary.models.routes
    return {f"{route.name}/{model}": route.provider != "replay" for route in routes for model in route.models}


def _fallback(boundary: Boundary) -> Iterator[Finding]:
    models, offers = boundary.models, _offers(boundary)
    if models.fallback == "none":
        return
    if not models.fallback:
        yield Finding(("models", "fallback"), "an empty list says nothing", "write `fallback: none`")
    working = [one.name for one in boundary.repositories if one.access == "write" and one.stage != "observe"]
    yield from repeated(models.fallback, ("models", "fallback"))
    for place, written in enumerate(models.fallback):
        steps = ("models", "fallback", place)
        if written not in offers:
            mend = f"write route/model, one of {quoted(offers)}" if offers else "describe a route first"
            yield Finding(steps, f"{written!a} is not offered by any route", mend)
        elif written == models.default:
            yield Finding(steps, "it is the default itself", "remove it")
        elif working and all(
            isinstance(may_call_model(boundary, name, written.partition("/")[2]), Deny) for name in working
        ):
            what = f"route `{written.partition('/')[0]}` may be sent none of {quoted(working)}: it would never be asked"
            yield Finding(steps, what, "remove it, or have the repository added to the route by its owners")
    if not models.fallback_on:
        what = "no failure is named, so that the fallback would never be asked"
        yield Finding(("models", "fallback_on"), what, "name one, or write `fallback: none`")


def _prices(boundary: Boundary) -> Iterator[Finding]:
    prices, offers = boundary.models.prices, _offers(boundary)
    if prices is None:
        return
    listed = [price.model for price in prices.table]
    yield from repeated(listed, ("models", "prices", "table"), last=("model",))
    for place, model in enumerate(listed):
        if model not in offers:
            steps = ("models", "prices", "table", place, "model")
            yield Finding(steps, f"{model!a} is not offered by any route", f"write one of {quoted(offers)}")


def _priced(boundary: Boundary) -> Iterator[Finding]:
    """Where money is limited, every model that costs anything has a price: an unknown one would pass uncounted."""
    limits, prices = boundary.limits, boundary.models.prices
    sections = (("run", limits.run), ("repository_day", limits.repository_day), ("day", limits.day))
    limiting = next((name for name, section in sections if section.money is not None), None)
    if limiting is None:
        return
    known = {price.model for price in prices.table} if prices else set()
    unknown = [model for model, costs in _offers(boundary).items() if costs and model not in known]
    if unknown:
        what = f"money is limited, but nobody knows what {quoted(unknown)} costs"
        yield Finding(("limits", limiting, "money"), what, "add a price for each to `models.prices`")
    elif prices is None:
        what = "money is limited, but in no currency"
        yield Finding(("limits", limiting, "money"), what, "write `models.prices`, with a currency and a date")


def _kept(boundary: Boundary) -> Iterator[Finding]:
    """What was spent today is counted from the log, so that the log must not be swept before the day is over."""
    limits = boundary.limits
    if (limits.day.most() or limits.repository_day.most()) and boundary.logs.retention < 2 * _DAY:
        what = "a day's spending is counted from logs that may be removed before the day is over"
        yield Finding(("logs", "retention"), what, "write 2d or more, or no limits for a day")


CHECKS = (
    CrossCheck(("models", "repositories"), _fallback),
    CrossCheck(("models",), _prices),
    CrossCheck(("models", "limits"), _priced),
    CrossCheck(("logs", "limits"), _kept),
)
