"""Agents of one protocol, providers of another: what travels, what is told, what is refused, what is recorded."""

import json
from typing import Any

import pytest
from agent_side import KEY, Agent, Start, route
from hypothesis import given, settings
from hypothesis import strategies as st
from model_upstream import Behaviour, Upstream, answer, stream, upstream
from speakers import CHAT, MESSAGES, RESPONSES, Json, Speaker, data, event

from ringfence.domain.wires import TRANSLATED
from ringfence.gateway.answer import AnswerStream, Scrubber
from ringfence.gateway.protocols.shape import Reading
from ringfence.gateway.protocols.table import PROTOCOLS
from ringfence.gateway.protocols.translate.wire import TRANSLATIONS, Translated
from ringfence.gateway.refusal import Refusal
from ringfence.ports.gateway import Fallback

PAIRS = [(MESSAGES, CHAT), (RESPONSES, CHAT), (CHAT, MESSAGES)]
each = pytest.mark.parametrize(("agent_side", "provider"), PAIRS, ids=lambda speaker: speaker.name)
WIRES = {wire.name: wire for wire in PROTOCOLS}
SCHEMA: Json = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
ARGUMENTS = '{"command": "echo \\u00e9 \\"x\\""}'
USED = json.loads(ARGUMENTS)

#: A conversation that has called a tool, by the agent's protocol; and as a provider of each is asked it.
CONVERSATION: dict[str, Json] = {
    "messages": {
        "model": "m", "max_tokens": 900, "stop_sequences": ["END"], "tool_choice": {"type": "auto"},
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "enabled", "budget_tokens": 500},
        "tools": [{"name": "bash", "description": "d", "input_schema": SCHEMA}],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "bash", "input": USED},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": [
                    {"type": "text", "text": "no"},
                ]},
                {"type": "text", "text": "go on"},
            ]},
        ],
    },
    "responses": {
        "model": "m", "instructions": "Be brief.", "max_output_tokens": 900, "store": False,
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"], "tool_choice": "auto", "prompt_cache_key": "k",
        "tools": [{"type": "function", "name": "bash", "description": "d", "parameters": SCHEMA, "strict": False}],
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "reasoning", "summary": [], "encrypted_content": "e"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "t1", "name": "bash", "arguments": ARGUMENTS},
            {"type": "function_call_output", "call_id": "t1", "output": "no"},
            {"role": "user", "content": "go on"},
        ],
    },
    "chat": {
        "model": "m", "max_completion_tokens": 900, "stop": "END", "tool_choice": "auto", "reasoning_effort": "low",
        "tools": [{"type": "function", "function": {"name": "bash", "description": "d", "parameters": SCHEMA}}],
        "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "I look.", "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "bash", "arguments": ARGUMENTS}},
            ]},
            {"role": "tool", "tool_call_id": "t1", "content": "no"},
            {"role": "user", "content": "go on"},
        ],
    },
}  # fmt: skip


def door(start: Start, agent_side: Speaker, provider: Speaker, up: Upstream, **policy: Any) -> Agent:
    route_ = route(
        up.url, provider=provider.provider, protocols=(provider.name,), translate=(agent_side.name,)
    )  # fmt: skip
    return start(route_, **policy)


def accepted(wire: str, body: bytes) -> AnswerStream:
    """What the gateway itself makes of a stream in the agent's protocol."""
    heard = AnswerStream(Scrubber(None), WIRES[wire].listener(Reading({}, True, ())))
    heard.feed(body)
    assert heard.complete, heard.end()
    return heard


def calls(provider: Speaker, *, cut: int = 9) -> tuple[bytes, ...]:
    """A stream in which the model says something and calls a tool, with the arguments in pieces."""
    parts = [ARGUMENTS[at : at + cut] for at in range(0, len(ARGUMENTS), cut)]
    if provider is CHAT:
        function = {"name": "bash", "arguments": ""}
        begun = data(_choice({"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": function}]}))
        pieces = [data(_choice({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})) for part in parts]
        return (*CHAT.opening, CHAT.text("I look."), begun, *pieces, data(_choice({}, "tool_calls")), *CHAT.closing[1:])
    used = {"type": "tool_use", "id": "t1", "name": "bash", "input": {}}
    pieces = [
        event(type="content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": part})
        for part in parts
    ]
    return (
        *MESSAGES.opening, MESSAGES.text("I look."), event(type="content_block_stop", index=0),
        event(type="content_block_start", index=1, content_block=used), *pieces,
        event(type="content_block_stop", index=1),
        event(type="message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 7}),
        event(type="message_stop"),
    )  # fmt: skip


def _choice(delta: Json, finish: str | None = None) -> Json:
    return {"id": "c1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def called(wire: str, body: bytes) -> list[tuple[str, str, Any]]:
    """The calls of a stream, as a client of the protocol puts them together: id, name, arguments."""
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    if wire == "responses":
        items = events[-1]["response"]["output"]
        return [(i["call_id"], i["name"], json.loads(i["arguments"])) for i in items if i["type"] == "function_call"]
    found: dict[int, list[str]] = {}
    for one in events:
        if wire == "chat":
            for call in [call for choice in one["choices"] for call in choice["delta"].get("tool_calls", ())]:
                if call.get("id"):
                    found[call["index"]] = [call["id"], call["function"]["name"], ""]
                found[call["index"]][2] += call["function"].get("arguments", "")
        elif one["type"] == "content_block_start" and one["content_block"]["type"] == "tool_use":
            found[one["index"]] = [one["content_block"]["id"], one["content_block"]["name"], ""]
        elif one["type"] == "content_block_delta" and one["delta"]["type"] == "input_json_delta":
            found[one["index"]][2] += one["delta"]["partial_json"]
    return [(name, function, json.loads(written)) for name, function, written in found.values()]


def test_the_boundarys_pairs_are_those_that_are_built() -> None:
    assert {(wire, other) for wire, others in TRANSLATED.items() for other in others} == set(TRANSLATIONS)


@each
def test_a_whole_answer_is_told_in_the_agents_protocol(start: Start, agent_side: Speaker, provider: Speaker) -> None:
    with upstream(answer(json.dumps(provider.whole("Hello world")).encode())) as up:
        agent = door(start, agent_side, provider, up)
        got = agent_side.ask(agent)
    assert (got.status, agent_side.written(got.body)) == (200, "Hello world")
    told = json.loads(got.body)
    assert WIRES[agent_side.name].judge(told) is None
    counted = WIRES[agent_side.name].usage(told)
    assert counted is not None
    assert (counted.input_tokens, counted.output_tokens, counted.cached_tokens) == (11, 7, 4)
    call = agent.records.only
    assert (call.protocol, call.translated, call.input_tokens, call.output_tokens) == (
        agent_side.name, provider.name, 11, 7,
    )  # fmt: skip
    assert json.loads(call.response) == provider.whole("Hello world")  # what the provider said, not what was made of it


@each
def test_a_stream_is_told_in_the_agents_protocol(start: Start, agent_side: Speaker, provider: Speaker) -> None:
    with upstream(stream(*provider.events)) as up:
        agent = door(start, agent_side, provider, up)
        got = agent_side.ask(agent, stream=True)
    assert (got.status, got.complete, agent_side.written(got.body)) == (200, True, "Hello world")
    accepted(agent_side.name, got.body)
    assert (agent.records.only.translated, agent.records.only.output_tokens) == (provider.name, 7)
    assert provider.path.removeprefix("/v1") in up.seen[0].line


@each
def test_a_conversation_with_tools_is_asked_in_the_providers(
    start: Start, agent_side: Speaker, provider: Speaker
) -> None:
    with upstream(answer(json.dumps(provider.whole("x")).encode())) as up:
        agent = door(start, agent_side, provider, up)
        body = json.dumps(CONVERSATION[agent_side.name]).encode()
        assert agent.post(body, path=agent_side.path).status == 200
    sent = json.loads(up.seen[0].body)
    assert agent.records.of("opened")[0].request == up.seen[0].body
    if provider is MESSAGES:
        assert sent["system"] == "Be brief."
        assert sent["messages"] == [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "I look."}, {"type": "tool_use", "id": "t1", "name": "bash", "input": USED},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "no"}]},
                {"type": "text", "text": "go on"},
            ]},
        ]  # fmt: skip
        assert sent["tools"] == [{"name": "bash", "description": "d", "input_schema": SCHEMA}]
        return
    first, asked, looked, result, last = sent["messages"]
    assert (first, asked) == ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"})
    (call,) = looked.pop("tool_calls")
    assert looked == {"role": "assistant", "content": "I look."}
    assert (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) == ("t1", "bash", USED)
    assert (result["role"], result["tool_call_id"]) == ("tool", "t1")
    assert result["content"] == ("Error: no" if agent_side is MESSAGES else "no")
    assert last == {"role": "user", "content": "go on"}
    assert sent["tools"][0]["function"] == {"name": "bash", "description": "d", "parameters": SCHEMA}
    assert sent["max_tokens"] == 900


@each
def test_a_call_of_a_tool_comes_back_whole(start: Start, agent_side: Speaker, provider: Speaker) -> None:
    with upstream(stream(*calls(provider))) as up:
        got = agent_side.ask(door(start, agent_side, provider, up), stream=True, **agent_side.tool(SCHEMA))
    assert agent_side.written(got.body).startswith("I look.")
    assert called(agent_side.name, got.body) == [("t1", "bash", USED)]
    accepted(agent_side.name, got.body)


@each
@pytest.mark.parametrize("streamed", [False, True])
def test_the_credential_comes_back_in_no_translation(
    start: Start, agent_side: Speaker, provider: Speaker, streamed: bool
) -> None:
    whole = answer(json.dumps(provider.whole(f"key {KEY}!")).encode())
    pieces = stream(*provider.opening, provider.text(f"key {KEY}!"), *provider.closing)
    with upstream(pieces if streamed else whole) as up:
        got = agent_side.ask(door(start, agent_side, provider, up), stream=streamed)
    assert agent_side.written(got.body) == "key [redacted]!"


def test_an_escaped_credential_in_arguments_is_not_unescaped_by_translation(start: Start) -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    call = {"id": "t1", "type": "function", "function": {"name": "bash", "arguments": f'{{"command": "{escaped}"}}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    with upstream(answer(json.dumps(whole).encode())) as up:
        got = MESSAGES.ask(door(start, MESSAGES, CHAT, up), **MESSAGES.tool(SCHEMA))
    assert json.loads(got.body)["content"][0]["input"] == {"command": "[redacted]"}


def _without(provider: Speaker) -> Behaviour:
    return stream(*provider.opening, provider.text("Hel"))


@each
def test_a_stream_that_is_cut_is_never_told_as_complete(start: Start, agent_side: Speaker, provider: Speaker) -> None:
    with upstream(_without(provider)) as up:
        agent = door(start, agent_side, provider, up)
        got = agent_side.ask(agent, stream=True)
    assert not got.complete
    assert agent.records.only.reason == "upstream_truncated"
    heard = AnswerStream(Scrubber(None), WIRES[agent_side.name].listener(Reading({}, True, ())))
    heard.feed(got.body)
    assert not heard.complete


@each
def test_a_no_of_the_provider_is_said_in_the_agents_form(start: Start, agent_side: Speaker, provider: Speaker) -> None:
    with upstream(answer(b'{"error": {"message": "no credit"}}', status=402)) as up:
        got = agent_side.ask(door(start, agent_side, provider, up))
    assert (got.status, json.loads(got.body)["error"]["code"]) == (403, "provider_refused")
    assert ("type" in json.loads(got.body)) == (agent_side is MESSAGES)


REFUSED: list[tuple[Speaker, Speaker, Json, str]] = [
    (MESSAGES, CHAT, {"tools": [{"type": "bash_20250124", "name": "bash"}]}, "bash_20250124"),
    (MESSAGES, CHAT, {"output_config": {"format": {"type": "grammar"}}}, "grammar"),
    (MESSAGES, CHAT, {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "{"}]}, "begin"),
    (MESSAGES, CHAT, {"messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}]}]}, "document"),
    (RESPONSES, CHAT, {"tools": [{"type": "custom", "name": "apply_patch"}]}, "custom"),
    (RESPONSES, CHAT, {"include": ["message.output_text.logprobs"]}, "include"),
    (RESPONSES, CHAT, {"input": [{"type": "function_call_output", "call_id": "", "output": "x"}]}, "call_id"),
    (CHAT, MESSAGES, {"logprobs": True}, "logprobs"),
    (CHAT, MESSAGES, {"response_format": {"type": "json_object"}}, "json_object"),
    (CHAT, MESSAGES, {"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]}, "middle"),
]  # fmt: skip


@pytest.mark.parametrize(("agent_side", "provider", "more", "named"), REFUSED, ids=lambda value: str(value)[:24])
def test_what_cannot_be_carried_over_is_a_final_no_that_names_it(
    start: Start, agent_side: Speaker, provider: Speaker, more: Json, named: str
) -> None:
    with upstream() as up:
        agent = door(start, agent_side, provider, up)
        got = agent_side.ask(agent, **more)
    error = json.loads(got.body)["error"]
    assert (got.status, error["code"], error["rule"]) == (403, "not_translated", "gateway.translate")
    assert named in error["message"]
    assert agent.door.denied() == "not_translated"
    assert agent.records.only.decision == "deny"
    assert up.seen == []


@pytest.mark.parametrize("tool", [{"type": "web_search"}, {"type": "mcp", "server_url": "https://x.example.internal"}])
def test_what_the_agents_protocol_forbids_is_forbidden_before_it_is_translated(start: Start, tool: Json) -> None:
    with upstream() as up:
        got = RESPONSES.ask(door(start, RESPONSES, CHAT, up), tools=[tool])
    assert got.code == "tool_not_allowed"
    assert up.seen == []


def test_an_end_that_the_agents_protocol_does_not_know_is_a_fault(start: Start) -> None:
    whole = {**CHAT.whole("x"), "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "recitation"}]}
    with upstream(answer(json.dumps(whole).encode())) as up:
        got = MESSAGES.ask(door(start, MESSAGES, CHAT, up))
    assert (got.status, got.code) == (502, "upstream_not_translated")


def test_the_agents_limit_is_lowered_to_what_is_left(start: Start) -> None:
    with upstream(answer(json.dumps(CHAT.whole("x")).encode())) as up:
        MESSAGES.ask(door(start, MESSAGES, CHAT, up, output_tokens=300))
    assert json.loads(up.seen[0].body)["max_tokens"] == 300


def test_a_fallback_may_be_asked_by_translation_where_its_route_says_so(start: Start) -> None:
    with upstream(answer(b"", status=500)) as first, upstream(answer(json.dumps(CHAT.whole("yes")).encode())) as second:
        routes = (
            route(first.url, provider="anthropic"),
            route(second.url, name="other", models=("n",), protocols=("chat",), translate=("messages",)),
        )
        agent = start(*routes, fallback=(Fallback("other", "n"),), fallback_on=("failed",))
        got = MESSAGES.ask(agent)
    assert (got.status, MESSAGES.written(got.body)) == (200, "yes")
    assert json.loads(second.seen[-1].body)["model"] == "n"
    last = agent.records.of("ended")[-1]
    assert (last.route, last.protocol, last.translated) == ("other", "messages", "chat")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "text", "tool_use", "user", "m", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "text", "content", "role", "id", "name", "input", "function", "call_id", "output",
                         "arguments", "image_url", "source", "format", "schema", "tool_use_id"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("pair", sorted(TRANSLATIONS), ids="-".join)
@given(extra=st.dictionaries(st.sampled_from([
    "messages", "input", "tools", "tool_choice", "system", "instructions", "text", "response_format", "output_config",
    "stop", "stop_sequences", "include", "output_format", "max_tokens",
]), JSON | st.lists(JSON, max_size=3), max_size=3), put=JSON)  # fmt: skip
@settings(deadline=None, max_examples=300)
def test_whatever_is_asked_is_translated_or_refused(pair: tuple[str, str], extra: Json, put: object) -> None:
    agent = TRANSLATIONS[pair].agent
    fields = {**CONVERSATION[pair[0]], **extra}
    place = agent.place(f"/v1/{'chat/completions' if pair[0] == 'chat' else pair[0]}", "")
    assert place is not None
    for asked in (fields, {**CONVERSATION[pair[0]], **_with_part(pair[0], put)}):
        judged = agent.read(asked, place)
        read = judged if isinstance(judged, Refusal) else Translated(TRANSLATIONS[pair], judged).carried()
        if not isinstance(read, Refusal):
            again = WIRES[pair[1]].read(json.loads(json.dumps(read.fields)), place)
            assert not isinstance(again, Refusal), "what was translated is not what the provider's protocol allows"


def _with_part(wire: str, put: object) -> Json:
    """The conversation with something strange in the middle of it."""
    name = "input" if wire == "responses" else "messages"
    said = CONVERSATION[wire][name]
    return {name: [*said[:1], {"role": "user", "content": [put]}, *said[1:]]}
