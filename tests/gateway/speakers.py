"""The four protocols as an agent and as a provider write them, for tests that say the same of each."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent_side import Agent, Answer

Json = dict[str, Any]


@dataclass(frozen=True)
class Speaker:
    """One protocol: requests, answers, and the events of a stream."""

    name: str
    provider: str
    path: str
    stream_path: str
    body: Callable[[str], Json]  # a request that says something
    tool: Callable[[Json], Json]  # the request with a function offered
    whole: Callable[[str], Json]
    opening: tuple[bytes, ...]
    text: Callable[[str], bytes]
    closing: tuple[bytes, ...]
    written: Callable[[bytes], str]  # the text of an answer, whole or streamed

    def ask(self, agent: Agent, *, stream: bool = False, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        body = {**self.body("hi"), **more}
        if stream and self.name != "gemini":
            body["stream"] = True
        return agent.post(
            json.dumps(body).encode(), path=self.stream_path if stream else self.path, headers=headers or {}
        )

    @property
    def events(self) -> tuple[bytes, ...]:
        return (*self.opening, self.text("Hello"), self.text(" world"), *self.closing)


def event(**fields: Any) -> bytes:
    return f"event: {fields['type']}\ndata: {json.dumps(fields)}\n\n".encode()


def data(value: Json) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def texts(body: bytes, *places: tuple[str | int, ...]) -> str:
    """What stands at some places of a whole answer, or of each event of a stream."""
    lines = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: {")]
    found = ""
    for value in map(json.loads, lines or [body or b"{}"]):
        for place in places:
            here = value
            for step in place:
                try:
                    here = here[step]
                except (KeyError, IndexError, TypeError):
                    here = None
            found += here if isinstance(here, str) else ""
    return found


def _chat_event(**choice: Any) -> bytes:
    return data({"id": "c1", "object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]})


CHAT = Speaker(
    name="chat",
    provider="openai",
    path="/v1/chat/completions",
    stream_path="/v1/chat/completions",
    body=lambda text: {"model": "m", "messages": [{"role": "user", "content": text}]},
    tool=lambda schema: {"tools": [{"type": "function", "function": {"name": "bash", "parameters": schema}}]},
    whole=lambda text: {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
    },
    opening=(_chat_event(delta={"role": "assistant"}, finish_reason=None),),
    text=lambda text: _chat_event(delta={"content": text}, finish_reason=None),
    closing=(
        _chat_event(delta={}, finish_reason="stop"),
        data({
            "choices": [],
            "usage": {
                "prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
        }),
        b"data: [DONE]\n\n",
    ),
    written=lambda body: texts(body, ("choices", 0, "delta", "content"), ("choices", 0, "message", "content")),
)  # fmt: skip

_RESPONSE: Json = {
    "id": "r1", "object": "response", "status": "completed",
    "usage": {
        "input_tokens": 11, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 4},
        "output_tokens_details": {"reasoning_tokens": 3},
    },
}  # fmt: skip

RESPONSES = Speaker(
    name="responses",
    provider="openai",
    path="/v1/responses",
    stream_path="/v1/responses",
    body=lambda text: {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}]},
    tool=lambda schema: {"tools": [{"type": "function", "name": "bash", "parameters": schema, "strict": False}]},
    whole=lambda text: {
        **_RESPONSE, "output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}],
    },
    opening=(event(type="response.created", sequence_number=0, response={"status": "in_progress", "usage": None}),),
    text=lambda text: event(type="response.output_text.delta", output_index=0, content_index=0, delta=text),
    closing=(event(type="response.completed", sequence_number=9, response={**_RESPONSE, "output": []}),),
    written=lambda body: texts(body, ("delta",), ("output", 0, "content", 0, "text")),
)  # fmt: skip

_MESSAGE: Json = {"id": "m1", "type": "message", "role": "assistant"}
_FRESH: Json = {"input_tokens": 5, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 4}

MESSAGES = Speaker(
    name="messages",
    provider="anthropic",
    path="/v1/messages",
    stream_path="/v1/messages?beta=true",
    body=lambda text: {"model": "m", "max_tokens": 900, "messages": [{"role": "user", "content": text}]},
    tool=lambda schema: {"tools": [{"name": "bash", "description": "d", "input_schema": schema}]},
    whole=lambda text: {
        **_MESSAGE, "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
        "usage": {**_FRESH, "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}},
    },
    opening=(
        event(type="message_start", message={**_MESSAGE, "content": [], "usage": {**_FRESH, "output_tokens": 1}}),
        event(type="ping"),
        event(type="content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ),
    text=lambda text: event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": text}),
    closing=(
        event(type="content_block_stop", index=0),
        event(
            type="message_delta", delta={"stop_reason": "end_turn"},
            usage={"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}},
        ),
        event(type="message_stop"),
    ),
    written=lambda body: texts(body, ("delta", "text"), ("content", 0, "text")),
)  # fmt: skip

_COUNTED: Json = {
    "promptTokenCount": 11, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "cachedContentTokenCount": 4,
}  # fmt: skip


def _chunk(text: str, **more: Any) -> Json:
    return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}]}


GEMINI = Speaker(
    name="gemini",
    provider="gemini",
    path="/v1beta/models/m:generateContent",
    stream_path="/v1beta/models/m:streamGenerateContent?alt=sse",
    body=lambda text: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
    tool=lambda schema: {"tools": [{"functionDeclarations": [{"name": "bash", "parametersJsonSchema": schema}]}]},
    whole=lambda text: {**_chunk(text, finishReason="STOP"), "usageMetadata": _COUNTED},
    opening=(),
    text=lambda text: data({**_chunk(text), "usageMetadata": {"promptTokenCount": 11}}),
    closing=(data({**_chunk("", finishReason="STOP"), "usageMetadata": _COUNTED}),),
    written=lambda body: texts(body, ("candidates", 0, "content", "parts", 0, "text")),
)

SPEAKERS = (CHAT, RESPONSES, MESSAGES, GEMINI)
