"""What may pass an agent's door: approved routes only, and what the log leaves of every budget."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.domain.boundary import Boundary
from ringfence.domain.budget import Spent
from ringfence.domain.errors import RunStopped
from ringfence.domain.events import ModelAsked, TicketAdmitted
from ringfence.domain.money import amount
from ringfence.domain.parse import parse
from ringfence.domain.rules import model_ways
from ringfence.pipeline.doors import DoorPlan, policy
from ringfence.ports.gateway import Fallback

TEAM = (Path(__file__).parents[2] / "examples" / "boundaries" / "team.yaml").read_text()
FALLBACK = TEAM.replace("fallback: none", "fallback: [outside/large-coder-2]")
NOON = 1_795_435_200.0 + 43_200


class FixedClock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def token(self, size: int) -> str:
        return "0" * 2 * size


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def log(tmp_path: Path, clock: FixedClock) -> Iterator[SqliteAuditLog]:
    log = SqliteAuditLog(tmp_path / "audit.sqlite", clock=clock, redact=str)
    yield log
    log.close()


def boundary(text: str) -> Boundary:
    found = parse(text)
    assert isinstance(found, Boundary), found
    return found


def plan(repository: str, spent: Spent = Spent()) -> DoorPlan:  # noqa: B008 - frozen
    return DoorPlan("run-9", "agent/1", repository, spent)


def run(log: SqliteAuditLog, name: str, repository: str, cost: int) -> None:
    log.append(name, TicketAdmitted("T-1", "sha256:0", repository, "branch", "tickets", "sha256:0", "mikael"))
    log.append(name, ModelAsked("agent/1#1", "agent/1", "house", "qwen3-coder", "models.routes", "", 100, 200, cost))


def test_a_fallback_that_may_not_be_sent_the_repository_is_left_out() -> None:
    # E08: the second route may see acme/iban-tools, which is public, and not acme/payments.
    both = (("house", "qwen3-coder"), ("outside", "large-coder-2"))
    assert model_ways(boundary(FALLBACK), "acme/iban-tools") == both
    assert model_ways(boundary(FALLBACK), "acme/payments") == both[:1]


def test_a_fallback_whose_route_may_not_see_the_class_is_left_out() -> None:
    # E08: the repository is listed there, but has become internal.
    text = FALLBACK.replace(
        "[acme/iban-tools]\n      data_classes: [public]", "[acme/iban-tools]\n      data_classes: []"
    )
    found = parse(text)
    assert not isinstance(found, Boundary)  # the document is refused as a whole
    sound = boundary(FALLBACK)
    routes = tuple(
        one.model_copy(update={"data_classes": ()}) if one.name == "outside" else one for one in sound.models.routes
    )
    changed = sound.model_copy(update={"models": sound.models.model_copy(update={"routes": routes})})
    assert model_ways(changed, "acme/iban-tools") == (("house", "qwen3-coder"),)


def test_a_door_has_prices_and_fallbacks_of_its_repository_only(log: SqliteAuditLog, clock: FixedClock) -> None:
    found = policy(plan("acme/iban-tools"), boundary(FALLBACK), log, clock)
    assert (found.currency, found.as_of) == ("EUR", "2026-03-01")
    (way,) = found.fallback
    assert isinstance(way, Fallback)
    assert (way.route, way.rate.cost(1_000_000, 0)) == ("outside", amount(3.0))
    assert policy(plan("acme/payments"), boundary(FALLBACK), log, clock).fallback == ()


def test_what_was_spent_today_is_counted_from_the_log_by_repository(log: SqliteAuditLog, clock: FixedClock) -> None:
    clock.time = NOON - 86_400
    run(log, "run-1", "acme/payments", amount(9.0))  # yesterday
    clock.time = NOON
    run(log, "run-2", "acme/payments", amount(2.0))
    run(log, "run-3", "acme/iban-tools", amount(5.0))
    days = policy(plan("acme/payments"), boundary(TEAM), log, clock).days
    assert [(day.scope, day.of, day.spent["money"], day.spent["requests"]) for day in days] == [
        ("repository_day", "acme/payments", amount(2.0), 1),
        ("day", "", amount(7.0), 2),
    ]
    assert days[0].most == {"requests": 3000, "money": amount(60.0)}


def test_a_door_never_gets_more_than_the_run_has_left(log: SqliteAuditLog, clock: FixedClock) -> None:
    spent = Spent(requests=299, input_tokens=7_000_000, money=amount(11.5), seconds=7100.0)
    found = policy(plan("acme/payments", spent), boundary(TEAM), log, clock)
    assert (found.requests, found.input_tokens, found.money, found.seconds) == (1, 0, amount(0.5), 100.0)


@pytest.mark.parametrize("limits", [("run",), ("repository_day",), ("day",)])
@pytest.mark.parametrize("unpriced", ["house/qwen3-coder", "outside/large-coder-2"])
def test_no_door_where_money_is_limited_and_a_price_is_missing(
    log: SqliteAuditLog, clock: FixedClock, limits: tuple[str, ...], unpriced: str
) -> None:
    """Whatever `boundary check` said before: a boundary that came another way is judged here."""
    found = without_price(boundary(FALLBACK), unpriced, limited=limits)
    with pytest.raises(RunStopped, match=f"does not say what {unpriced} costs") as stopped:
        policy(plan("acme/iban-tools"), found, log, clock)
    assert stopped.value.reason == "price_unknown"
    assert "models.prices" in stopped.value.where


def test_where_money_is_not_limited_a_missing_price_is_unknown_and_not_nothing(
    log: SqliteAuditLog, clock: FixedClock
) -> None:
    found = policy(plan("acme/iban-tools"), without_price(boundary(FALLBACK), "house/qwen3-coder"), log, clock)
    assert (found.rate.known, found.fallback[0].rate.known, found.money) == (False, True, None)


def without_price(sound: Boundary, model: str, *, limited: tuple[str, ...] = ()) -> Boundary:
    prices = sound.models.prices
    assert prices is not None
    kept = tuple(price for price in prices.table if price.model != model)
    models = sound.models.model_copy(update={"prices": prices.model_copy(update={"table": kept})})
    sections = {
        name: getattr(sound.limits, name).model_copy(update={} if name in limited else {"money": None})
        for name in ("run", "repository_day", "day")
    }
    return sound.model_copy(update={"models": models, "limits": sound.limits.model_copy(update=sections)})


def test_a_repository_that_no_route_may_see_gets_no_door(log: SqliteAuditLog, clock: FixedClock) -> None:
    with pytest.raises(RunStopped, match="no approved route"):
        policy(plan("acme/payments-api-spec"), boundary(TEAM), log, clock)
