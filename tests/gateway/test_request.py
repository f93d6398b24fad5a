"""What a door takes and what travels on from it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.gateway.refusal import Refusal
from ringfence.gateway.request import MAX_DEPTH, MAX_REQUEST, MODELS, Asked, Head, check_body, check_head

CHAT = b"/v1/chat/completions"
JSON = (b"content-type", b"application/json; charset=utf-8")
MESSAGES = [{"role": "user", "content": "hi"}]


def head(method: bytes = b"POST", target: bytes = CHAT, *headers: tuple[bytes, bytes], version: bytes = b"1.1") -> Head:
    return Head(method, target, version, headers or (JSON,))


def refused(**fields: Any) -> tuple[int, str]:
    return judged(json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode())


def judged(body: bytes) -> tuple[int, str]:
    result = check_body(body, head(), "m")
    assert isinstance(result, Refusal), result
    return result.status, result.code


def accepted(**fields: Any) -> Asked:
    result = check_body(json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode(), head(), "m")
    assert isinstance(result, Asked), result
    return result


@pytest.mark.parametrize(
    ("request_head", "expected"),
    [
        (head(), None),
        (head(b"GET", MODELS), None),
        (head(b"POST", b"http://internal.example.internal/v1/chat/completions"), (400, "bad_target")),
        (head(b"CONNECT", b"internal.example.internal:443"), (400, "bad_target")),
        (head(b"OPTIONS", b"*"), (400, "bad_target")),
        (head(b"POST", b"/v1/chat/completions?debug=1"), (404, "not_found")),
        (head(b"POST", b"/v1/chat/completions/"), (404, "not_found")),
        (head(b"POST", b"//v1/chat/completions"), (404, "not_found")),
        (head(b"POST", b"/v1/../v1/chat/completions"), (404, "not_found")),
        (head(b"POST", b"/V1/chat/completions"), (404, "not_found")),
        (head(b"POST", b"/v1/files"), (404, "not_found")),
        (head(b"GET", b"/key/generate"), (404, "not_found")),
        (head(b"GET", b"/v1/models/m"), (404, "not_found")),
        (head(b"DELETE", CHAT), (405, "bad_method")),
        (head(version=b"1.0"), (505, "not_http_1_1")),
        (head(b"POST", CHAT, (b"accept", b"*/*")), (415, "bad_content_type")),
        (head(b"POST", CHAT, (b"content-type", b"text/plain")), (415, "bad_content_type")),
        (head(b"POST", CHAT, JSON, JSON), (415, "bad_content_type")),
        (head(b"POST", CHAT, JSON, (b"content-encoding", b"gzip")), (415, "bad_content_encoding")),
        (head(b"POST", CHAT, JSON, (b"x", b"y" * 40_000)), (431, "headers_too_large")),
        (head(b"POST", CHAT, JSON, (b"content-length", b"99999999999")), (413, "too_large")),
    ],
)
def test_only_one_method_on_one_path_passes(request_head: Head, expected: tuple[int, str] | None) -> None:
    refusal = check_head(request_head)
    assert (refusal and (refusal.status, refusal.code)) == expected


def test_only_listed_fields_travel() -> None:
    chat = accepted(
        temperature=0.5, store=True, metadata={"a": 1}, models=["evil"], provider={"order": ["x"]}, route="fallback",
        web_search_options={}, user="u", service_tier="priority", extra_body={}, stream_options={"x": 1}, plugins=[],
        messages=[{"role": "user", "content": "hi", "audio": {"id": "a"}, "name": "n"}],
    )  # fmt: skip
    assert json.loads(chat.outbound()) == {
        "model": "m",
        "temperature": 0.5,
        "messages": [{"role": "user", "content": "hi", "name": "n"}],
    }


def test_a_key_that_stands_twice_is_sent_as_it_was_judged() -> None:
    chat = check_body(b'{"model":"evil","model":"m","messages":[{"role":"user","content":"hi"}]}', head(), "m")
    assert isinstance(chat, Asked)
    assert chat.outbound().count(b"model") == 1
    assert judged(b'{"model":"m","model":"evil","messages":[{"role":"user","content":"hi"}]}')[0] == 403


@pytest.mark.parametrize("model", ["M", "m ", "m\u0000", "openai/m", "", "m/../n", "*"])
def test_a_model_name_is_equal_or_refused(model: str) -> None:
    assert refused(model=model) == (403, "model_not_approved")


@pytest.mark.parametrize("tool", [{"type": "web_search"}, {"type": "mcp", "server_url": "https://x"}, {},
                                  {"type": "function", "function": {}, "server_url": "x"}])  # fmt: skip
def test_a_tool_that_runs_at_the_provider_is_refused(tool: dict[str, Any]) -> None:
    assert refused(tools=[tool]) == (403, "tool_not_allowed")


@pytest.mark.parametrize("part", [
    {"type": "image_url", "image_url": {"url": "https://drop.example.internal/?q=secret"}},
    {"type": "image_url", "image_url": "data:image/png;base64,AA"},
    {"type": "image_url", "image_url": {"url": "data:text/html,x"}},
    {"type": "file", "file": {"file_id": "f"}},
    {"type": "input_audio", "input_audio": {}},
    {},
])  # fmt: skip
def test_content_that_a_provider_would_fetch_is_refused(part: dict[str, Any]) -> None:
    assert refused(messages=[{"role": "user", "content": [part]}]) == (403, "content_not_allowed")


def test_text_and_inline_images_pass() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    accepted(messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}, image]}])


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'"m"', b"null", b"\xff\xfe",
        b'{"model":1}', b'{"model":"m"}', b'{"model":"m","messages":[]}', b'{"model":"m","messages":["hi"]}',
        b'{"model":"m","messages":[{"role":"root"}]}', b'{"model":"m","messages":[{"role":["user"]}]}',
        b'{"model":"m","messages":[{"role":"user","content":5}]}',
        *(b'{"model":"m","messages":[{"role":"user"}],' + rest + b"}" for rest in (
            b'"temperature":NaN', b'"temperature":1e999', b'"stream":"yes"', b'"n":2', b'"n":true', b'"n":[]',
            b'"tools":{}', b'"tools":[1]', b'"max_tokens":0', b'"max_tokens":1.5', b'"max_tokens":true',
            b'"seed":' + b"9" * 5000,
        )),
    ],
)  # fmt: skip
def test_a_malformed_body_is_refused_without_a_final_no(body: bytes) -> None:
    assert judged(body) == (400, "malformed")


def test_half_a_surrogate_pair_does_not_break_the_request() -> None:
    chat = accepted(messages=[{"role": "user", "content": "\ud800x"}])
    assert json.loads(chat.outbound())["messages"][0]["content"] == "?x"


@given(st.text())
def test_the_same_text_goes_out_however_the_agent_spelled_its_characters(text: str) -> None:
    fields = {"model": "m", "messages": [{"role": "user", "content": text}]}
    plainly = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    for spelled in (plainly, json.dumps(fields).encode()):
        result = check_body(spelled, head(), "m")
        assert isinstance(result, Asked), result
        assert result.body == plainly


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_deep_json_is_refused(depth: int) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":' + b"[" * depth + b"]" * depth + b"}]}"
    assert judged(body) == (413, "too_large")


@pytest.mark.parametrize("element", [b"0,", b"{},", b"[],"])
def test_wide_json_is_refused(element: bytes) -> None:
    count = MAX_REQUEST // len(element) - 100
    assert judged(b'{"model":"m","messages":[' + element * count + b"0]}") == (413, "too_large")


def test_the_lower_of_two_limits_counts() -> None:
    chat = accepted(max_tokens=500, max_completion_tokens=300)
    assert chat.output_tokens == 300
    assert json.loads(chat.outbound(100))["max_tokens"] == 100
