"""What fuzzing has found is run again, and a little is made up anew; `script/fuzz` is the long way."""

import pytest
from fuzzing import TARGETS, corpus, generated, replayed


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_that_is_kept_gets_a_wrong_answer(target: str) -> None:
    assert replayed(target) > len(list(corpus(target).glob("*")))


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_that_is_made_up_gets_a_wrong_answer(target: str) -> None:
    generated(target, 2)
