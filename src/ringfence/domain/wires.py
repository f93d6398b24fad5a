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

#: What an agent may speak to a provider that lacks it, and in what that is asked instead: the first that it speaks.
TRANSLATED: dict[Wire, tuple[Wire, ...]] = {"messages": ("chat",), "responses": ("chat",), "chat": ("messages",)}


def asked_in(wire: Wire, spoken: tuple[Wire, ...]) -> Wire | None:
    """What a provider that speaks these is asked in when an agent speaks `wire`; None when nothing can be done."""
    return next((other for other in TRANSLATED.get(wire, ()) if other in spoken), None)
