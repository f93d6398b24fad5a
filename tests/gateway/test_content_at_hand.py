"""Content that a careless provider would fetch, and kinds that are no names, in each protocol.

Fuzzing found the kinds and what stands beside a function's response; the rest was found while its second opinion was
written.
"""

import json
from typing import Any

import pytest

from ringfence.gateway.refusal import Refusal
from ringfence.gateway.request import Head, check_body

FAR = "https://images.example.internal/a.png"
PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
}


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def response(**fields: Any) -> dict[str, Any]:
    return {"contents": [{"parts": [fields]}]}


@pytest.mark.parametrize(
    ("wire", "fields"),
    [
        ("chat", {"messages": [user([{"type": "text", "text": "", "image_url": {"url": FAR}}])]}),
        ("responses", {"input": [user({"type": "input_image", "image_url": FAR})]}),
        ("responses", {"input": [user([{"image_url": FAR}])]}),
        ("responses", {"input": [user("hi", file_id="f")]}),
        ("responses", {"input": [{"type": "tool_search_output", "output": [{"file_url": FAR}]}]}),
        ("responses", {"input": [{"type": ["message"]}]}),
        ("responses", {"input": [user([{"type": {}}])]}),
        ("responses", {"input": "hi", "tools": [{"type": []}]}),
        ("messages", {"messages": [user([{"type": ["text"]}])]}),
        ("messages", {"messages": [user([{"type": "text", "text": "", "file_id": "f"}])]}),
        ("messages", {"messages": [user([{"type": "image", "source": {"type": "base64", "file_id": "f"}}])]}),
        ("messages", {"messages": [user([{"type": "search_result", "content": [
            {"type": "image", "source": {"type": "url", "url": FAR}},
        ]}])]}),
        ("gemini", response(functionResponse={"parts": [{}]}, function_response={"parts": [{"fileData": 1}]})),
        ("gemini", response(functionResponse={"parts": [{"functionResponse": {"parts": [{"fileData": 1}]}}]})),
        ("gemini", response(functionResponse=[{"parts": [{"fileData": 1}]}])),
        ("gemini", response(functionResponse={"name": "f", "response": {}, "file_id": "f"})),
    ],
)  # fmt: skip
def test_what_points_outside_is_refused_whatever_kind_it_says_it_is(wire: str, fields: dict[str, Any]) -> None:
    head = Head(b"POST", PATHS[wire].encode(), b"1.1", ())
    read = check_body(json.dumps({"model": "m", **fields}).encode(), head, "m")
    assert isinstance(read, Refusal)
    assert read.code in ("content_not_allowed", "tool_not_allowed")
