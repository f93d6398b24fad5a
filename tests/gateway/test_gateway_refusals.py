"""What a door refuses over real sockets, and that each refusal is on record with its rule."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from agent_side import KEY, POLICY, USER, Agent, Records, Start, listening, route
from model_upstream import STREAM, either, stream, upstream

from ringfence.domain.errors import ControlMissing, InputError
from ringfence.gateway.call import Call
from ringfence.gateway.process import GatewayProcess
from waiting import until


def test_a_wrong_model_is_recorded_with_its_rule_and_shuts_the_door(start: Start) -> None:
    with upstream(either) as up:
        agent = start(route(up.url))
        got = agent.chat(model="gpt-unapproved")
        assert (got.status, got.code, got.headers["x-should-retry"]) == (403, "model_not_approved", "false")
        assert agent.door.denied() == "model_not_approved"
        call = agent.records.only
        assert (call.phase, call.decision, call.rule, call.status) == ("denied", "deny", "models.routes", 403)
        assert "gpt-unapproved" in call.reason
        assert agent.chat().code == "model_not_approved"
        assert up.seen == []


def test_the_model_list_holds_the_approved_model_alone(start: Start) -> None:
    with upstream(either) as up:
        agent = start(route(up.url, models=("m", "other")))
        got = agent.request("GET", "/v1/models")
        assert [entry["id"] for entry in json.loads(got.body)["data"]] == ["m"]
        assert agent.request("GET", "/v1/models/m").status == 404
        assert up.seen == []


def test_nothing_of_the_agents_headers_reaches_the_provider(start: Start) -> None:
    # E02, E03: neither a host, nor a fabricated credential, nor any header opens another way.
    forged = {
        "authorization": "Bearer sk-forged", "x-api-key": "forged", "api-key": "forged", "cookie": "a=b",
        "x-forwarded-for": "127.0.0.1", "x-forwarded-host": "admin", "openai-organization": "org-x",
        "te": "trailers", "x-original-url": "/admin", "host": "admin.example.internal", "user-agent": "forged",
    }  # fmt: skip
    with upstream(either) as up:
        agent = start(route(up.url))
        assert agent.chat(headers=forged).status == 200
    (seen,) = up.seen
    assert seen.line == "POST /v1/chat/completions HTTP/1.1"
    assert seen.headers.pop("content-length").isdigit()
    assert seen.headers == {
        "host": f"127.0.0.1:{up.port}", "authorization": f"Bearer {KEY}", "content-type": "application/json",
        "accept": "application/json, text/event-stream", "accept-encoding": "identity", "user-agent": "ringfence",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET http://internal.example.internal/ HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"CONNECT internal.example.internal:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"POST /v1/chat/completions HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /v1/models HTTP/1.0\r\n\r\n", b"505"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\n" + b"x: " + b"y" * 70_000 + b"\r\n\r\n", b"4"),
        (b"GET /key/list HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n\r\n", b"404"),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"GET /realtime HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"404"),
    ],
)  # fmt: skip
def test_what_is_no_plain_request_is_refused_and_recorded(start: Start, sent: bytes, status: bytes) -> None:
    with upstream(either) as up:
        agent = start(route(up.url))
        end = b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        assert agent.raw(sent + end).startswith(b"HTTP/1.1 " + status)
        assert agent.records.calls[0].rule.startswith("gateway.")
        assert up.seen == []


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_an_oversized_request_is_refused_without_reading_it_all(start: Start, declared: bool) -> None:
    # E11: the refusal comes although the body is still being sent.
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    with upstream(either) as up:
        agent = start(route(up.url))
        with socket.create_connection(("127.0.0.1", agent.port), timeout=20) as sock:
            if declared:
                sock.sendall(head + b"Content-Length: 1073741824\r\n\r\n")
            else:
                sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
                piece = b"%x\r\n" % (1 << 20) + b" " * (1 << 20) + b"\r\n"
                for _ in range(9):
                    sock.sendall(piece)
            assert sock.recv(12) == b"HTTP/1.1 413"
        assert agent.records.only.rule == "gateway.request.size"


def test_deep_json_is_refused(start: Start) -> None:
    with upstream(either) as up:
        agent = start(route(up.url))
        assert agent.post(b"[" * 1_000_000).status == 413
        assert agent.chat().status == 200


def test_a_budget_of_fifty_is_never_exceeded_by_two_hundred_at_once(start: Start) -> None:
    with upstream(either) as up:
        agent = start(route(up.url), requests=50)
        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(lambda n: agent.chat(stream=bool(n % 2)), range(200)))
        assert len(up.seen) == 50
        assert sorted(got.status for got in answers) == [200] * 50 + [403] * 150
        assert {got.code for got in answers if got.status == 403} == {"requests_spent"}
        assert agent.door.denied() == "requests_spent"
    assert len(agent.records.of("ended")) == 50
    assert {call.rule for call in agent.records.of("denied")} == {"limits.run.requests", "gateway.door"}


def test_input_that_the_budget_cannot_pay_is_never_sent(start: Start) -> None:
    with upstream(either) as up:
        agent = start(route(up.url), input_tokens=100)
        got = agent.chat(messages=[{"role": "user", "content": "x" * 1000}])
        assert (got.status, got.code) == (403, "input_tokens_spent")
        assert up.seen == []


def test_two_doors_of_two_runs_know_their_own_run_only() -> None:
    records = Records()
    with (
        upstream(either) as up,
        GatewayProcess((route(up.url, models=("m", "n")),), records, user=USER) as gateway,
        listening() as first,
        listening() as second,
        gateway.open(first, replace(POLICY, run="run-a", requests=1)) as door_a,
        gateway.open(second, replace(POLICY, run="run-b", model="n")) as door_b,
    ):
        a = Agent(first.getsockname()[1], door_a, records, gateway)
        b = Agent(second.getsockname()[1], door_b, records, gateway)
        assert a.chat().status == 200
        assert a.chat().status == 403
        assert b.chat(model="n").status == 200
        assert (door_a.denied(), door_b.denied()) == ("requests_spent", None)
        assert b.chat(model="m").status == 403
    assert [(c.run, c.phase, c.model) for c in records.calls if c.phase != "opened"] == [
        ("run-a", "ended", "m"), ("run-a", "denied", "m"), ("run-b", "ended", "n"), ("run-b", "denied", "n"),
    ]  # fmt: skip


def test_closing_a_door_ends_and_records_what_goes_on_behind_it() -> None:
    records, got = Records(), []
    with (
        upstream(stream(STREAM[0], end="stall")) as up,
        GatewayProcess((route(up.url),), records, user=USER) as gateway,
        listening() as listener,
    ):
        with gateway.open(listener, replace(POLICY, idle_timeout=60.0)) as door:
            agent = Agent(listener.getsockname()[1], door, records, gateway)
            asking = threading.Thread(target=lambda: got.append(agent.chat(stream=True)))
            asking.start()
            until(lambda: up.seen)
        assert [(call.phase, call.reason) for call in records.calls] == [("opened", ""), ("ended", "agent_left")]
        asking.join()
        # The socket still listens, for the worker has it too; but nobody answers.
        with socket.create_connection(listener.getsockname(), timeout=5) as late:
            late.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
            late.settimeout(0.3)
            with pytest.raises(TimeoutError):
                late.recv(1)
    assert not got or not got[0].complete


@pytest.mark.parametrize("phase", ["opened", "ended"])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_exchange_that_cannot_be_recorded_is_denied(start: Start, phase: str, streamed: bool) -> None:
    with upstream(either) as up:
        agent = start(route(up.url))

        def refuse(call: Call) -> bool:
            return call.phase == phase

        agent.records.refuse = refuse
        got = agent.chat(stream=streamed)
        assert agent.door.denied() == "not_recorded"
        assert len(up.seen) == (phase == "ended")
        if phase == "ended" and streamed:
            assert (got.status, got.complete) == (200, False)
            assert STREAM[2] not in got.body
        else:
            assert (got.status, got.code, got.headers["x-should-retry"]) == (403, "not_recorded", "false")


def test_a_refusal_that_cannot_be_recorded_is_a_refusal(start: Start) -> None:
    with upstream(either) as up:
        agent = start(route(up.url))
        agent.records.refuse = lambda call: True
        assert agent.request("GET", "/admin").status == 403
        assert agent.door.denied() == "not_recorded"


def test_a_model_that_the_route_does_not_offer_opens_no_door(start: Start) -> None:
    # E08: neither an alias nor a fallback.
    with upstream(either) as up, GatewayProcess((route(up.url),), Records(), user=USER) as gateway:
        for wrong in (replace(POLICY, model="n"), replace(POLICY, route="other")):
            with (
                listening() as listener,
                pytest.raises(ControlMissing, match="does not offer"),
                gateway.open(listener, wrong),
            ):
                pass


@pytest.mark.parametrize(
    "endpoint",
    ["ftp://127.0.0.1/v1", "http://", "http://user:pass@127.0.0.1/v1", "http://127.0.0.1:99999/v1",
     "http://127.0.0.1/v1?key=x", "http://models.example.internal/v1", "http://127.0.0.1:0/v1"],
)  # fmt: skip
def test_an_endpoint_that_cannot_be_used_stops_the_start(endpoint: str) -> None:
    with pytest.raises(InputError), GatewayProcess((route(endpoint),), Records(), user=USER):
        pass
