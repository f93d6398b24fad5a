"""Requests of Anthropic Messages as requests of Chat Completions.

Left out, because no answer means anything else without it: marks for caches, what the model thought (with its
signatures), how much it shall think (the provider's default holds), and what the provider would clear of an old
context. Tools that would be loaded later are offered from the beginning.
"""

import json
from typing import Any

from ringfence.gateway.protocols.shape import at, shown
from ringfence.gateway.protocols.translate.fields import listed, name_of, only, text

_SAME = ("model", "stream", "max_tokens", "temperature", "top_p", "top_k")
_LEFT_OUT = ("thinking", "context_management", "cache_control")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_THOUGHTS = ("thinking", "redacted_thinking")


def request(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, as messages.py has judged them. Errors: ValueError for what Chat Completions cannot say."""
    only(
        fields, "the request", *_SAME, *_LEFT_OUT, "messages", "system", "stop_sequences", "tools", "tool_choice",
        "output_config", "output_format",
    )  # fmt: skip
    sent = {name: fields[name] for name in _SAME if fields.get(name) is not None}
    sent["messages"] = _conversation(fields)
    if fields.get("stop_sequences"):
        sent["stop"] = fields["stop_sequences"]
    if fields.get("tools"):
        sent["tools"] = [_tool(tool, f"`tools[{n}]`") for n, tool in enumerate(listed(fields["tools"], "`tools`"))]
    return sent | _choice(fields.get("tool_choice")) | _form(fields)


def _conversation(fields: dict[str, Any]) -> list[dict[str, Any]]:
    system = _texts(fields.get("system"), "`system`")
    said = [{"role": "system", "content": system}] if system else []
    messages = fields["messages"]
    if messages[-1]["role"] == "assistant":
        raise ValueError("`messages` ends with the beginning of the answer")
    for place, message in enumerate(messages):
        where = f"`messages[{place}]`"
        only(message, where, "role", "content")
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else listed(content, where)
        match message["role"]:
            case "assistant":
                said.append(_assistant(blocks, where))
            case "user":
                said += _user(blocks, where)
            case _:
                said.append({"role": "system", "content": _texts(blocks, where)})
    return said


def _assistant(blocks: list[dict[str, Any]], where: str) -> dict[str, Any]:
    calls = []
    for block in blocks:
        if block["type"] == "tool_use":
            only(block, f"a tool_use in {where}", "type", "id", "name", "input", "cache_control", "caller")
            written = json.dumps(block.get("input") or {}, ensure_ascii=False)
            function = {"name": name_of(block, "name", where), "arguments": written}
            calls.append({"id": name_of(block, "id", where), "type": "function", "function": function})
    said = _texts([block for block in blocks if block["type"] not in ("tool_use", *_THOUGHTS)], where)
    return {"role": "assistant", "content": said or (None if calls else ""), **({"tool_calls": calls} if calls else {})}


def _user(blocks: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """Results of tools, each a message of its own, and then what the user says."""
    results = [_result(block, where) for block in blocks if block["type"] == "tool_result"]
    rest = [block for block in blocks if block["type"] != "tool_result"]
    if not rest:
        return results
    if all(block["type"] == "text" for block in rest):
        return [*results, {"role": "user", "content": _texts(rest, where)}]
    parts = [_image(block, where) if block["type"] == "image" else _part(block, where) for block in rest]
    return [*results, {"role": "user", "content": parts}]


def _result(block: dict[str, Any], where: str) -> dict[str, Any]:
    only(block, f"a tool_result in {where}", "type", "tool_use_id", "content", "is_error", "cache_control")
    said = _texts(block.get("content"), f"a tool_result in {where}")
    if block.get("is_error"):
        said = f"Error: {said}"
    return {"role": "tool", "tool_call_id": name_of(block, "tool_use_id", where), "content": said}


def _part(block: dict[str, Any], where: str) -> dict[str, Any]:
    return {"type": "text", "text": _texts([block], where)}


def _image(block: dict[str, Any], where: str) -> dict[str, Any]:
    source = only(block.get("source"), f"an image in {where}", "type", "media_type", "data")
    kind, content = text(source, "media_type", where), text(source, "data", where)
    if source.get("type") != "base64" or not kind.startswith("image/"):
        raise ValueError(f"{where} has an image that is not in base64")
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{content}"}}


def _texts(content: object, where: str) -> str:
    """What stands in text, or in blocks of text alone."""
    if isinstance(content, str):
        return content
    said = []
    for block in listed(content, where):
        if at(block, "type") == "tool_reference":
            said.append(f"The tool {text(block, 'tool_name', where)} can be called.")  # as it could be all the time
            continue
        if at(block, "type") != "text":
            raise ValueError(f"{where} has {shown(at(block, 'type'))}")
        only(block, f"a text in {where}", "type", "text", "cache_control", "citations")
        said.append(text(block, "text", where))
    return "\n\n".join(said)


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom"):
        raise ValueError(f"{where} is {shown(tool['type'])}, whose form only the protocol's own models know")
    only(
        tool, where, "type", "name", "description", "input_schema", "strict", "cache_control", "input_examples",
        "eager_input_streaming", "defer_loading",
    )  # fmt: skip
    function = {"name": name_of(tool, "name", where), "parameters": tool.get("input_schema") or {}}
    kept = {name: tool[name] for name in ("description", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": {**function, **kept}}


def _choice(choice: object) -> dict[str, Any]:
    if choice is None:
        return {}
    given = only(choice, "`tool_choice`", "type", "name", "disable_parallel_tool_use")
    kind = given.get("type")
    if kind == "tool":
        wanted: object = {"type": "function", "function": {"name": name_of(given, "name", "`tool_choice`")}}
    elif isinstance(kind, str) and kind in _CHOICES:
        wanted = _CHOICES[kind]
    else:
        raise ValueError(f"`tool_choice` is {shown(kind)}")
    return {"tool_choice": wanted, **({"parallel_tool_calls": False} if given.get("disable_parallel_tool_use") else {})}


def _form(fields: dict[str, Any]) -> dict[str, Any]:
    """The form that the answer must have."""
    config = only(fields.get("output_config") or {}, "`output_config`", "effort", "format")
    form = config.get("format") or fields.get("output_format")
    if form is None:
        return {}
    only(form, "the form of the output", "type", "schema")
    if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        raise ValueError(f"the form of the output is {shown(form.get('type'))}")
    schema = {"name": "answer", "schema": form["schema"], "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
