"""The wire protocols between agents and models by name, and which of them each kind of provider speaks."""

from typing import Literal

#: chat: OpenAI Chat Completions. responses: OpenAI Responses. messages: Anthropic Messages. gemini: generateContent.
Wire = Literal["chat", "responses", "messages", "gemini"]

#: All that a kind of provider can be asked in; also what a route takes that names no protocols.
SPOKEN: dict[str, tuple[Wire, ...]] = {
    "replay": ("chat", "responses", "messages", "gemini"),
    "openai": ("chat", "responses"),
    "anthropic": ("messages",),
    "gemini": ("gemini",),
    "azure": ("chat", "responses"),
    "bedrock": ("messages",),
    "vertex": ("gemini", "messages"),
}
