"""Event streams are hostile bytes: no parser raises, and what it makes of them stays bounded."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringfence.adapters import event_stream
from ringfence.adapters.agents.external.table import TABLE
from ringfence.ports.agent import AgentReport

#: Each parser once, by the name of an agent that has it.
PARSERS = {name: parse for parse, name in {entry.parse: name for name, entry in TABLE.items()}.items()}
FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
OUTCOMES = {"finished", "gave_up", "turns", "time", "denied", "crashed"}

#: Words that parsers look for, so that generated events come deep into them.
WORDS = """
    type event role message item usage content result status part tokens input stats output reason error data info
    exit_status messages stopReason is_error subtype num_turns assistant message_end agent_end item.started
    item.completed turn.completed turn.failed text agent_message command_execution tool_use step_start step_finish
    tool_execution_start end turn n assistant.message tool.execution_start session.error tool turns edits code
    outcome finished extra actions response tool_calls function arguments args command success max_turns
""".split()  # noqa: SIM905
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=10,
)
EVENTS = st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=8)


def bounded(report: AgentReport) -> None:
    assert report.outcome in OUTCOMES
    assert 0 <= report.turns <= 10**12 and report.tools >= 0
    assert len(report.message) <= 2_000 and len(report.steps) <= 2_000
    assert all(len(step.text) <= 2_000 for step in report.steps)
    json.dumps([step.text for step in report.steps]).encode()


@pytest.mark.parametrize("name", PARSERS)
@FEW
@given(st.lists(EVENTS, max_size=4))
def test_no_event_breaks_a_parser(name: str, events: list[dict[str, Any]]) -> None:
    output = b"\n".join(json.dumps(event).encode() for event in events)
    bounded(event_stream.read(output, PARSERS[name]).report())
    assert event_stream.watch(PARSERS[name])(output + b"\n") >= 0


@pytest.mark.parametrize("name", PARSERS)
@FEW
@given(st.binary(max_size=400))
def test_no_bytes_break_a_parser(name: str, output: bytes) -> None:
    bounded(event_stream.read(output, PARSERS[name]).report())


def test_bombs_are_passed_over() -> None:
    bombs = (
        b"[" * 200_000,
        b'{"a":' * 50_000,
        b'{"n": ' + b"9" * 10_000 + b"}",
        b'{"type": "' + b"x" * (5 << 20) + b'"}',
    )
    for parse in PARSERS.values():
        bounded(event_stream.read(b"\n".join(bombs), parse).report())


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_lines_are_the_same_in_whatever_pieces_they_come(pieces: list[bytes]) -> None:
    whole, split = event_stream.Lines(), event_stream.Lines()
    expected = whole.take(b"".join(pieces)), whole.rest()
    assert ([line for piece in pieces for line in split.take(piece)], split.rest()) == expected


def test_a_line_without_an_end_takes_no_memory() -> None:
    lines = event_stream.Lines()
    for _ in range(100):
        assert lines.take(b"x" * 100_000) == []
    assert lines.take(b'tail\n{"event": "end", "outcome": "finished"}\n') == [
        b'{"event": "end", "outcome": "finished"}'
    ]


@pytest.mark.parametrize(
    ("name", "stream", "outcome", "turns", "tools"),
    [
        ("pi", [{"type": "message_end", "message": {"role": "assistant", "content": []}},
                {"type": "agent_end", "messages": [{"stopReason": "stop"}]}], "finished", 1, 0),
        ("pi", [{"type": "agent_end", "messages": [{"stopReason": "error"}]}], "crashed", 0, 0),
        ("codex", [{"type": "item.started", "item": {"type": "command_execution", "command": "ls"}},
                   {"type": "turn.completed", "usage": {"input_tokens": 5}}], "finished", 1, 1),
        ("codex", [{"type": "turn.failed", "error": {"message": "403"}}], "crashed", 0, 0),
        ("claude", [{"type": "result", "is_error": False, "subtype": "success", "num_turns": 3}], "finished", 3, 0),
        ("claude", [{"type": "result", "is_error": True, "subtype": "error_max_turns"}], "turns", 0, 0),
        ("claude", [{"type": "result", "subtype": "success"}], "crashed", 0, 0),
        ("opencode", [{"type": "step_finish", "part": {"reason": "stop"}}], "finished", 1, 0),
        ("opencode", [{"type": "step_finish", "part": {"reason": "tool-calls"}}], "crashed", 1, 0),
        ("gemini", [{"type": "result", "status": "success"}], "finished", 1, 0),
        ("gemini", [{"type": "result", "status": "error"}], "crashed", 1, 0),
        ("copilot", [{"type": "assistant.message", "data": {}}, {"type": "result", "exitCode": 0}], "finished", 1, 0),
        ("mini", [{"info": {"exit_status": "LimitsExceeded"}, "messages": []}], "turns", 0, 0),
        ("aider", [{"event": "end", "turns": 0, "edits": 0, "code": 0}], "crashed", 0, 0),
        ("aider", [{"event": "end", "turns": 1, "edits": 1, "code": 0}], "finished", 1, 1),
    ],
)  # fmt: skip
def test_the_last_word_of_each_agent_is_understood(
    name: str, stream: list[dict[str, Any]], outcome: str, turns: int, tools: int
) -> None:
    output = b"\n".join(json.dumps(event).encode() for event in stream)
    report = event_stream.read(output, TABLE[name].parse).report()
    assert (report.outcome, report.turns, report.tools) == (outcome, turns, tools)


@pytest.mark.parametrize("name", TABLE)
def test_a_stream_that_is_cut_is_a_crash(name: str) -> None:
    assert event_stream.read(b'{"type": "system"}\n', TABLE[name].parse).report().outcome == "crashed"
