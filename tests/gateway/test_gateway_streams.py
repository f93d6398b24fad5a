"""The gateway over real sockets: a real process, a real upstream, real agents' requests."""

import json

from agent_side import Start, route
from model_upstream import STREAM, answer, stream, upstream, whole


def test_a_whole_answer_is_handed_on_and_recorded_with_its_usage(start: Start) -> None:
    with upstream(answer(whole())) as up:
        agent = start(route(up.url))
        got = agent.chat()
    assert (got.status, got.body) == (200, whole())
    opened, ended = agent.records.calls
    assert (opened.phase, opened.decision, opened.status) == ("opened", "allow", 0)
    assert (ended.phase, ended.id, ended.status, ended.input_tokens, ended.output_tokens) == (
        "ended", opened.id, 200, 11, 7,
    )  # fmt: skip
    assert not ended.tokens_estimated
    assert json.loads(ended.request)["messages"] == [{"role": "user", "content": "hi"}]
    assert ended.response == whole()


def test_a_stream_is_handed_on_byte_for_byte(start: Start) -> None:
    with upstream(stream(*STREAM)) as up:
        agent = start(route(up.url))
        got = agent.chat(stream=True, stream_options={"include_usage": True})
    assert (got.status, got.complete, got.body) == (200, True, b"".join(STREAM))
    assert json.loads(up.seen[0].body)["stream_options"] == {"include_usage": True}
    assert (agent.records.only.input_tokens, agent.records.only.output_tokens) == (11, 7)
