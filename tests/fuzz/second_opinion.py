"""The gateway's protocols read another way: what a request may hold, and when a stream is complete.

Requests are read as a careless provider would: one object where a list should stand, both spellings of a name, and a
part by what it holds rather than by the kind that it says it is. What is the agent's own data (arguments and results of
calls, schemas of functions) is not looked into.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

_ELSEWHERE = {
    "file_id", "file_url", "fileData", "file_data", "executableCode", "executable_code",
    "codeExecutionResult", "code_execution_result",
}  # fmt: skip
_BELOW = ("content", "output", "parts", "source", "functionResponse", "function_response")
_NEVER = {
    "chat": {"models", "route", "provider", "plugins", "store", "web_search_options", "metadata"},
    "responses": {"previous_response_id", "conversation", "prompt", "background", "metadata", "user", "models"},
    "messages": {"mcp_servers", "container", "metadata", "service_tier", "models"},
    "gemini": {"cachedContent", "cached_content", "model", "labels"},
}


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which nobody can read one key and somebody else another."""
    assert len(dict(pairs)) == len(pairs), "a key that stands there twice"
    return dict(pairs)


def require_approved(wire: str, body: bytes) -> None:
    """Whoever reads this body in whatever way finds the approved model, and nothing that a provider would run."""
    fields = json.loads(body.decode("utf-8"), object_pairs_hook=once)
    assert wire == "gemini" or fields["model"] == "m", fields["model"]
    assert not {name for name in _NEVER[wire] if fields.get(name)}
    assert wire != "responses" or fields["store"] is False, "kept at the provider"
    offered = [*listed(fields.get("tools"))]
    said = [*listed(fields.get("messages")), *listed(fields.get("input")), *listed(fields.get("contents"))]
    said += [*listed(fields.get("system")), *listed(fields.get("systemInstruction"))]
    said += listed(fields.get("system_instruction"))
    for tool in [*offered, *(tool for item in said for tool in offered_in(item))]:
        require_run_here(wire, tool)
    for one in said:
        for part in parts_of(one.get("parts") if wire == "gemini" else one):
            require_at_hand(wire, part)


def listed(value: Any) -> list[Any]:
    """What stands there, as a list."""
    return value if isinstance(value, list) else [] if value is None else [value]


def offered_in(item: Any) -> Iterator[Any]:
    """Tools that are offered in the middle of a conversation."""
    if not isinstance(item, dict):
        return
    if item.get("type") in ("additional_tools", "tool_search_output"):
        yield from listed(item.get("tools"))
    for block in listed(item.get("content")):
        if isinstance(block, dict) and block.get("type") == "tool_addition":
            tool = block.get("tool")
            assert isinstance(tool, dict), block
            if tool.get("type") != "tool_reference":
                yield tool.get("definition")


def parts_of(value: Any) -> Iterator[dict[str, Any]]:
    """Every object where a provider looks for content, lists and single ones alike."""
    if isinstance(value, list):
        for item in value:
            yield from parts_of(item)
    elif isinstance(value, dict):
        yield value
        for name in _BELOW if value.get("type") not in ("reasoning", "compaction", "compaction_summary") else ():
            yield from parts_of(value.get(name))


def require_run_here(wire: str, tool: Any) -> None:
    """A tool that the agent runs."""
    kind = tool.get("type")
    if wire == "gemini":
        assert set(tool) <= {"functionDeclarations", "function_declarations"}, tool
    elif wire == "messages":
        assert not kind or kind == "custom" or re.match("(bash|text_editor|memory)_", kind), tool
    elif kind == "namespace":
        for inner in listed(tool.get("tools")):
            assert inner.get("type") != "namespace", tool
            require_run_here(wire, inner)
    elif kind == "shell":
        assert tool["environment"]["type"] == "local", tool
    elif kind == "tool_search":
        assert tool["execution"] == "client", tool
    else:
        known = ("function", "custom") if wire == "chat" else ("function", "custom", "local_shell", "apply_patch")
        assert kind in known, tool
        assert not {"server_url", "connector_id", "container", "vector_store_ids", "environment"} & set(tool), tool


def require_at_hand(wire: str, part: dict[str, Any]) -> None:
    """Content that stands in the request itself."""
    elsewhere = _ELSEWHERE if wire == "gemini" else {"file_id", "file_url"}
    assert not {name for name in elsewhere & set(part) if part[name]}, part
    image = part.get("image_url")
    if image:
        address = image.get("url") if isinstance(image, dict) else image
        assert isinstance(address, str) and address.startswith("data:image/"), part
    source = part.get("source")
    if wire == "messages" and part.get("type") in ("image", "document"):
        assert isinstance(source, dict) and source["type"] in ("base64", "text", "content"), part
    assert part.get("type") not in ("input_audio", "file", "item_reference", "web_search_call", "mcp_call"), part


def closed(wire: str, stream: bytes) -> bool:
    """Whether a stream has all the closing words of its protocol, in their order."""
    finish = False
    for data in events(stream):
        if data == "[DONE]":
            if finish and wire in ("chat", "gemini"):
                return True
            continue
        try:
            event = json.loads(data)
        except ValueError:
            return False
        if not isinstance(event, dict):
            return False
        kind = event.get("type")
        if wire == "responses" and kind in ("response.completed", "response.incomplete"):
            return True
        if wire == "messages" and kind == "message_stop":
            return finish
        finish = finish or _finishes(wire, event)
    return finish and wire == "gemini"


def events(stream: bytes) -> Iterator[str]:
    """The data of each whole event, line by line as the standard says; the last one may lack its empty line."""
    waiting: list[str] = []
    for line in re.split("\r\n|\n|\r", stream.decode("utf-8", "replace")):
        if line.startswith("data:"):
            waiting.append(line[5:].removeprefix(" "))
        elif not line and waiting:
            yield "\n".join(waiting)
            waiting = []


def _finishes(wire: str, event: dict[str, Any]) -> bool:
    if wire == "messages":
        return event.get("type") == "message_delta" and bool((event.get("delta") or {}).get("stop_reason"))
    if wire == "gemini":
        ended = [one.get("finishReason") for one in event.get("candidates") or () if isinstance(one, dict)]
        return any(ended) or bool((event.get("promptFeedback") or {}).get("blockReason"))
    choices = event.get("choices") if wire == "chat" else None
    return any(isinstance(one, dict) and one.get("finish_reason") for one in choices or ())
