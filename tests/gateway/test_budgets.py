"""Budgets through the gateway's own process: whoever asks at once, and by whichever door, nobody overspends."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from agent_side import POLICY, USER, Agent, Records, Start, listening, route
from model_upstream import Seen, answer, either, silent, upstream, whole

from ringfence.adapters.clock import SystemClock
from ringfence.domain.money import UNPRICED, Rate, amount
from ringfence.domain.spending import day_name
from ringfence.gateway.process import GatewayProcess
from ringfence.ports.gateway import DayBudget

PRICED = {"rate": Rate(amount(1.0), amount(2.0), amount(1.0)), "currency": "EUR", "as_of": "2026-11-01"}


def today(most: dict[str, int], spent: dict[str, int] | None = None, *, scope: str = "day", of: str = "") -> DayBudget:
    return DayBudget(scope, of, day_name(SystemClock().now()), most, spent or {})


@contextmanager
def doors(endpoint: str, *policies: dict[str, Any]) -> Iterator[list[Agent]]:
    """A gateway with a door for each policy, every one of another run."""
    records = Records()
    with GatewayProcess((route(endpoint),), records, user=USER) as gateway, ExitStack() as stack:
        agents = []
        for number, fields in enumerate(policies):
            listener = stack.enter_context(listening())
            policy = replace(POLICY, run=f"run-{number}", door="agent/1", **fields)
            door = stack.enter_context(gateway.open(listener, policy))
            agents.append(Agent(listener.getsockname()[1], door, records, gateway))
        yield agents


def obedient(sock: socket.socket, seen: Seen) -> bool:
    """Writes all that it may."""
    return answer(whole(prompt=10, completion=json.loads(seen.body)["max_tokens"]))(sock, seen)


def test_ten_runs_at_once_spend_their_own_budget_and_no_other() -> None:
    budgets = [5 + 3 * number for number in range(10)]
    with upstream(either) as up, doors(up.url, *({"requests": budget} for budget in budgets)) as agents:
        with ThreadPoolExecutor(60) as pool:
            asked = [(n, pool.submit(agents[n].chat, stream=bool(i % 2))) for i in range(40) for n in range(10)]
            got = [(n, future.result()) for n, future in asked]
        for number, budget in enumerate(budgets):
            mine = [answer.status for n, answer in got if n == number]
            assert sorted(mine) == [200] * budget + [403] * (40 - budget)
            assert agents[number].door.denied() == "requests_spent"
        assert len(up.seen) == sum(budgets)
        ended = agents[0].records.of("ended")
    assert [sum(call.run == f"run-{number}" for call in ended) for number in range(10)] == budgets


def test_two_hundred_at_once_by_ten_doors_never_exceed_the_budget_of_the_day() -> None:
    shared = (today({"requests": 60}, {"requests": 10}),)
    with upstream(either) as up, doors(up.url, *({"days": shared} for _ in range(10))) as agents:
        with ThreadPoolExecutor(100) as pool:
            got = list(pool.map(lambda n: agents[n % 10].chat(), range(200)))
        assert len(up.seen) == 50
        assert sum(one.status == 200 for one in got) == 50
        refused = [call for call in agents[0].records.of("denied") if call.rule != "gateway.door"]
        assert {call.rule for call in refused} == {"limits.day.requests"}
        assert {agent.door.denied() for agent in agents} == {"day_requests_spent"}


def test_the_budget_of_one_repository_is_not_that_of_another() -> None:
    first, second = (today({"requests": 2}, scope="repository_day", of=name) for name in ("demo/a", "demo/b"))
    with upstream(either) as up, doors(up.url, {"days": (first,)}, {"days": (first,)}, {"days": (second,)}) as agents:
        assert [agents[0].chat().status, agents[1].chat().status] == [200, 200]
        got = agents[0].chat()
        assert (got.status, got.code) == (403, "repository_day_requests_spent")
        assert agents[2].chat().status == 200


def test_money_is_reserved_before_a_call_so_that_parallel_calls_cannot_overspend() -> None:
    # Each costs at most 1.0 * input + 2.0 * 100 tokens a million; the budget pays for about ten of them.
    with upstream(obedient) as up:
        with doors(up.url, {"money": 2500_000, **PRICED}) as (agent,):
            with ThreadPoolExecutor(40) as pool:
                got = list(pool.map(lambda _: agent.chat(max_tokens=100), range(80)))
            ended = agent.records.of("ended")
        spent = sum(call.cost for call in ended)
    assert 0 < spent <= 2500_000
    assert len(ended) == sum(one.status == 200 for one in got) == len(up.seen)
    assert {one.code for one in got if one.status != 200} <= {"money_spent", "money_promised"}
    assert max(call.cost for call in ended) == 210_000
    assert {(call.currency, call.as_of) for call in ended} == {("EUR", "2026-11-01")}


def test_output_that_the_money_does_not_pay_for_is_not_asked_for() -> None:
    with upstream(answer(whole())) as up, doors(up.url, {"money": 120_000, **PRICED}) as (agent,):
        assert agent.chat(max_tokens=10_000).status == 200
        asked = int(up.seen[0].body.split(b'"max_tokens":')[1].split(b",")[0].split(b"}")[0])
    assert asked < 60


def test_an_answer_that_never_came_may_have_cost_all_that_was_promised(start: Start) -> None:
    with upstream(silent) as up:
        agent = start(route(up.url), first_byte_timeout=0.3, output_tokens=5000)
        assert agent.chat(max_tokens=3000).code == "upstream_timeout"
        assert agent.records.only.output_tokens == 3000
        agent.chat(max_tokens=3000)
        assert agent.records.of("ended")[-1].output_tokens == 2000
        assert agent.chat().code == "output_tokens_spent"


def test_requests_that_come_too_fast_wait_and_then_are_told_to_come_again(start: Start) -> None:
    with upstream(either) as up:
        agent = start(route(up.url), requests_per_second=1.0)
        with ThreadPoolExecutor(12) as pool:
            got = list(pool.map(lambda _: agent.chat(), range(12)))
        statuses = sorted(one.status for one in got)
        assert set(statuses) == {200, 429}
        # One at once, and those whose turn comes within five seconds; how many more depends on the machine.
        assert statuses.count(200) >= 6
        assert {one.code for one in got if one.status == 429} == {"too_fast"}
        assert agent.door.denied() is None
    slow = [call for call in agent.records.of("denied") if call.rule == "limits.run.requests_per_second"]
    assert len(slow) == statuses.count(429)


def test_a_run_whose_time_is_over_asks_no_more(start: Start) -> None:
    with upstream(either) as up:
        agent = start(route(up.url), seconds=0.0)
        assert (agent.chat().status, agent.door.denied()) == (403, "time_spent")
        assert up.seen == []


def test_what_nobody_has_put_a_price_on_is_not_said_to_cost_nothing() -> None:
    unpriced = {"rate": UNPRICED, "currency": "EUR", "as_of": "2026-11-01"}
    with upstream(answer(whole())) as up, doors(up.url, unpriced) as (agent,):
        agent.chat()
        (ended,) = agent.records.of("ended")
    assert (ended.currency, ended.as_of, ended.cost) == ("", "2026-11-01", 0)
