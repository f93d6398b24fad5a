"""Each of the four protocols over real sockets: what travels, what comes back, what is counted, how no is said."""

import json
from typing import Any

import pytest
from agent_side import KEY, Agent, Start, route
from model_upstream import Behaviour, Seen, Upstream, answer, cut, silent, stream, upstream
from speakers import CHAT, GEMINI, MESSAGES, RESPONSES, SPEAKERS, Speaker

from ringfence.gateway.call import RouteConfig

each = pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}


def route_of(speaker: Speaker, up: Upstream, **fields: Any) -> RouteConfig:
    return route(up.url, provider=speaker.provider, **fields)


def door(start: Start, speaker: Speaker, up: Upstream, **policy: Any) -> Agent:
    return start(route_of(speaker, up), **policy)


def said(speaker: Speaker, got_body: bytes) -> str:
    """The named reason of an error, wherever the protocol has it."""
    line = next((line[6:] for line in got_body.splitlines() if line.startswith(b"data: ")), got_body)
    value = json.loads(line)
    error = value["response"]["error"] if "response" in value else value["error"]
    return str(error["details"][0]["reason"] if speaker is GEMINI else error["code"])


@each
def test_a_whole_answer_is_handed_on_as_it_is_and_counted(start: Start, speaker: Speaker) -> None:
    body = json.dumps(speaker.whole("Hello world")).encode()
    with upstream(answer(body)) as up:
        agent = door(start, speaker, up)
        got = speaker.ask(agent)
    assert (got.status, got.body) == (200, body)
    call = agent.records.only
    assert (call.protocol, call.provider, call.input_tokens, call.output_tokens) == (
        speaker.name, speaker.provider, 11, 7,
    )  # fmt: skip
    assert (call.cached_tokens, call.reasoning_tokens, call.tokens_estimated) == (4, 3, False)


@each
def test_a_stream_is_handed_on_byte_for_byte_and_counted(start: Start, speaker: Speaker) -> None:
    more = {"stream_options": {"include_usage": True}} if speaker is CHAT else {}
    with upstream(stream(*speaker.events)) as up:
        agent = door(start, speaker, up)
        got = speaker.ask(agent, stream=True, **more)
    assert (got.status, got.complete, got.body) == (200, True, b"".join(speaker.events))
    call = agent.records.only
    assert (call.input_tokens, call.output_tokens, call.cached_tokens, call.reasoning_tokens) == (11, 7, 4, 3)


@each
def test_what_an_agent_sends_is_what_the_provider_gets(start: Start, speaker: Speaker) -> None:
    with upstream(answer(json.dumps(speaker.whole("x")).encode())) as up:
        agent = door(start, speaker, up)
        assert speaker.ask(agent, **speaker.tool(SCHEMA)).status == 200
    (seen,) = up.seen
    expected = {**speaker.body("hi"), **speaker.tool(SCHEMA)}
    assert json.loads(seen.body) == ({**expected, "store": False} if speaker is RESPONSES else expected)


@pytest.mark.parametrize(
    ("speaker", "header", "line"),
    [
        (CHAT, ("authorization", f"Bearer {KEY}"), "POST /v1/chat/completions HTTP/1.1"),
        (RESPONSES, ("authorization", f"Bearer {KEY}"), "POST /v1/responses HTTP/1.1"),
        (MESSAGES, ("x-api-key", KEY), "POST /v1/messages HTTP/1.1"),
        (GEMINI, ("x-goog-api-key", KEY), "POST /v1/models/m:streamGenerateContent?alt=sse HTTP/1.1"),
    ],
    ids=lambda value: value.name if isinstance(value, Speaker) else "",
)
def test_each_provider_gets_its_own_header_and_none_of_the_agents(
    start: Start, speaker: Speaker, header: tuple[str, str], line: str
) -> None:
    forged = {"authorization": "Bearer x", "x-api-key": "x", "x-goog-api-key": "x", "anthropic-beta": "one-2026,two",
              "x-stainless-os": "Linux", "session-id": "s"}  # fmt: skip
    with upstream(stream(*speaker.events)) as up:
        speaker.ask(door(start, speaker, up), stream=True, headers=forged)
    (seen,) = up.seen
    assert seen.line == line
    keys = {
        name: value for name, value in seen.headers.items() if name in ("authorization", "x-api-key", "x-goog-api-key")
    }
    assert keys == dict([header])
    beta = {name: value for name, value in seen.headers.items() if name.startswith("anthropic-")}
    assert beta == (
        {"anthropic-version": "2023-06-01", "anthropic-beta": "one-2026,two"} if speaker is MESSAGES else {}
    )
    assert not {"x-stainless-os", "session-id"} & set(seen.headers)


@each
def test_a_stream_without_its_closing_words_is_never_complete(start: Start, speaker: Speaker) -> None:
    for missing in range(1, len(speaker.closing) + 1):
        events = speaker.events[:-missing]
        with upstream(stream(*events)) as up:
            agent = door(start, speaker, up)
            got = speaker.ask(agent, stream=True)
        assert (got.status, got.complete) == (200, False)
        assert speaker.closing[-1] not in got.body
        assert agent.records.only.reason == "upstream_truncated"


FAULTS: list[tuple[str, Behaviour, tuple[int, str]]] = [
    ("cut", cut, (502, "upstream_unreachable")),
    ("no answer", silent, (504, "upstream_timeout")),
    ("web page", answer(b"<html>", kind="text/html"), (502, "upstream_not_sse")),
    ("no stream", answer(b"{}"), (502, "upstream_not_sse")),
    ("page as stream", stream(b"data: <html>\n\n"), (502, "upstream_not_sse")),
    ("another protocol", stream(b'data: {"object":"x"}\n\n'), (502, "upstream_not_sse")),
    ("empty", stream(), (502, "upstream_empty")),
    ("done at once", stream(b"data: [DONE]\n\n"), (502, "upstream_truncated")),
    ("unauthorized", answer(b'{"error":{"message":"bad key"}}', status=401), (403, "provider_refused")),
    ("busy", answer(b"{}", status=429), (429, "upstream_busy")),
    ("overloaded", answer(b"{}", status=529), (502, "upstream_failed")),
    ("rejected", answer(b'{"error":{"type":"t","message":"m"}}', status=400), (400, "provider_rejected")),
]


@each
@pytest.mark.parametrize(("behaviour", "expected"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_provider_that_fails_is_said_in_the_agents_own_protocol(
    start: Start, speaker: Speaker, behaviour: Behaviour, expected: tuple[int, str]
) -> None:
    with upstream(behaviour) as up:
        agent = door(start, speaker, up, first_byte_timeout=1.0)
        got = speaker.ask(agent, stream=True)
    assert (got.status, said(speaker, got.body)) == expected
    assert (got.headers.get("x-should-retry") == "false") == (got.status in (400, 403))
    assert agent.records.of("ended")[-1].reason == expected[1]


@each
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"error":{"message":"no"}}', b'{"type":"error"}'])
def test_a_whole_answer_that_is_none_is_never_handed_on(start: Start, speaker: Speaker, body: bytes) -> None:
    with upstream(answer(body)) as up:
        got = speaker.ask(door(start, speaker, up))
    assert got.status == 502
    assert said(speaker, got.body).startswith("upstream_")


@each
def test_an_error_in_the_middle_of_a_stream_is_said_as_an_event_and_broken_off(start: Start, speaker: Speaker) -> None:
    with upstream(
        stream(*speaker.opening, speaker.text("Hello"), b'data: {"type":"error","error":{"message":"x"}}\n\n')
    ) as up:
        agent = door(start, speaker, up)
        got = speaker.ask(agent, stream=True)
    assert (got.status, got.complete) == (200, False)
    assert b'"message":"x"' not in got.body
    last = [line for line in got.body.splitlines() if line.startswith(b"data: ")][-1]
    assert said(speaker, last) == "upstream_error"


@each
def test_a_final_no_has_the_protocols_own_form(start: Start, speaker: Speaker) -> None:
    with upstream(stream(*speaker.events)) as up:
        agent = door(start, speaker, up, requests=1)
        assert speaker.ask(agent, stream=True).status == 200
        got = speaker.ask(agent, stream=True)
    assert (got.status, got.headers["x-should-retry"], said(speaker, got.body)) == (403, "false", "requests_spent")
    value = json.loads(got.body)
    match speaker.name:
        case "messages":
            assert (value["type"], value["error"]["type"]) == ("error", "permission_error")
        case "gemini":
            assert (value["error"]["code"], value["error"]["status"]) == (403, "PERMISSION_DENIED")
        case _:
            assert (value["error"]["type"], value["error"]["rule"]) == ("ringfence", "limits.run.requests")
    assert agent.door.denied() == "requests_spent"
    assert agent.records.of("denied")[0].response == got.body


@each
def test_a_model_that_is_not_approved_is_a_final_no_in_every_protocol(start: Start, speaker: Speaker) -> None:
    with upstream(stream(*speaker.events)) as up:
        agent = door(start, speaker, up)
        body = json.dumps({**speaker.body("hi"), "model": "other"}).encode()
        path = speaker.path.replace("models/m:", "models/other:")
        got = agent.post(body, path=path)
    assert (got.status, said(speaker, got.body)) == (403, "model_not_approved")
    assert up.seen == []


@each
def test_a_protocol_that_the_route_lacks_is_a_final_no(start: Start, speaker: Speaker) -> None:
    others = tuple(one.name for one in SPEAKERS if one is not speaker)
    with upstream(stream(*speaker.events)) as up:
        agent = start(route_of(speaker, up, protocols=others))
        got = speaker.ask(agent)
    assert (got.status, said(speaker, got.body)) == (403, "protocol_not_approved")
    assert agent.door.denied() == "protocol_not_approved"
    assert agent.records.only.rule == "models.routes"
    assert up.seen == []


@each
@pytest.mark.parametrize("streamed", [False, True])
def test_the_credential_comes_back_in_no_protocol(start: Start, speaker: Speaker, streamed: bool) -> None:
    whole = answer(json.dumps(speaker.whole(f"key {KEY}!")).encode())
    pieces = stream(*speaker.opening, speaker.text(f"key {KEY}!"), *speaker.closing)
    with upstream(pieces if streamed else whole) as up:
        agent = door(start, speaker, up)
        got = speaker.ask(agent, stream=streamed)
    assert speaker.written(got.body) == "key [redacted]!"
    assert KEY.encode() not in agent.records.only.response


@each
def test_a_credential_spread_over_events_breaks_the_stream(start: Start, speaker: Speaker) -> None:
    pieces = stream(*speaker.opening, *map(speaker.text, KEY), *speaker.closing)
    with upstream(pieces) as up:
        agent = door(start, speaker, up)
        got = speaker.ask(agent, stream=True)
    assert not got.complete
    assert b"credential_reflected" in got.body
    assert speaker.written(got.body.rsplit(b"event: response.failed")[0]) == KEY[:3]
    assert agent.records.only.response == b""


@each
def test_an_agents_own_limit_is_lowered_to_what_is_left(start: Start, speaker: Speaker) -> None:
    limits: dict[str, dict[str, Any]] = {
        "chat": {"max_completion_tokens": 900}, "responses": {"max_output_tokens": 900},
        "messages": {"max_tokens": 900}, "gemini": {"generationConfig": {"maxOutputTokens": 900, "topK": 1}},
    }  # fmt: skip
    with upstream(answer(json.dumps(speaker.whole("x")).encode())) as up:
        agent = door(start, speaker, up, output_tokens=100)
        speaker.ask(agent, **limits[speaker.name])
    sent = json.dumps(json.loads(up.seen[0].body))
    assert ": 100" in sent
    assert "900" not in sent


@pytest.mark.parametrize("path", [
    "/v1/messages/count_tokens", "/v1/messages?beta=false", "/v1/messages/batches", "/v1/responses/compact",
    "/v1/responses?x=1", "/v1/responses/r1", "/v1beta/models/m:countTokens", "/v1beta/models/m:streamGenerateContent",
    "/v1beta/models/m:generateContent?key=x", "/v1beta/cachedContents", "/v1beta/models/m/../n:generateContent",
    "/v1beta/models/:generateContent", "/v1/files",
])  # fmt: skip
def test_nothing_else_of_a_protocol_is_here(start: Start, path: str) -> None:
    with upstream(silent) as up:
        agent = start(route(up.url, protocols=("chat", "responses", "messages", "gemini")))
        got = agent.post(b"{}", path=path)
    assert got.status == 404
    assert agent.door.denied() is None
    assert up.seen == []


@pytest.mark.parametrize("spelled", ["m%2Fn", "m%2fn"])
def test_a_model_in_an_address_is_read_once_and_written_again(start: Start, spelled: str) -> None:
    lines = []

    def behave(sock: Any, seen: Seen) -> bool:
        lines.append(seen.line)
        return answer(json.dumps(GEMINI.whole("x")).encode())(sock, seen)

    with upstream(behave) as up:
        agent = start(route(up.url, provider="gemini", models=("m/n",)), model="m/n")
        got = agent.post(json.dumps(GEMINI.body("hi")).encode(), path=f"/v1beta/models/{spelled}:generateContent")
        assert got.status == 200
        twice = agent.post(json.dumps(GEMINI.body("hi")).encode(), path="/v1beta/models/m%252Fn:generateContent")
        assert twice.status == 403
    assert lines == ["POST /v1/models/m%2Fn:generateContent HTTP/1.1"]
