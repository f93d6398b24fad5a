"""The model that an answer names: recorded as the provider said it, whatever that was, and never more than a line."""

import json

import pytest
from agent_side import KEY
from model_upstream import DONE, STREAM, Behaviour, answer, stream, upstream, whole
from test_budgets import doors

from ringfence.gateway.answer import named_model

LONG = "m" * 5000


def named(script: Behaviour, *, streamed: bool) -> str:
    with upstream(script) as up, doors(up.url, {}) as (agent,):
        assert agent.chat(stream=streamed).status == 200
        (ended,) = agent.records.of("ended")
        return ended.response_model


def renamed(name: object) -> tuple[bytes, ...]:
    chunks = [json.loads(piece.removeprefix(b"data: ")) for piece in STREAM[:-1]]
    return (*(b"data: " + json.dumps({**chunk, "model": name}).encode() + b"\n\n" for chunk in chunks), DONE)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("m-2026-11-02", "m-2026-11-02"),
        ("\x1b]0;owned\x07\u202em\n", "?]0;owned??m?"),
        (LONG, LONG[:120]),
        ({"not": "a name"}, ""),
        (None, ""),
    ],
)
def test_it_is_kept_as_the_provider_said_it_cut_and_printable(said: object, kept: str) -> None:
    assert named(answer(json.dumps({**json.loads(whole()), "model": said}).encode()), streamed=False) == kept
    assert named(stream(*renamed(said)), streamed=True) == kept


def test_a_name_that_is_the_gateways_credential_is_not_kept() -> None:
    assert KEY not in named(answer(json.dumps({**json.loads(whole()), "model": KEY}).encode()), streamed=False)


def test_each_protocol_has_its_place_for_it() -> None:
    assert named_model({"type": "message_start", "message": {"model": "a"}}) == "a"
    assert named_model({"type": "response.created", "response": {"model": "b"}}) == "b"
    assert named_model({"candidates": [], "modelVersion": "c"}) == "c"
    assert named_model({"choices": []}) == ""
