"""Requests of Chat Completions as requests of Anthropic Messages.

Left out, because no answer means anything else without it: what the model thought, how much it shall think and say (the
provider's defaults hold), keys and marks of caches.
"""

from typing import Any

from ringfence.gateway.protocols.shape import at, shown
from ringfence.gateway.protocols.translate.fields import arguments, listed, name_of, only, text

#: Messages wants a limit. As much is promised of the budget where a request names none.
_LIMIT = 4096
_SAME = ("model", "stream", "temperature", "top_p", "top_k")
_CHOICES = {None: "auto", "auto": "auto", "required": "any", "none": "none"}
_LEFT_OUT = (
    "reasoning_effort", "reasoning", "verbosity", "thinking", "enable_thinking", "prompt_cache_key", "stream_options",
    "prediction", "seed",
)  # fmt: skip
_MESSAGE = (
    "role", "content", "name", "reasoning_content", "reasoning", "reasoning_details", "reasoning_text",
    "reasoning_opaque", "cache_control",
)  # fmt: skip


def request(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, as chat.py has judged them. Errors: ValueError for what Messages cannot say."""
    only(
        fields, "the request", *_SAME, *_LEFT_OUT, "messages", "max_tokens", "max_completion_tokens", "stop", "tools",
        "tool_choice", "parallel_tool_calls", "response_format",
    )  # fmt: skip
    sent = {name: fields[name] for name in _SAME if fields.get(name) is not None}
    limits = [fields[name] for name in ("max_tokens", "max_completion_tokens") if fields.get(name) is not None]
    sent["max_tokens"] = min(limits, default=_LIMIT)
    sent |= _conversation(fields["messages"])
    if fields.get("stop"):
        sent["stop_sequences"] = [fields["stop"]] if isinstance(fields["stop"], str) else fields["stop"]
    if fields.get("tools"):
        sent["tools"] = [_tool(tool, f"`tools[{n}]`") for n, tool in enumerate(fields["tools"])]
    return sent | _choice(fields) | _form(fields.get("response_format"))


def _conversation(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """What the system says stands apart; all that is no answer is the user's, results of tools first."""
    system: list[str] = []
    said: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        where = f"`messages[{place}]`"
        role = message["role"]
        if role in ("system", "developer"):
            if said:
                raise ValueError(f"{where} is of the system, in the middle of the conversation")
            system.append(_texts(message, where))
            continue
        role, content = _turn(role, message, where)
        if said and said[-1]["role"] == role:
            said[-1]["content"] += content
        else:
            said.append({"role": role, "content": content})
    if not said or said[-1]["role"] == "assistant":
        raise ValueError("`messages` has no word of the user's at its end")
    return {"messages": said, **({"system": "\n\n".join(system)} if system else {})}


def _turn(role: str, message: dict[str, Any], where: str) -> tuple[str, list[dict[str, Any]]]:
    """Whose turn a message is, and its blocks."""
    match role:
        case "user":
            only(message, where, *_MESSAGE)
            return "user", _blocks(message.get("content"), where)
        case "assistant":
            only(message, where, *_MESSAGE, "refusal", "tool_calls")
            calls = [_call(call, where) for call in listed(message.get("tool_calls"), where)]
            blocks = _blocks(message.get("content") or message.get("refusal"), where)
            return "assistant", [*(block for block in blocks if block.get("text")), *calls]
        case "tool":
            only(message, where, *_MESSAGE, "tool_call_id")
            result = {"type": "tool_result", "tool_use_id": name_of(message, "tool_call_id", where)}
            return "user", [{**result, "content": _blocks(message.get("content"), where)}]
        case _:
            raise ValueError(f"{where} is of the role {shown(role)}")


def _texts(message: dict[str, Any], where: str) -> str:
    only(message, where, *_MESSAGE)
    blocks = _blocks(message.get("content"), where)
    if any(block["type"] != "text" for block in blocks):
        raise ValueError(f"{where} has an image")
    return "\n\n".join(block["text"] for block in blocks)


def _blocks(content: object, where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    blocks = []
    for part in listed(content, where):
        kind = at(part, "type")
        if kind == "text":
            only(part, f"a part of {where}", "type", "text", "cache_control")
            blocks.append({"type": "text", "text": text(part, "text", where)})
        elif kind == "image_url":
            blocks.append(_image(part, where))
        else:
            raise ValueError(f"{where} has {shown(kind)}")
    return blocks


def _image(part: dict[str, Any], where: str) -> dict[str, Any]:
    image = only(part.get("image_url"), f"an image in {where}", "url", "detail")
    kind, comma, content = text(image, "url", where).removeprefix("data:").partition(";base64,")
    if not comma:
        raise ValueError(f"{where} has an image that is not in base64")
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": content}}


def _call(call: object, where: str) -> dict[str, Any]:
    given = only(call, f"a call in {where}", "id", "type", "function", "index")
    if given.get("type") not in (None, "function"):
        raise ValueError(f"{where} calls {shown(given['type'])}")
    function = only(given.get("function"), f"a call in {where}", "name", "arguments")
    used = {"id": name_of(given, "id", where), "name": name_of(function, "name", where)}
    return {"type": "tool_use", **used, "input": arguments(text(function, "arguments", where))}


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise ValueError(f"{where} is {shown(tool.get('type'))}, not a function")
    function = only(tool.get("function"), where, "name", "description", "parameters", "strict")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    kept = {name: function[name] for name in ("description", "strict") if function.get(name)}
    return {"name": name_of(function, "name", where), "input_schema": schema, **kept}


def _choice(fields: dict[str, Any]) -> dict[str, Any]:
    choice, single = fields.get("tool_choice"), fields.get("parallel_tool_calls") is False
    if choice is None and not (single and fields.get("tools")):
        return {}
    if isinstance(choice, str | None) and choice in _CHOICES:
        wanted: dict[str, Any] = {"type": _CHOICES[choice]}
    else:
        given = only(choice, "`tool_choice`", "type", "function")
        function = only(given.get("function"), "`tool_choice`", "name")
        wanted = {"type": "tool", "name": name_of(function, "name", "`tool_choice`")}
    if single and wanted["type"] != "none":
        wanted["disable_parallel_tool_use"] = True
    return {"tool_choice": wanted}


def _form(form: object) -> dict[str, Any]:
    """The form that the answer must have."""
    kind = at(form, "type")
    if form is None or kind == "text":
        return {}
    schema = at(form, "json_schema", "schema")
    if kind != "json_schema" or not isinstance(schema, dict):
        raise ValueError(f"`response_format` is {shown(kind)}")
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
