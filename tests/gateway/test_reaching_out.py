"""What would make a provider reach out of the boundary is refused in each protocol; what an agent runs passes."""

import json
from typing import Any

import pytest
from speakers import CHAT, GEMINI, MESSAGES, RESPONSES, Speaker

from ringfence.gateway.refusal import Refusal
from ringfence.gateway.request import Asked, Head, check_body

Json = dict[str, Any]
FUNCTION: Json = {"type": "function", "name": "f", "parameters": {}}
URL = "https://drop.example.internal/?q=secret"
INLINE = "data:image/png;base64,AA"


def judged(speaker: Speaker, **fields: Any) -> Asked | Refusal:
    body = json.dumps({**speaker.body("hi"), **fields}).encode()
    return check_body(body, Head(b"POST", speaker.path.encode(), b"1.1", ()), "m")


def code(result: Asked | Refusal) -> str:
    assert isinstance(result, Refusal), result
    assert result.status == 403
    return result.code


def item(**fields: Any) -> Json:
    return {"input": [{"role": "user", "content": "hi"}, fields]}


def block(**fields: Any) -> Json:
    return {"messages": [{"role": "user", "content": [fields]}]}


def part(**fields: Any) -> Json:
    return {"contents": [{"role": "user", "parts": [fields]}]}


@pytest.mark.parametrize(
    ("speaker", "tool"),
    [
        *((CHAT, {"type": kind}) for kind in ("web_search", "mcp", "code_interpreter")),
        *((RESPONSES, {"type": kind}) for kind in (
            "web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation", "mcp",
            "computer_use_preview", "computer", "tool_search", "programmatic_tool_calling", None, 5,
        )),
        (RESPONSES, {"type": "shell", "environment": {"type": "container_auto"}}),
        (RESPONSES, {"type": "shell"}),
        (RESPONSES, {"type": "tool_search", "execution": "server"}),
        (RESPONSES, {**FUNCTION, "server_url": URL}),
        (RESPONSES, {"type": "namespace", "name": "n", "tools": [FUNCTION, {"type": "web_search"}]}),
        (RESPONSES, {"type": "namespace", "tools": [{"type": "namespace", "tools": []}]}),
        *((MESSAGES, {"type": f"{kind}_20250305", "name": kind}) for kind in (
            "web_search", "web_fetch", "code_execution", "computer", "tool_search_tool_regex", "advisor",
        )),
        (MESSAGES, {"type": "mcp_toolset", "mcp_server_name": "x"}),
        *((GEMINI, {kind: {}}) for kind in (
            "googleSearch", "google_search", "googleSearchRetrieval", "codeExecution", "urlContext", "computerUse",
            "fileSearch", "googleMaps", "mcpServers", "retrieval",
        )),
        (GEMINI, {"functionDeclarations": [], "googleSearch": {}}),
    ],
    ids=lambda value: value.name if isinstance(value, Speaker) else "",
)  # fmt: skip
def test_a_tool_that_the_provider_runs_is_refused(speaker: Speaker, tool: Json) -> None:
    assert code(judged(speaker, tools=[tool])) == "tool_not_allowed"


@pytest.mark.parametrize(
    ("speaker", "fields"),
    [
        (RESPONSES, item(type="additional_tools", tools=[{"type": "web_search"}])),
        (RESPONSES, item(type="tool_search_output", tools=[{"type": "mcp", "server_url": URL}])),
        (MESSAGES, block(type="tool_addition", tool={
            "type": "tool_definition", "definition": {"type": "web_fetch_20250910", "name": "web_fetch"},
        })),
        (MESSAGES, block(type="tool_addition", tool="x")),
    ],
    ids=lambda value: value.name if isinstance(value, Speaker) else "",
)  # fmt: skip
def test_a_tool_offered_in_the_middle_is_judged_as_one_at_the_beginning(speaker: Speaker, fields: Json) -> None:
    assert code(judged(speaker, **fields)) == "tool_not_allowed"


@pytest.mark.parametrize(
    ("speaker", "fields"),
    [
        (RESPONSES, item(role="user", content=[{"type": "input_image", "image_url": URL}])),
        (RESPONSES, item(role="user", content=[{"type": "input_image", "image_url": INLINE, "file_id": "f"}])),
        (RESPONSES, item(role="user", content=[{"type": "input_file", "file_url": URL}])),
        (RESPONSES, item(role="user", content=[{"type": "input_file", "file_id": "f"}])),
        (RESPONSES, item(type="function_call_output", output=[{"type": "input_image", "image_url": URL}])),
        (RESPONSES, item(type="item_reference", id="i")),
        (RESPONSES, item(type="mcp_call", server_label="x")),
        (RESPONSES, item(type="computer_call_output")),
        (RESPONSES, item(type="configuration_update", tools=[])),
        (MESSAGES, block(type="image", source={"type": "url", "url": URL})),
        (MESSAGES, block(type="document", source={"type": "url", "url": URL})),
        (MESSAGES, block(type="document", source={"type": "file", "file_id": "f"})),
        (MESSAGES, block(type="document", source={"type": "content", "content": [
            {"type": "image", "source": {"type": "url", "url": URL}}]})),
        (MESSAGES, block(type="tool_result", tool_use_id="t", content=[
            {"type": "image", "source": {"type": "url", "url": URL}}])),
        (MESSAGES, block(type="container_upload", file_id="f")),
        (MESSAGES, block(type="mcp_tool_use", server_name="x")),
        (MESSAGES, {"system": [{"type": "image", "source": {"type": "url", "url": URL}}]}),
        (GEMINI, part(fileData={"fileUri": URL})),
        (GEMINI, part(file_data={"file_uri": URL})),
        (GEMINI, part(text="x", executableCode={"code": "x"})),
        (GEMINI, part(functionResponse={"name": "f", "response": {}, "parts": [{"fileData": {"fileUri": URL}}]})),
        (GEMINI, {"systemInstruction": {"parts": [{"fileData": {"fileUri": URL}}]}}),
    ],
    ids=lambda value: value.name if isinstance(value, Speaker) else "",
)  # fmt: skip
def test_content_that_the_provider_would_fetch_is_refused(speaker: Speaker, fields: Json) -> None:
    assert code(judged(speaker, **fields)) == "content_not_allowed"


@pytest.mark.parametrize(
    ("speaker", "fields"),
    [
        (RESPONSES, {"previous_response_id": "r"}), (RESPONSES, {"conversation": "c"}),
        (RESPONSES, {"prompt": {"id": "p"}}), (RESPONSES, {"background": True}),
        (MESSAGES, {"mcp_servers": [{"url": URL}]}), (MESSAGES, {"container": {"skills": []}}),
        (GEMINI, {"cachedContent": "c"}), (GEMINI, {"cached_content": "c"}),
    ],
    ids=lambda value: value.name if isinstance(value, Speaker) else "",
)  # fmt: skip
def test_what_stands_with_the_provider_is_not_gone_back_to(speaker: Speaker, fields: Json) -> None:
    assert code(judged(speaker, **fields)) == "field_not_allowed"


@pytest.mark.parametrize(
    ("speaker", "fields"),
    [
        (CHAT, {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "priority", "plugins": [1]}),
        (RESPONSES, {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "priority",
                     "client_metadata": {"installation": "i"}, "background": False, "previous_response_id": None}),
        (MESSAGES, {"metadata": {"user_id": "device"}, "service_tier": "auto", "mcp_servers": [], "fallbacks": ["x"]}),
        (GEMINI, {"labels": {"a": "b"}, "model": "other", "store": True}),
    ],
    ids=lambda value: value.name if isinstance(value, Speaker) else "",
)  # fmt: skip
def test_what_names_people_stores_or_costs_more_does_not_travel(speaker: Speaker, fields: Json) -> None:
    asked = judged(speaker, **{**fields, "model": "m"} if speaker is not GEMINI else fields)
    assert isinstance(asked, Asked), asked
    expected = {**speaker.body("hi"), **({"store": False} if speaker is RESPONSES else {})}
    assert json.loads(asked.body) == expected


@pytest.mark.parametrize(
    ("speaker", "fields"),
    [
        (CHAT, {"tools": [{"type": "custom", "custom": {"name": "apply_patch"}}], "tool_choice": "auto"}),
        (RESPONSES, {"tools": [
            FUNCTION, {"type": "custom", "name": "p", "format": {"type": "grammar"}}, {"type": "local_shell"},
            {"type": "namespace", "name": "n", "description": "d", "tools": [FUNCTION]},
            {"type": "shell", "environment": {"type": "local"}},
            {"type": "tool_search", "execution": "client", "description": "d", "parameters": {}},
        ], "reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k"}),
        (RESPONSES, item(type="reasoning", encrypted_content="x", summary=[])),
        (RESPONSES, item(type="function_call", call_id="c", name="f", arguments="{")),
        (RESPONSES, item(type="function_call_output", call_id="c", output=[
            {"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": INLINE}])),
        (RESPONSES, item(type="custom_tool_call_output", call_id="c", output="x")),
        (RESPONSES, item(type="tool_search_output", call_id="c", tools=[FUNCTION])),
        (MESSAGES, {"tools": [
            {"name": "Bash", "input_schema": {}, "defer_loading": True}, {"type": "custom", "name": "x"},
            {"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728", "name": "e"},
            {"type": "memory_20250818", "name": "memory"},
        ], "thinking": {"type": "adaptive"}, "context_management": {"edits": []}, "output_config": {"effort": "low"}}),
        (MESSAGES, block(type="tool_result", tool_use_id="t", content=[{"type": "text", "text": "x"}])),
        (MESSAGES, block(type="image", source={"type": "base64", "media_type": "image/png", "data": "AA"})),
        (MESSAGES, {"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]}),
        (MESSAGES, {"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": [
            {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": "f"}}}]}]}),
        (GEMINI, {"tools": [{"functionDeclarations": [{"name": "f"}]}], "safetySettings": [{"category": "x"}]}),
        (GEMINI, {"generationConfig": {"temperature": 1, "thinkingConfig": {"includeThoughts": True}}}),
        (GEMINI, part(functionResponse={"name": "f", "response": {"output": "x"}})),
        (GEMINI, part(inlineData={"mimeType": "image/png", "data": "AA"})),
        (GEMINI, part(functionCall={"name": "f", "args": {}}, thoughtSignature="s")),
    ],
    ids=lambda value: value.name if isinstance(value, Speaker) else "",
)  # fmt: skip
def test_what_agents_use_passes_as_they_wrote_it(speaker: Speaker, fields: Json) -> None:
    asked = judged(speaker, **fields)
    assert isinstance(asked, Asked), asked
    sent = json.loads(asked.body)
    assert {name: sent[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("speaker", "fields"),
    [
        (RESPONSES, {"input": ""}), (RESPONSES, {"input": [1]}), (RESPONSES, {"stream": "yes"}),
        (RESPONSES, {"max_output_tokens": 0}), (RESPONSES, {"tools": {}}), (RESPONSES, item(role="root", content="x")),
        (MESSAGES, {"messages": []}), (MESSAGES, {"messages": [{"role": "root"}]}), (MESSAGES, {"max_tokens": True}),
        (MESSAGES, {"messages": [{"role": "user", "content": [1]}]}), (MESSAGES, {"tools": [1]}),
        (GEMINI, {"contents": []}), (GEMINI, {"contents": ["x"]}), (GEMINI, part() | {"tools": "x"}),
        (GEMINI, {"generationConfig": {"candidateCount": 2}}), (GEMINI, {"generationConfig": {"candidateCount": True}}),
        (GEMINI, {"systemInstruction": False}), (GEMINI, {"generationConfig": []}),
        (GEMINI, {"generationConfig": {"maxOutputTokens": -1}}), (GEMINI, {"contents": [{"parts": "x"}]}),
    ],
    ids=lambda value: value.name if isinstance(value, Speaker) else "",
)  # fmt: skip
def test_a_malformed_request_is_refused_without_a_final_no(speaker: Speaker, fields: Json) -> None:
    result = judged(speaker, **fields)
    assert isinstance(result, Refusal), result
    assert (result.status, result.code) == (400, "malformed")
