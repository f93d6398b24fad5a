"""What models have cost by the log: nothing is refunded by a crash, and a call is never counted twice."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ringfence.domain.chain import GENESIS, link
from ringfence.domain.events import ModelAsked, ModelCalled, to_json
from ringfence.domain.money import UNIT, Rate, amount, shown
from ringfence.domain.run import fold
from ringfence.domain.spending import Spending, day_began, day_name, spent_in

ASKED = ModelAsked("agent/1#1", "agent/1", "main", "m", "models.routes", "", 100, 4096, 900)
CALLED = ModelCalled(
    "agent/1", "main", "openai", "m", "allow", "models.routes", "", 200, 110, 7, False, 1.0, 2.0, "", "", False,
    call="agent/1#1", cost=300, currency="EUR", as_of="2026-11-01",
)  # fmt: skip


def spent(*events: ModelAsked | ModelCalled) -> Spending:
    return fold("run-1", events).calls


def test_a_call_that_never_ended_has_cost_all_that_it_might_have() -> None:
    assert spent(ASKED).counts() == {"requests": 1, "input_tokens": 100, "output_tokens": 4096, "money": 900}


def test_a_call_that_ended_has_cost_what_it_used() -> None:
    assert spent(ASKED, CALLED).counts() == {"requests": 1, "input_tokens": 110, "output_tokens": 7, "money": 300}


def test_a_door_that_opened_again_after_a_crash_refunds_nothing() -> None:
    # The same name twice: the first was cut off and stays counted in full.
    both = spent(ASKED, ASKED, CALLED)
    assert both.counts() == {"requests": 2, "input_tokens": 210, "output_tokens": 4103, "money": 1200}
    assert len(both.open) == 1


def test_a_call_that_was_let_out_before_counting_began_is_counted_by_what_it_used() -> None:
    record = link("run-1", 0, 1000.0, to_json(CALLED), GENESIS)
    assert spent_in([record])["run-1"].counts() == {
        "requests": 0,
        "input_tokens": 110,
        "output_tokens": 7,
        "money": 300,
    }


def test_what_was_denied_has_cost_nothing() -> None:
    assert spent(replace(CALLED, decision="deny")) == Spending()


def test_a_day_is_from_midnight_to_midnight_utc() -> None:
    noon = 1_795_435_200.0 + 43_200
    assert day_name(noon) == day_name(day_began(noon)) != day_name(day_began(noon) - 1)


@given(st.integers(0, 10**9), st.integers(0, 10**7), st.floats(0, 10**4), st.floats(0, 10**4))
def test_money_is_never_counted_too_low(sent: int, got: int, dear: float, cheap: float) -> None:
    rate = Rate(amount(dear), amount(cheap), amount(dear))
    exact = (sent * amount(dear) + got * amount(cheap)) / 10**6
    assert exact <= rate.cost(sent, got) + 1
    affordable = rate.output_for(10 * UNIT)
    assert affordable is None or rate.cost(0, affordable) <= 10 * UNIT


def test_cached_tokens_cost_what_the_table_says() -> None:
    rate = Rate(amount(3.0), amount(15.0), amount(0.3))
    assert rate.cost(1_000_000, 0, 1_000_000) == amount(0.3)
    assert rate.cost(1_000_000, 1_000_000) == amount(18.0)


def test_an_amount_is_shown_in_units_and_never_rounded_down() -> None:
    assert (shown(amount(1.5)), shown(1), shown(0)) == ("1.5000", "0.0001", "0.0000")
