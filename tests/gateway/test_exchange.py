"""Playbooks of the exchange: each states a conversation, `>>` what the world says, `<<` what is done."""

import json
from typing import Any

import pytest
from agent_side import KEY
from model_upstream import DONE, FINISH, USAGE, chunk, delta, whole
from playbook import ASKED, Playbook, code

from ringfence.gateway import conversation as c
from ringfence.gateway.answer import MAX_ANSWER
from ringfence.gateway.exchange import PAUSES


def test_a_stream_goes_event_by_event_and_its_end_waits_for_the_record() -> None:
    play = Playbook()
    assert isinstance(play.streaming(), c.Listen)
    hello = delta("Hello")
    assert isinstance(play.say(c.Piece(hello[:9])), c.Listen)
    assert isinstance(play.say(c.Piece(hello[9:])), c.Begin)
    assert play.say(c.Went()) == c.Send(hello)
    assert isinstance(play.say(c.Went()), c.Listen)
    assert isinstance(play.say(c.Piece(FINISH + USAGE)), c.Listen)
    assert [call.phase for call in play.recorded] == ["opened"]
    # `say` acknowledges the record, so what comes next is what the agent gets after it.
    assert play.say(c.Piece(DONE)) == c.Send(FINISH + DONE)
    assert [call.phase for call in play.recorded] == ["opened", "ended"]
    assert play.say(c.Went()) == c.Finish()
    assert play.say(c.Went()) is None


def test_nothing_is_asked_before_the_opening_is_on_record() -> None:
    play = Playbook()
    play.begin()
    command = play.steps.send(c.BodyCame(json.dumps(ASKED).encode()))
    assert isinstance(command, c.Record)
    assert command.call.phase == "opened"
    refused = play.steps.send(c.Acknowledged(False))
    assert isinstance(refused, c.Record)
    assert (refused.call.phase, refused.call.rule) == ("denied", "gateway.record")
    assert code(play.steps.send(c.Acknowledged(False))) == (403, "not_recorded")
    assert play.told == ["not_recorded"]
    assert play.door.ledger.left[1:] == (10_000, 5000)


def test_a_stream_whose_end_cannot_be_recorded_is_broken_off() -> None:
    play = Playbook()
    play.streaming()
    assert isinstance(play.say(c.Piece(delta("Hello"))), c.Begin)
    play.say(c.Went())
    play.say(c.Went())
    command = play.steps.send(c.Piece(FINISH + DONE))
    assert isinstance(command, c.Record)
    command = play.steps.send(c.Acknowledged(False))
    assert isinstance(command, c.Send)
    assert b"not_recorded" in command.piece
    assert b'finish_reason": "stop' not in command.piece
    assert play.say(c.Went()) == c.Abort()


@pytest.mark.parametrize(
    ("pieces", "last", "expected"),
    [
        ((), c.Ended(), "upstream_empty"),
        ((b"\n\n",), c.Ended(), "upstream_empty"),
        ((b"<html>oops</html>",), c.Ended(), "upstream_truncated"),
        ((b"data: <html>\n\n",), None, "upstream_not_sse"),
        ((b"data: [1]\n\n",), None, "upstream_not_sse"),
        ((b'data: {"object":"x"}\n\n',), None, "upstream_not_sse"),
        ((b"data: " + b"[" * 100_000 + b"\n\n",), None, "upstream_not_sse"),
        ((b'data: {"error":{"message":"no"}}\n\n',), None, "upstream_error"),
        ((DONE,), None, "upstream_truncated"),
        ((), c.Failed(), "upstream_cut"),
        ((), c.TimedOut(), "upstream_timeout"),
    ],
)
def test_a_broken_stream_is_a_plain_error_before_its_first_byte(
    pieces: tuple[bytes, ...], last: c.Reply | None, expected: str
) -> None:
    play = Playbook()
    command = play.streaming()
    for piece in pieces:
        command = play.say(c.Piece(piece))
    if last is not None:
        command = play.say(last)
    status, got = code(command)
    assert (got, status // 100) == (expected, 5)
    assert play.recorded[-1].reason == expected
    assert play.told == []


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (c.Ended(), "upstream_truncated"),
        (c.Failed(), "upstream_cut"),
        (c.TimedOut(), "upstream_stalled"),
        (c.Piece(b"data: oops\n\n"), "upstream_not_sse"),
        (c.Piece(b"data: " + b"x" * (5 << 20)), "upstream_too_large"),
    ],
)
def test_a_stream_that_breaks_after_its_first_byte_is_said_and_aborted(last: c.Reply, expected: str) -> None:
    play = Playbook()
    play.streaming()
    assert isinstance(play.say(c.Piece(delta("Hello") + FINISH)), c.Begin)
    assert play.say(c.Went()) == c.Send(delta("Hello"))
    assert isinstance(play.say(c.Went()), c.Listen)
    command = play.say(last)
    assert isinstance(command, c.Send)
    assert json.loads(command.piece.removeprefix(b"data: "))["error"]["code"] == expected
    assert play.say(c.Went()) == c.Abort()
    assert play.say(c.Went()) is None
    assert play.recorded[-1].reason == expected


def test_a_stream_without_an_end_is_ended() -> None:
    play = Playbook(output_tokens=1 << 40)
    play.streaming()
    piece = b": " + b"x" * (1 << 20) + b"\n\n"
    for _ in range((MAX_ANSWER >> 20) - 1):
        assert isinstance(play.say(c.Piece(piece)), c.Listen)
    assert code(play.say(c.Piece(piece))) == (502, "upstream_too_large")


def test_an_agent_that_leaves_is_paid_for_and_recorded() -> None:
    play = Playbook()
    play.streaming()
    play.say(c.Piece(delta("x" * 70)))
    play.say(c.Went())
    play.say(c.Went())
    assert play.say(c.AgentLeft()) is None
    ended = play.recorded[-1]
    assert (ended.status, ended.reason, ended.output_tokens, ended.tokens_estimated) == (499, "agent_left", 4096, True)
    # What else the provider made of it nobody knows: it may have cost all that was promised.
    assert play.door.ledger.left == (8, 10_000 - ended.input_tokens, 5000 - 4096)


def test_a_busy_provider_is_tried_again_and_each_try_is_paid_for() -> None:
    play = Playbook()
    command = play.ask()
    for pause in PAUSES:
        assert isinstance(command, c.Ask)
        assert isinstance(play.say(c.Answered(429, "application/json", 0.0)), c.Listen)
        assert play.say(c.Ended()) == c.Pause(pause)
        command = play.say(c.Went())
    assert isinstance(command, c.Ask)
    play.say(c.Answered(200, "application/json", 0.0))
    play.say(c.Piece(whole()))
    command = play.say(c.Ended())
    assert isinstance(command, c.Respond)
    assert (command.status, command.body) == (200, whole())
    assert [(call.phase, call.status) for call in play.recorded] == [
        ("opened", 0), ("ended", 429), ("opened", 0), ("ended", 429), ("opened", 0), ("ended", 200),
    ]  # fmt: skip
    assert play.door.ledger.left == (6, 10_000 - 11, 5000 - 7)


def test_a_retry_stops_when_the_requests_are_spent() -> None:
    play = Playbook(requests=2)
    play.ask()
    for _ in range(2):
        play.say(c.Answered(503, "", 0.0))
        play.say(c.Ended())
        command = play.say(c.Went())
    assert code(command) == (403, "requests_spent")
    assert play.told == ["requests_spent"]
    assert play.recorded[-1].rule == "limits.run.requests"


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_provider_that_refuses_the_gateway_is_a_final_no(status: int) -> None:
    play = Playbook()
    play.ask()
    play.say(c.Answered(status, "application/json", 0.0))
    play.say(c.Piece(json.dumps({"error": {"message": f"bad key {KEY}"}}).encode()))
    command = play.say(c.Ended())
    assert code(command) == (403, "provider_refused")
    assert isinstance(command, c.Respond)
    assert KEY.encode() not in command.body + play.recorded[-1].response
    assert ("x-should-retry", "false") in command.headers
    assert play.told == ["provider_refused"]


def test_a_rejected_request_says_why_without_the_credential() -> None:
    play = Playbook()
    play.ask()
    play.say(c.Answered(400, "application/json", 0.0))
    play.say(c.Piece(b'{"error":{"code":"context_length_exceeded","message":"too\\nlong"}}'))
    command = play.say(c.Ended())
    assert code(command) == (400, "provider_rejected")
    assert isinstance(command, c.Respond)
    assert b"context_length_exceeded: too long" in command.body
    assert play.told == []


def test_the_credential_is_redacted_from_an_answer_however_it_is_escaped() -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    body = whole("PLACE").replace(b"PLACE", escaped.encode())
    play = Playbook()
    play.ask()
    play.say(c.Answered(200, "application/json", 0.0))
    play.say(c.Piece(body))
    command = play.say(c.Ended())
    assert isinstance(command, c.Respond)
    assert json.loads(command.body)["choices"][0]["message"]["content"] == "[redacted]"


def test_the_credential_is_redacted_from_one_event_split_in_transport() -> None:
    play = Playbook()
    play.streaming()
    event = delta(f"key: {KEY}.")
    play.say(c.Piece(event[:-20]))
    assert isinstance(play.say(c.Piece(event[-20:])), c.Begin)
    assert play.say(c.Went()) == c.Send(delta("key: [redacted]."))


def test_the_credential_spread_over_events_breaks_the_stream() -> None:
    play = Playbook()
    play.streaming()
    sent = b""
    for letter in KEY:
        command = play.say(c.Piece(delta(letter)))
        if isinstance(command, c.Begin):
            command = play.say(c.Went())
        if isinstance(command, c.Send) and b"error" not in command.piece:
            sent += command.piece
            command = play.say(c.Went())
    assert isinstance(command, c.Send)
    assert b"credential_reflected" in command.piece
    texts = [json.loads(line[6:])["choices"][0]["delta"]["content"] for line in sent.split(b"\n\n") if line]
    assert "".join(texts) == KEY[:3]
    assert play.recorded[-1].response == b""


def test_text_that_only_begins_like_the_credential_is_held_and_then_handed_on() -> None:
    play = Playbook()
    play.streaming()
    first, second = delta(KEY[:6]), delta(" is not it")
    assert isinstance(play.say(c.Piece(first)), c.Listen)
    assert isinstance(play.say(c.Piece(second)), c.Begin)
    assert play.say(c.Went()) == c.Send(first + second)


def test_a_stream_is_cut_when_the_output_budget_is_spent() -> None:
    play = Playbook(output_tokens=100)
    play.streaming()
    play.say(c.Piece(delta("x" * 300)))
    play.say(c.Went())
    assert isinstance(play.say(c.Went()), c.Listen)
    command = play.say(c.Piece(delta("x" * 100)))
    assert isinstance(command, c.Send)
    assert b"output_tokens_spent" in command.piece
    assert play.say(c.Went()) == c.Abort()
    assert play.told == ["output_tokens_spent"]


def test_the_agents_own_limit_is_lowered_to_what_is_left() -> None:
    play = Playbook(output_tokens=100)
    command = play.ask(max_tokens=4000)
    assert isinstance(command, c.Ask)
    assert json.loads(command.body)["max_tokens"] == 100


def test_a_usage_event_that_the_agent_did_not_ask_for_stays_here() -> None:
    play = Playbook()
    play.streaming()
    assert isinstance(play.say(c.Piece(delta("a") + FINISH + USAGE + DONE)), c.Begin)
    sent = b""
    command = play.say(c.Went())
    while isinstance(command, c.Send):
        sent += command.piece
        command = play.say(c.Went())
    assert sent == delta("a") + FINISH + DONE
    assert (play.recorded[-1].input_tokens, play.recorded[-1].output_tokens) == (11, 7)


@pytest.mark.parametrize(
    "usage", [{}, {"prompt_tokens": -1, "completion_tokens": 5}, {"prompt_tokens": True, "completion_tokens": "x"}]
)
def test_usage_that_cannot_be_is_estimated_instead(usage: dict[str, Any]) -> None:
    play = Playbook()
    play.streaming()
    play.say(c.Piece(delta("x" * 35) + FINISH + chunk(choices=[], usage=usage) + DONE))
    play.say(c.Went())
    play.say(c.Went())
    ended = play.recorded[-1]
    assert (ended.output_tokens, ended.tokens_estimated) == (10, True)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r", b"\n"])
def test_every_line_end_of_the_format_is_understood_across_any_split(line_end: bytes) -> None:
    text = b"".join((delta("a"), delta("b"), FINISH, DONE)).replace(b"\n", line_end)
    for split in range(1, len(text), 7):
        play = Playbook()
        command = play.streaming()
        sent = b""
        pieces = [text[:split], text[split:]]
        while not isinstance(command, c.Finish):
            if isinstance(command, c.Send):
                sent += command.piece
            reply: c.Reply = c.Went()
            if isinstance(command, c.Listen):  # a last `\r` may be half of a line end until the end
                reply = c.Piece(pieces.pop(0)) if pieces else c.Ended()
            command = play.say(reply)
            assert command is not None, "it ended without its finish"
        assert sent == text
