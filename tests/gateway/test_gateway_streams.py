"""The gateway over real sockets: what an agent gets of an upstream that behaves, and of one that does not."""

import http.client
import json
import socket
import time

import pytest
from agent_side import KEY, Start, route
from model_upstream import (
    DONE,
    FINISH,
    STREAM,
    Behaviour,
    Seen,
    answer,
    cut,
    delta,
    either,
    silent,
    stream,
    upstream,
    whole,
)


def test_a_whole_answer_is_handed_on_and_recorded_with_its_usage(start: Start) -> None:
    with upstream(answer(whole())) as up:
        agent = start(route(up.url))
        got = agent.chat()
    assert (got.status, got.body) == (200, whole())
    opened, ended = agent.records.calls
    assert (opened.phase, opened.decision, opened.status) == ("opened", "allow", 0)
    assert (ended.phase, ended.id, ended.status, ended.input_tokens, ended.output_tokens) == (
        "ended", opened.id, 200, 11, 7,
    )  # fmt: skip
    assert (ended.run, ended.door, ended.route, ended.provider, ended.model) == (
        "run-1", "agent/1", "main", "openai", "m",
    )  # fmt: skip
    assert not ended.tokens_estimated
    assert not ended.replayed
    assert json.loads(opened.request)["messages"] == [{"role": "user", "content": "hi"}]
    assert (ended.request, ended.response) == (b"", whole())


def test_a_stream_is_handed_on_byte_for_byte(start: Start) -> None:
    with upstream(stream(*STREAM)) as up:
        agent = start(route(up.url))
        got = agent.chat(stream=True, stream_options={"include_usage": True})
    assert (got.status, got.complete, got.body) == (200, True, b"".join(STREAM))
    assert got.headers["content-type"] == "text/event-stream"
    assert json.loads(up.seen[0].body)["stream_options"] == {"include_usage": True}
    assert (agent.records.only.input_tokens, agent.records.only.output_tokens) == (11, 7)


def test_a_stream_keeps_its_timing(start: Start) -> None:
    with upstream(stream(delta("a"), 0.3, delta("b"), 0.3, FINISH, DONE)) as up:
        agent = start(route(up.url))
        connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=20)
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        came = []
        while piece := response.read1():
            came.append((time.monotonic(), piece))
        connection.close()
    assert [piece for _, piece in came][:2] == [delta("a"), delta("b")]
    assert 0.2 < came[1][0] - came[0][0] < 2


def test_many_turns_use_one_connection_to_the_provider(start: Start) -> None:
    with upstream(either) as up:
        agent = start(route(up.url))
        assert [agent.chat(stream=bool(turn % 2)).status for turn in range(6)] == [200] * 6
    assert up.connections == 1


def test_a_connection_that_the_provider_closed_is_not_used_again(start: Start) -> None:
    def once(sock: object, seen: object) -> bool:
        answer(whole(), headers="connection: close\r\n")(sock, seen)  # type: ignore[arg-type]
        return False

    with upstream(once) as up:
        agent = start(route(up.url))
        assert [agent.chat().status for _ in range(3)] == [200] * 3
    assert up.connections == 3


def test_an_answer_that_nobody_asked_for_is_nobodys_answer(start: Start) -> None:
    # Response poisoning: a second answer must not reach the next request, perhaps of another run.
    def poison(sock: socket.socket, seen: Seen) -> bool:
        answer(whole())(sock, seen)
        time.sleep(0.2)
        return answer(whole("poison"))(sock, seen)

    with upstream(poison, either) as up:
        agent = start(route(up.url))
        assert agent.chat().body == whole()
        time.sleep(0.5)
        assert agent.chat().body == whole()
    assert up.connections == 2


def test_one_agent_connection_carries_many_requests(start: Start) -> None:
    with upstream(either) as up:
        agent = start(route(up.url))
        connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=20)
        for turn in range(4):
            body = {"model": "m", "stream": bool(turn % 2), "messages": [{"role": "user", "content": "hi"}]}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
            assert connection.getresponse().read()
        connection.close()
    assert len(agent.records.of("ended")) == 4


HTML = answer(b"<html>Bad gateway</html>", kind="text/html")
DEEP = answer(b"[" * 200_000)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (answer(b'{"error":{"message":"no such thing"}}', status=400), (400, "provider_rejected")),
        (answer(b'{"error":{"message":"bad key"}}', status=401), (403, "provider_refused")),
        (answer(b"", status=302, headers="location: http://127.0.0.1:9/\r\n"), (502, "upstream_error")),
        (HTML, None),
        (answer(b""), None),
        (DEEP, None),
        (cut, (502, "upstream_unreachable")),
        (silent, (504, "upstream_timeout")),
        (stream(end="stall"), None),
    ],
    ids=["400", "401", "302", "html", "empty", "deep", "cut", "silent", "head only"],
)
def test_an_upstream_that_fails_before_a_byte_is_a_plain_error(
    start: Start, behaviour: Behaviour, expected: tuple[int, str] | None, streamed: bool
) -> None:
    with upstream(behaviour) as up:
        agent = start(route(up.url), first_byte_timeout=0.5, idle_timeout=0.5)
        got = agent.chat(stream=streamed)
        assert got.headers["content-type"] == "application/json"
        assert (got.status, got.code) == expected if expected else got.status in (502, 504)
        outcome = agent.records.of("ended")[-1]
        assert (outcome.status, outcome.reason) == (got.status, got.code)
        assert agent.door.denied() == ("provider_refused" if got.status == 403 else None)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (stream(delta("Hello"), end="cut"), "upstream_cut"),
        (stream(delta("Hello"), FINISH, end="cut"), "upstream_cut"),
        (stream(delta("Hello")), "upstream_truncated"),
        (stream(delta("Hello"), FINISH), "upstream_truncated"),
        (stream(delta("Hello"), DONE), "upstream_truncated"),
        (stream(delta("Hello"), FINISH, end="stall"), "upstream_stalled"),
        (stream(delta("Hello"), b"data: <html>\n\n"), "upstream_not_sse"),
    ],
)
def test_a_stream_that_breaks_is_never_complete(start: Start, behaviour: Behaviour, expected: str) -> None:
    with upstream(behaviour) as up:
        agent = start(route(up.url), idle_timeout=0.5)
        got = agent.chat(stream=True)
    assert (got.status, got.complete) == (200, False)
    assert got.body.startswith(delta("Hello"))
    assert FINISH not in got.body
    assert DONE not in got.body
    assert expected.encode() in got.body
    assert agent.records.only.reason == expected


@pytest.mark.parametrize("streamed", [False, True])
def test_an_endless_answer_is_ended(start: Start, streamed: bool) -> None:
    piece = b": " + b"x" * 60_000 + b"\n\n"
    kind = "text/event-stream" if streamed else "application/json"
    with upstream(stream(piece, end="endless", kind=kind)) as up:
        agent = start(route(up.url))
        got = agent.chat(stream=streamed)
    assert (got.status, got.code) == (502, "upstream_too_large")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_fault_that_passes_is_not_seen_by_the_agent(start: Start, status: int) -> None:
    with upstream(answer(b"{}", status=status), either) as up:
        agent = start(route(up.url), requests=5)
        assert agent.chat(stream=True).complete
    assert [call.status for call in agent.records.of("ended")] == [429 if status == 429 else 502, 200]


def test_a_fault_that_stays_is_given_up_after_three_tries(start: Start) -> None:
    with upstream(answer(b"busy", status=429)) as up:
        agent = start(route(up.url))
        got = agent.chat()
    assert (got.status, got.code) == (429, "upstream_busy")
    assert len(up.seen) == len(agent.records.of("ended")) == 3


def test_an_upstream_that_is_not_there_is_a_plain_error(start: Start) -> None:
    with upstream(either) as up:
        gone = up.url
    agent = start(route(gone))
    got = agent.chat()
    assert (got.status, got.code) == (502, "upstream_unreachable")


def test_a_compressed_answer_is_not_handed_on(start: Start) -> None:
    with upstream(answer(whole(), headers="content-encoding: gzip\r\n")) as up:
        agent = start(route(up.url))
        assert agent.chat().status == 502


def test_an_agent_that_hangs_up_frees_the_provider_and_is_recorded(start: Start) -> None:
    with upstream(stream(delta("Hello"), end="stall")) as up:
        agent = start(route(up.url), idle_timeout=60.0)
        connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=20)
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        assert response.read1() == delta("Hello")
        response.close()
        connection.close()
        deadline = time.monotonic() + 5
        while not agent.records.of("ended") and time.monotonic() < deadline:
            time.sleep(0.01)
    assert (agent.records.only.status, agent.records.only.reason) == (499, "agent_left")


def test_the_credential_goes_to_the_provider_and_nowhere_else(start: Start) -> None:
    with upstream(answer(whole(f"your key is {KEY}")), stream(delta(KEY), FINISH, DONE)) as up:
        agent = start(route(up.url))
        first, second = agent.chat(), agent.chat(stream=True)
    assert [seen.headers["authorization"] for seen in up.seen] == [f"Bearer {KEY}"] * 2
    assert b"[redacted]" in first.body
    assert b"[redacted]" in second.body
    said = first.body + second.body + b"".join(call.request + call.response for call in agent.records.calls)
    assert KEY.encode() not in said
