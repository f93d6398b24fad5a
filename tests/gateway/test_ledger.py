"""The budget of a door: promised, grown, settled; never spent twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.gateway.ledger import USUAL_OUTPUT, Ledger, Promise, estimate
from ringfence.gateway.refusal import Refusal


def codes(result: Promise | Refusal) -> tuple[int, str]:
    assert isinstance(result, Refusal)
    return result.status, result.code


def test_requests_are_spent_by_the_promise_itself() -> None:
    ledger = Ledger(1, 100, 100)
    promise = ledger.promise(10, None)
    assert isinstance(promise, Promise)
    assert codes(ledger.promise(10, None)) == (403, "requests_spent")
    ledger.settle(promise, 5, 5)
    assert ledger.left == (0, 95, 95)


def test_what_is_only_promised_is_no_final_no() -> None:
    ledger = Ledger(9, 100, 10)
    first = ledger.promise(60, 10)
    assert isinstance(first, Promise)
    assert codes(ledger.promise(60, 10)) == (429, "input_tokens_promised")
    assert codes(ledger.promise(10, 10)) == (429, "output_tokens_promised")
    assert codes(ledger.promise(101, 10)) == (403, "input_tokens_spent")
    ledger.settle(first, 0, 0)
    assert isinstance(ledger.promise(60, 10), Promise)


def test_a_promise_is_settled_once() -> None:
    ledger = Ledger(9, 100, 10)
    promise = ledger.promise(1, 1)
    assert isinstance(promise, Promise)
    ledger.settle(promise, 1, 1)
    with pytest.raises(ValueError, match="once"):
        ledger.settle(promise, 1, 1)


def test_a_request_without_a_limit_is_promised_the_usual_output() -> None:
    promise = Ledger(9, 100, 1 << 20).promise(1, None)
    assert isinstance(promise, Promise)
    assert promise.output_tokens == USUAL_OUTPUT


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50), st.integers(0, 90), st.booleans())))
def test_promises_never_exceed_what_there_is(steps: list[tuple[int, int, int, bool]]) -> None:
    ledger, open_promises = Ledger(20, 200, 200), []
    for wanted_in, wanted_out, grown, settle in steps:
        promise = ledger.promise(wanted_in, wanted_out)
        if isinstance(promise, Promise):
            ledger.grow(promise, grown)
            open_promises.append(promise)
        if settle and open_promises:
            done = open_promises.pop(0)
            ledger.settle(done, done.input_tokens, done.output_tokens)
        assert min(ledger.left) >= 0


@given(st.integers(0, 1 << 30))
def test_an_estimate_is_never_too_low(size: int) -> None:
    assert estimate(size) * 3.5 >= size
