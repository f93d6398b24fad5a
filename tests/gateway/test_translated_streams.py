"""Translated streams wherever they are cut, what of them waits for the record, and tools in namespaces."""

import json

from agent_side import KEY, Start
from hypothesis import given, settings
from hypothesis import strategies as st
from model_upstream import answer, stream, upstream
from speakers import CHAT, RESPONSES, SPEAKERS, Speaker
from test_translation import WIRES, door, each

from ringfence.gateway.answer import AnswerStream, Scrubber
from ringfence.gateway.protocols.shape import Reading
from ringfence.gateway.protocols.translate.wire import TRANSLATIONS, Translated


@given(text=st.text(min_size=1, max_size=40), size=st.integers(1, 30), pair=st.sampled_from(sorted(TRANSLATIONS)))
@settings(deadline=None)
def test_a_text_comes_out_whole_wherever_its_stream_is_cut(text: str, size: int, pair: tuple[str, str]) -> None:
    agent_side, provider = (next(one for one in SPEAKERS if one.name == name) for name in pair)
    said = [text[at : at + 3] for at in range(0, len(text), 3)]
    sent = b"".join((*provider.opening, *map(provider.text, said), *provider.closing))
    reading = Reading({}, True, ())
    stream = AnswerStream(Scrubber(KEY), Translated(TRANSLATIONS[pair], reading).listener(reading))
    passed = b"".join(stream.feed(sent[at : at + size]) for at in range(0, len(sent), size)) + stream.held
    assert stream.complete and stream.fault is None
    judged = AnswerStream(Scrubber(None), WIRES[pair[0]].listener(reading))
    judged.feed(passed)
    assert judged.complete and agent_side.written(passed) == text


@each
def test_the_last_translated_events_wait_for_the_record(start: Start, agent_side: Speaker, provider: Speaker) -> None:
    with upstream(stream(*provider.events)) as up:
        at = door(start, agent_side, provider, up)
        at.records.refuse = lambda call: call.phase == "ended"
        got = agent_side.ask(at, stream=True)
    assert not got.complete and b"not_recorded" in got.body
    last = {"messages": b"message_stop", "responses": b"response.completed", "chat": b"[DONE]"}[agent_side.name]
    assert last not in got.body


def test_functions_of_a_namespace_are_offered_and_called_by_their_own_names(start: Start) -> None:
    space = {"type": "namespace", "name": "crew", "tools": [{"type": "function", "name": "close", "parameters": {}}]}
    function = {"name": "crew__close", "arguments": "{}"}
    message = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    before = [
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "b", "namespace": "crew", "name": "close", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "b", "output": "done"},
    ]
    with upstream(answer(json.dumps(whole).encode())) as up:
        got = RESPONSES.ask(door(start, RESPONSES, CHAT, up), tools=[space], input=before)
        sent = json.loads(up.seen[0].body)
    assert sent["tools"][0]["function"]["name"] == "crew__close"
    assert sent["messages"][1]["tool_calls"][0]["function"]["name"] == "crew__close"
    (item,) = json.loads(got.body)["output"]
    assert (item["namespace"], item["name"], item["call_id"]) == ("crew", "close", "c")
