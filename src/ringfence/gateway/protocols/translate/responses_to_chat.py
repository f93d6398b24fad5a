"""Requests of OpenAI Responses as requests of Chat Completions.

Left out, because no answer means anything else without it: what the model thought, how much it shall think and say (the
provider's defaults hold), keys of caches, and what only tools of the provider's need.
"""

from typing import Any

from ringfence.gateway.protocols.shape import at, inline_image, shown
from ringfence.gateway.protocols.translate.fields import listed, name_of, only, text

_SAME = ("model", "stream", "temperature", "top_p", "parallel_tool_calls")
_LEFT_OUT = ("reasoning", "prompt_cache_key", "stream_options", "truncation", "max_tool_calls", "store")
_SAID = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}


def request(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, as responses.py has judged them. Errors: ValueError for what Chat Completions cannot say."""
    only(
        fields, "the request", *_SAME, *_LEFT_OUT, "input", "instructions", "tools", "tool_choice", "text",
        "max_output_tokens", "include", "top_logprobs",
    )  # fmt: skip
    more = [one for one in listed(fields.get("include"), "`include`") if one != "reasoning.encrypted_content"]
    if more or fields.get("top_logprobs"):
        raise ValueError("`include` or `top_logprobs` asks for what the other protocol does not give")
    sent = {name: fields[name] for name in _SAME if fields.get(name) is not None}
    sent["messages"] = _conversation(fields)
    if fields.get("max_output_tokens") is not None:
        sent["max_tokens"] = fields["max_output_tokens"]
    if fields.get("tools"):
        sent["tools"] = [_tool(tool, name) for name, tool in _functions(fields["tools"])]
    return sent | _choice(fields.get("tool_choice")) | _form(fields.get("text"))


def grouped(fields: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """By the names that they have in Chat Completions, the tools that stand in a namespace: its name and theirs."""
    spaces = [tool for tool in fields.get("tools") or () if tool.get("type") == "namespace"]
    return {_joined(one["name"], tool["name"]): (one["name"], tool["name"]) for one in spaces for tool in one["tools"]}


def _joined(namespace: str, name: str) -> str:
    return f"{namespace}__{name}"


def _functions(tools: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """All functions with their names, those of namespaces too: Chat Completions has no groups."""
    found = []
    for place, tool in enumerate(tools):
        where = f"`tools[{place}]`"
        if tool.get("type") == "namespace":
            only(tool, where, "type", "name", "description", "tools")
            space = name_of(tool, "name", where)
            found += [(_joined(space, name_of(_function(one, where), "name", where)), one) for one in tool["tools"]]
        else:
            found.append((name_of(_function(tool, where), "name", where), tool))
    if len({name for name, _ in found}) != len(found):
        raise ValueError("`tools` has two of one name")
    return found


def _function(tool: dict[str, Any], where: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise ValueError(f"{where} is {shown(tool.get('type'))}, not a function")
    return tool


def _conversation(fields: dict[str, Any]) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    if fields.get("instructions"):
        said.append({"role": "system", "content": text(fields, "instructions", "`instructions`")})
    given = fields["input"]
    for place, item in enumerate([{"role": "user", "content": given}] if isinstance(given, str) else given):
        _add(said, item, f"`input[{place}]`")
    return said


def _add(said: list[dict[str, Any]], item: dict[str, Any], where: str) -> None:
    """An item: a message of its own, or a part of the one before it."""
    last = said[-1] if said else {}
    match item.get("type", "message"):
        case "message":
            message = _message(item, where)
            if message["role"] == last.get("role") == "system":
                last["content"] += "\n\n" + message["content"]  # many endpoints take one, and only at the beginning
            else:
                said.append(message)
        case "function_call":
            call = _call(item, where)
            if last.get("role") == "assistant":
                last["tool_calls"] = [*last.get("tool_calls", []), call]
            else:
                said.append({"role": "assistant", "content": None, "tool_calls": [call]})
        case "function_call_output":
            only(item, where, "type", "id", "call_id", "output", "status")
            result = _texts(item.get("output"), where)
            said.append({"role": "tool", "tool_call_id": name_of(item, "call_id", where), "content": result})
        case "reasoning":
            return
        case kind:
            raise ValueError(f"{where} is {shown(kind)}")


def _message(item: dict[str, Any], where: str) -> dict[str, Any]:
    only(item, where, "type", "id", "role", "content", "status", "phase")
    content, role = item.get("content"), item["role"]
    images = [part for part in content if at(part, "type") == "input_image"] if isinstance(content, list) else []
    if role == "user" and images and isinstance(content, list):
        parts = [_image(part, where) if part in images else _part(part, where) for part in content]
        return {"role": "user", "content": parts}
    return {"role": "system" if role == "developer" else role, "content": _texts(content, where)}


def _call(item: dict[str, Any], where: str) -> dict[str, Any]:
    only(item, where, "type", "id", "call_id", "name", "namespace", "arguments", "status")
    name = name_of(item, "name", where)
    if item.get("namespace"):
        name = _joined(name_of(item, "namespace", where), name)
    function = {"name": name, "arguments": text(item, "arguments", where) or "{}"}
    return {"id": name_of(item, "call_id", where), "type": "function", "function": function}


def _texts(content: object, where: str) -> str:
    """What stands in text, or in parts that are text alone."""
    if isinstance(content, str):
        return content
    return "\n\n".join(_part(part, where)["text"] for part in listed(content, where))


def _part(part: object, where: str) -> dict[str, Any]:
    kind = at(part, "type")
    if not isinstance(part, dict) or not isinstance(kind, str) or kind not in _SAID:
        raise ValueError(f"{where} has {shown(kind)}")
    only(part, f"a part of {where}", "type", "text", "refusal", "annotations", "logprobs")
    return {"type": "text", "text": text(part, _SAID[kind], where)}


def _image(part: dict[str, Any], where: str) -> dict[str, Any]:
    only(part, f"an image in {where}", "type", "image_url", "detail")
    if not inline_image(part.get("image_url")):
        raise ValueError(f"{where} has an image that is not in it")
    detail = {"detail": part["detail"]} if part.get("detail") else {}
    return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}


def _tool(tool: dict[str, Any], name: str) -> dict[str, Any]:
    where = f"the tool {shown(name)}"
    only(
        tool, where, "type", "name", "description", "parameters", "strict", "output_schema", "cache_control",
        "defer_loading",
    )  # fmt: skip
    function = {"name": name, "parameters": tool.get("parameters") or {}}
    kept = {name: tool[name] for name in ("description", "strict") if tool.get(name)}
    return {"type": "function", "function": {**function, **kept}}


def _choice(choice: object) -> dict[str, Any]:
    if choice is None or choice in ("auto", "none", "required"):
        return {} if choice is None else {"tool_choice": choice}
    given = only(choice, "`tool_choice`", "type", "name")
    if given.get("type") != "function":
        raise ValueError(f"`tool_choice` is {shown(given.get('type'))}")
    return {"tool_choice": {"type": "function", "function": {"name": name_of(given, "name", "`tool_choice`")}}}


def _form(said: object) -> dict[str, Any]:
    """The form that the answer must have."""
    form = only(said or {}, "`text`", "format", "verbosity").get("format")
    kind = at(form, "type")
    if form is None or kind == "text":
        return {}
    if kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    given = only(form, "`text.format`", "type", "name", "schema", "strict", "description")
    if kind != "json_schema":
        raise ValueError(f"`text.format` is {shown(kind)}")
    schema = {name: value for name, value in given.items() if name != "type" and value is not None}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
