"""AWS Bedrock through a real gateway: an upstream that checks each signature, and frames that are right or wrong."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from agent_side import Agent, Start, route
from cloud_upstream import ACCESS, HIDDEN, Signable, bedrock, chunk, failure, frame, frames
from model_upstream import Behaviour, Upstream, answer, stream, upstream
from speakers import MESSAGES

from ringfence.broker.redacting import LearningRedactor
from ringfence.domain.errors import InputError
from ringfence.points import secrets_in
from ringfence.ports.broker import Secret

TOKEN = "FwoGZXIvYXdzEBYaDH+session/token=="
MODEL = "anthropic.claude-sonnet-4-v1:0"
WHOLE = json.dumps(MESSAGES.whole("Hello world")).encode()
FRAMED = tuple(map(chunk, MESSAGES.events))


def keys(**more: Any) -> Secret:
    return Secret(json.dumps({"Version": 1, "AccessKeyId": ACCESS, "SecretAccessKey": HIDDEN, **more}))


def door(start: Start, up: Upstream, credential: Secret | None = None, **fields: Any) -> Agent:
    config = {"provider": "bedrock", "region": "eu-west-1", "models": (MODEL,), "protocols": ("messages",), **fields}
    at = f"http://127.0.0.1:{up.port}"
    return start(route(at, credential=credential or keys(), **config), model=MODEL)


def ask(agent: Agent, **more: Any) -> Any:
    return MESSAGES.ask(agent, model=MODEL, **more)


# From the SigV4 test suite that AWS publishes: get-vanilla, post-vanilla, post-header-key-sort.
@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", {}, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", {}, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("POST", {"my-header1": "value1"}, "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"),
    ],
)
def test_what_checks_the_signatures_here_agrees_with_the_published_examples(
    method: str, headers: dict[str, str], expected: str
) -> None:
    told = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z", **headers}
    moment = "20150830T123600Z"
    signable = Signable(method, "/", told, tuple(sorted(told)), b"", moment, "us-east-1", "service")
    assert signable.signature(HIDDEN) == expected


def test_what_makes_the_frames_here_agrees_with_the_published_examples() -> None:
    # From the event-stream vectors of AWS's own libraries: empty_message, payload_no_headers, payload_one_str_header.
    assert frame(b"") == b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2H\xeb}\x98\xc8\xff"
    assert frame(b"{'foo':'bar'}") == b"\x00\x00\x00\x1d\x00\x00\x00\x00\xfdR\x8cZ{'foo':'bar'}\xc3e96"
    headed = frame(b"{'foo':'bar'}", **{"content-type": "application/json"})
    prelude = b"\x00\x00\x00=\x00\x00\x00 \x07\xfd\x83\x96"
    header = b"\x0ccontent-type\x07\x00\x10application/json"
    assert headed == prelude + header + b"{'foo':'bar'}\x8d\x9c\x08\xb1"


def test_a_request_is_signed_and_has_bedrocks_form(start: Start) -> None:
    with upstream(bedrock(answer(WHOLE))) as up:
        agent = door(start, up)
        got = ask(agent, headers={"anthropic-version": "2023-06-01", "anthropic-beta": "one-2025, two-2025"})
    assert (got.status, got.body) == (200, WHOLE)
    (seen,) = up.seen
    assert seen.line.split()[1] == "/model/anthropic.claude-sonnet-4-v1%3A0/invoke"
    assert json.loads(seen.body) == {
        "anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["one-2025", "two-2025"],
        "max_tokens": 900, "messages": [{"role": "user", "content": "hi"}],
    }  # fmt: skip
    assert seen.headers["accept"] == "application/json"
    assert not {"anthropic-version", "anthropic-beta"} & set(seen.headers)
    assert HIDDEN not in str(seen)
    call = agent.records.only
    assert (call.provider, call.protocol, call.input_tokens, call.output_tokens) == ("bedrock", "messages", 11, 7)


def test_a_session_token_is_signed_too(start: Start) -> None:
    with upstream(bedrock(answer(WHOLE), token=TOKEN)) as up:
        assert ask(door(start, up, keys(SessionToken=TOKEN))).status == 200


@pytest.mark.parametrize("wrong", [{"region": "eu-west-2"}, {"credential": keys(SecretAccessKey="A" * 40)}])
def test_what_is_signed_otherwise_is_refused_by_the_upstream(start: Start, wrong: dict[str, Any]) -> None:
    # The upstream of these tests is strict: without this, the tests above would say nothing.
    with upstream(bedrock(answer(WHOLE))) as up:
        got = ask(door(start, up, **wrong))
    assert (got.status, got.code) == (403, "provider_refused")


@pytest.mark.parametrize("cut_at", [0, 1, 7, 13, 1000])
def test_a_stream_of_frames_becomes_the_events_that_agents_expect(start: Start, cut_at: int) -> None:
    whole = b"".join(FRAMED)
    pieces = [whole[n : n + cut_at] for n in range(0, len(whole), cut_at)] if cut_at else list(FRAMED)
    with upstream(bedrock(frames(*pieces))) as up:
        agent = door(start, up)
        got = ask(agent, stream=True)
    assert (got.status, got.complete, got.body) == (200, True, b"".join(MESSAGES.events))
    assert up.seen[0].line.split()[1].endswith("/invoke-with-response-stream")
    assert agent.records.only.output_tokens == 7


def test_frames_that_are_no_event_are_not_handed_on(start: Start) -> None:
    begin = frame(b"{}", **{":event-type": "initial-response", ":message-type": "event"})
    with upstream(bedrock(frames(begin, *FRAMED))) as up:
        assert ask(door(start, up), stream=True).body == b"".join(MESSAGES.events)


@pytest.mark.parametrize("kind", ["throttlingException", "modelStreamErrorException", "x\r\ndata: {}"])
def test_an_exception_in_a_stream_is_a_fault_and_no_end(start: Start, kind: str) -> None:
    with upstream(bedrock(frames(*FRAMED[:-1], failure(kind), FRAMED[-1]))) as up:
        agent = door(start, up)
        got = ask(agent, stream=True)
    assert not got.complete
    assert b"message_stop" not in got.body
    assert agent.records.only.reason == "upstream_error"


def _flipped(whole: bytes, place: int) -> bytes:
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


BROKEN: dict[str, Callable[[], Behaviour]] = {
    "a payload that was changed": lambda: frames(*FRAMED[:-1], _flipped(FRAMED[-1], -8)),
    "a length that was changed": lambda: frames(*FRAMED[:-1], _flipped(FRAMED[-1], 3)),
    "a header that was changed": lambda: frames(*FRAMED[:-1], _flipped(FRAMED[-1], 20)),
    "cut in a frame": lambda: frames(*FRAMED[:-1], FRAMED[-1][:-3]),
    "cut between frames": lambda: frames(*FRAMED[:-1]),
    "no base64": lambda: frames(*FRAMED[:-1], _said(b'{"bytes":"%%%"}')),
    "no event": lambda: frames(*FRAMED[:-1], _said(b'{"bytes":"W10="}')),
    "no object": lambda: frames(*FRAMED[:-1], _said(b"[]")),
    "a name with a line end": lambda: frames(*FRAMED[:-1], chunk(b'data: {"type":"a\\nb"}')),
    "no frames": lambda: frames(*FRAMED[:-1], b"event: message_stop\ndata: {}\n\n"),
    "a frame without an end": lambda: frames(*FRAMED[:-1], frame(b"x" * (7 << 20))[:-4]),
}


def _said(payload: bytes) -> bytes:
    return frame(payload, **{":event-type": "chunk", ":message-type": "event"})


@pytest.mark.parametrize("how", BROKEN)
def test_a_stream_of_broken_frames_is_never_complete(start: Start, how: str) -> None:
    with upstream(bedrock(BROKEN[how]())) as up:
        agent = door(start, up)
        got = ask(agent, stream=True)
    assert not got.complete
    assert b"message_stop" not in got.body
    assert agent.records.only.reason in ("upstream_cut", "upstream_truncated")


def test_a_stream_that_is_not_in_frames_is_not_taken_for_one(start: Start) -> None:
    with upstream(bedrock(stream(*FRAMED, kind="application/octet-stream"))) as up:
        got = ask(door(start, up), stream=True)
    assert (got.status, got.code) == (502, "upstream_not_sse")


def test_why_bedrock_rejects_is_told(start: Start) -> None:
    with upstream(bedrock(answer(b'{"message":"max_tokens is too high"}', status=400))) as up:
        got = ask(door(start, up))
    assert (got.status, got.code) == (400, "provider_rejected")
    assert b"max_tokens is too high" in got.body


@pytest.mark.parametrize("secret", [HIDDEN, TOKEN])
def test_a_key_that_comes_back_is_taken_out(start: Start, secret: str) -> None:
    reply = json.dumps(MESSAGES.whole(f"your key is {secret}.")).encode()
    streamed = frames(*map(chunk, (*MESSAGES.opening, MESSAGES.text(f"it is {secret}."), *MESSAGES.closing)))
    with upstream(bedrock(answer(reply), token=TOKEN), bedrock(streamed, token=TOKEN)) as up:
        agent = door(start, up, keys(SessionToken=TOKEN))
        got = [ask(agent), ask(agent, stream=True)]
    assert [one.status for one in got] == [200, 200]
    assert all(secret.encode() not in one.body and b"[redacted]" in one.body for one in got)
    assert all(secret.encode() not in call.response for call in agent.records.calls)


@pytest.mark.parametrize(
    "credential",
    [
        "AKIDEXAMPLE:wJalrXUtnFEMI", "[]", "{}", json.dumps({"AccessKeyId": ACCESS}),
        json.dumps({"AccessKeyId": ACCESS, "SecretAccessKey": "a b"}),
        json.dumps({"AccessKeyId": ACCESS, "SecretAccessKey": HIDDEN, "Profile": "x"}),
        json.dumps({"Version": 2, "AccessKeyId": ACCESS, "SecretAccessKey": HIDDEN}),
    ],
)  # fmt: skip
def test_a_credential_of_another_form_starts_no_gateway(start: Start, credential: str) -> None:
    config = route("http://127.0.0.1:1", provider="bedrock", region="eu-west-1", credential=Secret(credential))
    with pytest.raises(InputError, match="credential of a Bedrock route cannot be read") as failed:
        start(config)
    assert not re.search("wJalr|AKID", str(failed.value))


def test_each_key_in_the_credential_is_known_to_redaction_by_itself() -> None:
    redactor = LearningRedactor((), ())
    for part in secrets_in(keys(SessionToken=TOKEN)):
        redactor.learn(part)
    seen = redactor.redact_text(f"{ACCESS} {HIDDEN} {TOKEN}")
    assert ACCESS in seen
    assert HIDDEN not in seen and TOKEN not in seen
    assert [part.reveal() for part in secrets_in(Secret("sk-plain"))] == ["sk-plain"]


def test_the_keys_do_not_cross_a_network_in_clear(start: Start) -> None:
    config = route("http://bedrock.example.internal", provider="bedrock", region="eu-west-1", credential=keys())
    with pytest.raises(InputError, match="in clear"):
        start(config)


def test_it_is_asked_in_its_own_protocol_only(start: Start) -> None:
    with upstream(bedrock(answer(WHOLE))) as up:
        agent = door(start, up, protocols=())
        assert agent.chat(model=MODEL).status != 200
    assert up.seen == []
