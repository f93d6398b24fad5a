"""Other routes in the place of one that failed: only approved ones, only on named failures, and on the record."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from agent_side import POLICY, USER, Agent, Records, listening, route
from model_upstream import Behaviour, Upstream, answer, cut, delta, either, silent, stream, upstream

from ringfence.domain.errors import ControlMissing
from ringfence.gateway.circuit import MOST_FAILURES, PAUSE_SECONDS, WINDOW_SECONDS, Circuit
from ringfence.gateway.process import GatewayProcess
from ringfence.ports.broker import Secret
from ringfence.ports.gateway import Fallback

OTHER_KEY = "sk-other-77aa31c9be20d4e5"
ANY = ("unreachable", "busy", "failed", "timeout")
SPARE = (Fallback("spare", "n"),)


@contextmanager
def two(first: Upstream, second: Upstream, **policy: Any) -> Iterator[Agent]:
    """A gateway with two routes; the door's fallback is the second."""
    spare = replace(route(second.url), name="spare", models=("n",), credential=Secret(OTHER_KEY))
    asked = {"fallback": SPARE, "fallback_on": ANY, "first_byte_timeout": 0.5, **policy}
    records = Records()
    with (
        GatewayProcess((route(first.url), spare), records, user=USER) as gateway,
        listening() as listener,
        gateway.open(listener, replace(POLICY, **asked)) as door,
    ):
        yield Agent(listener.getsockname()[1], door, records, gateway)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (cut, "upstream_unreachable"),
        (answer(b"{}", status=429), "upstream_busy"),
        (answer(b"{}", status=503), "upstream_failed"),
        (silent, "upstream_timeout"),
    ],
    ids=["cut", "429", "503", "silent"],
)
def test_another_approved_route_is_asked_and_the_log_says_why(
    behaviour: Behaviour, reason: str, streamed: bool
) -> None:
    with upstream(behaviour) as first, upstream(either) as second, two(first, second) as agent:
        got = agent.chat(stream=streamed)
        assert (got.status, got.complete) == (200, True)
        assert b'"model":"n"' in second.seen[0].body
        assert second.seen[0].headers["authorization"] == f"Bearer {OTHER_KEY}"
        assert OTHER_KEY.encode() not in b"".join(seen.body + str(seen.headers).encode() for seen in first.seen)
    opened = agent.records.of("opened")
    assert [call.route for call in opened] == ["main"] * (len(opened) - 1) + ["spare"]
    assert (opened[-1].rule, opened[-1].reason) == ("models.fallback", f"main was asked before: {reason}")
    assert [call.reason for call in agent.records.of("ended")][-2:] == [reason, ""]


def test_a_failure_that_is_not_named_ends_there() -> None:
    # E08: a fallback is asked for what the boundary names, and for nothing else.
    with upstream(answer(b"{}", status=503)) as first, upstream(either) as second:
        with two(first, second, fallback_on=("unreachable", "timeout")) as agent:
            assert agent.chat().code == "upstream_failed"
        assert second.seen == []


def test_a_stream_that_never_begins_is_no_answer() -> None:
    with upstream(stream(end="stall")) as first, upstream(either) as second, two(first, second) as agent:
        assert agent.chat(stream=True).complete
        assert len(second.seen) == 1


@pytest.mark.parametrize(
    "behaviour",
    [answer(b"{}", status=401), answer(b"{}", status=400), answer(b"<html>", kind="text/html")],
    ids=["401", "400", "html"],
)
def test_a_provider_that_answers_is_not_replaced(behaviour: Behaviour) -> None:
    # E08.
    with upstream(behaviour) as first, upstream(either) as second, two(first, second) as agent:
        assert agent.chat().status in (400, 403, 502)
        assert second.seen == []


def test_after_the_first_byte_no_other_route_is_asked() -> None:
    with upstream(stream(delta("Hello"), end="cut")) as first, upstream(either) as second:
        with two(first, second) as agent:
            got = agent.chat(stream=True)
        assert (got.status, got.complete, second.seen) == (200, False, [])


def test_the_model_of_a_fallback_cannot_be_asked_for_by_name() -> None:
    # E08: the fallback's model is the boundary's to choose, not the agent's.
    with upstream(either) as first, upstream(either) as second, two(first, second) as agent:
        got = agent.chat(model="n")
        assert (got.status, got.code) == (403, "model_not_approved")
        assert first.seen == second.seen == []


@pytest.mark.parametrize("way", [Fallback("spare", "m"), Fallback("other", "n"), Fallback("spare", "N")])
def test_a_fallback_that_its_route_does_not_offer_opens_no_door(way: Fallback) -> None:
    # E08: neither an alias nor another case of a name reaches a model.
    with upstream(either) as up, pytest.raises(ControlMissing, match="offer"), two(up, up, fallback=(way,)):
        pass


def test_when_every_route_fails_the_agent_is_told_so_and_each_try_is_paid_for() -> None:
    with upstream(cut) as first, upstream(answer(b"{}", status=503)) as second, two(first, second) as agent:
        got = agent.chat()
        assert (got.status, got.code) == (502, "upstream_failed")
    assert [call.route for call in agent.records.of("ended")] == ["main"] * 3 + ["spare"] * 3


def test_a_route_that_keeps_failing_is_left_alone_and_the_next_one_is_asked_at_once() -> None:
    with upstream(answer(b"{}", status=503)) as first, upstream(either) as second, two(first, second) as agent:
        assert [agent.chat().status for _ in range(4)] == [200] * 4
        assert len(first.seen) == MOST_FAILURES
        assert len(second.seen) == 4
        assert agent.door.denied() is None
    skipped = [call for call in agent.records.of("denied") if call.rule == "models.circuit"]
    assert {call.route for call in skipped} == {"main"}


def test_a_circuit_opens_after_failures_in_a_window_and_one_try_decides() -> None:
    circuit = Circuit()
    opened = [circuit.failed("failed", at) for at in range(MOST_FAILURES)]
    assert opened == [False] * (MOST_FAILURES - 1) + [True]
    last = MOST_FAILURES - 1.0
    assert circuit.wait(last + 1) == PAUSE_SECONDS - 1
    assert circuit.wait(last + PAUSE_SECONDS) == 0
    assert circuit.wait(last + PAUSE_SECONDS) > 0  # the one try is under way
    assert circuit.failed("timeout", last + PAUSE_SECONDS + 1)
    assert circuit.last == "timeout"
    assert circuit.wait(last + PAUSE_SECONDS + 2) == PAUSE_SECONDS - 1
    assert circuit.wait(last + 2 * PAUSE_SECONDS + 1) == 0
    circuit.answered()
    assert [circuit.wait(last + 2 * PAUSE_SECONDS + 1) for _ in range(3)] == [0, 0, 0]


def test_failures_that_are_far_apart_open_nothing() -> None:
    circuit = Circuit()
    assert not any(circuit.failed("failed", n * WINDOW_SECONDS / 2) for n in range(20))


def test_a_try_that_was_never_reported_does_not_block_a_route_for_ever() -> None:
    circuit = Circuit()
    for _ in range(MOST_FAILURES):
        circuit.failed("failed", 0.0)
    assert circuit.wait(PAUSE_SECONDS) == 0
    assert circuit.wait(2 * PAUSE_SECONDS) == 0
