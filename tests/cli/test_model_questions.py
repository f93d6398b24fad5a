"""The question of `models check` in each wire protocol, and how answers are read."""

import json
from typing import Any

import pytest

from ringfence.cli.model_questions import TOOL, Reply, question, reply
from ringfence.domain.wires import Wire

ARGUMENTS = '{"word": "ready"}'
CALLS: dict[Wire, list[dict[str, Any]]] = {
    "chat": [
        {
            "choices": [
                {"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": TOOL, "arguments": ""}}]}}
            ]
        },
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": ARGUMENTS}}]}}]},
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    ],
    "responses": [
        {"type": "response.created", "response": {"tools": [{"type": "function", "name": TOOL}]}},
        {"type": "response.output_item.added", "item": {"type": "function_call", "name": TOOL, "arguments": ""}},
    ],
    "messages": [
        {"type": "message_start", "message": {"content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": TOOL, "input": {}}},
    ],
    "gemini": [{"candidates": [{"content": {"parts": [{"functionCall": {"name": TOOL, "args": {"word": "ready"}}}]}}]}],
}
#: Answers that only talk about the tool, or only list it.
TALK: dict[Wire, list[dict[str, Any]]] = {
    "chat": [{"choices": [{"delta": {"content": TOOL}}]}],
    "responses": [
        {"type": "response.created", "response": {"tools": [{"type": "function", "name": TOOL}]}},
        {"type": "response.output_text.delta", "delta": TOOL},
    ],
    "messages": [{"type": "content_block_delta", "delta": {"type": "text_delta", "text": TOOL}}],
    "gemini": [{"candidates": [{"content": {"parts": [{"text": TOOL}]}}]}],
}
WIRES: tuple[Wire, ...] = ("chat", "responses", "messages", "gemini")


def stream(events: list[dict[str, Any]]) -> bytes:
    return (
        b"".join(b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    )


@pytest.mark.parametrize("wire", WIRES)
def test_a_call_of_the_tool_is_seen_and_talk_about_it_is_not(wire: Wire) -> None:
    assert reply(wire, 200, stream(CALLS[wire])) == Reply(called=True)
    assert reply(wire, 200, stream(TALK[wire])) == Reply(called=False)


@pytest.mark.parametrize("wire", WIRES)
def test_the_question_offers_the_tool_and_names_the_model(wire: Wire) -> None:
    asked = question(wire, "some-model")
    assert TOOL in json.dumps(asked.body["tools"])
    assert "some-model" in asked.target + str(asked.body.get("model"))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "provider_refused", "message": "no"}, "provider_refused"),
        ({"type": "permission_error", "message": "no"}, "permission_error"),
        ({"code": 403, "status": "PERMISSION_DENIED", "message": "no"}, "403"),
        ({"message": "no"}, "status 403"),
    ],
)
def test_a_no_is_read_in_every_form(wire: Wire, error: dict[str, Any], code: str) -> None:
    assert reply(wire, 403, json.dumps({"error": error}).encode()) == Reply(code=code, message="no")


@pytest.mark.parametrize("wire", WIRES)
def test_an_answer_that_broke_off_is_none(wire: Wire) -> None:
    begun = CALLS[wire][:1]
    assert reply(wire, 0, stream(begun)[:-20]) == Reply(code="cut")
    ended = [*begun, {"error": {"code": "upstream_truncated", "message": "cut"}}]
    assert reply(wire, 0, stream(ended)) == Reply(code="upstream_truncated", message="cut")
    nested = [*begun, {"type": "response.failed", "response": {"error": {"code": "x", "message": "inside"}}}]
    assert reply(wire, 200, stream(nested)) == Reply(code="x", message="inside")
    assert reply(wire, 502, b"<html>") == Reply(code="status 502")
