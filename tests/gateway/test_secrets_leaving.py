"""What leaves for a model is looked through: known secrets and known formats, tool results and other spellings too."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from agent_side import POLICY, USER, Agent, Records, listening, route
from model_upstream import either, upstream

from ringfence import points
from ringfence.adapters.artifacts.directory import DirectoryArtifacts
from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.broker.redacting import LearningRedactor
from ringfence.domain.boundary import Boundary
from ringfence.domain.events import ModelAsked, ModelCalled, from_json
from ringfence.domain.parse import parse
from ringfence.gateway.call import Call, Phase
from ringfence.gateway.process import GatewayProcess
from ringfence.ports.broker import Secret

TEAM = (Path(__file__).parents[2] / "examples" / "boundaries" / "team.yaml").read_text()
CANARY = "cnry-71f0a9b2c4d6e8f1a3b5"
TOKEN = "ghp_" + "a1B2" * 9
Mode = Literal["remove", "deny", "stop"]
Open = Callable[[str, Mode], Any]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteAuditLog]:
    log = SqliteAuditLog(tmp_path / "audit.sqlite", clock=SystemClock(), redact=str)
    yield log
    log.close()


@pytest.fixture
def opened(tmp_path: Path, log: SqliteAuditLog) -> Open:
    """A gateway that has its calls written down as the worker does it, with a boundary's answer to secrets."""

    @contextmanager
    def opening(endpoint: str, mode: Mode) -> Iterator[Agent]:
        boundary = parse(TEAM)
        assert isinstance(boundary, Boundary)
        boundary = boundary.model_copy(update={"models": boundary.models.model_copy(update={"on_secret": mode})})
        redactor = LearningRedactor([Secret(CANARY)], [])
        artifacts = DirectoryArtifacts(tmp_path / "artifacts", redact=redactor.redact)
        record = points.call_recorder(boundary, log, artifacts, redactor)
        with (
            GatewayProcess((route(endpoint),), record, user=USER) as gateway,
            listening() as listener,
            gateway.open(listener, POLICY) as door,
        ):
            yield Agent(listener.getsockname()[1], door, Records(), gateway)

    return opening


def said(log: SqliteAuditLog) -> list[Any]:
    return [from_json(record.event) for record in log.records(POLICY.run)]


def result_of_a_tool(text: str) -> list[dict[str, Any]]:
    call = {"id": "c1", "type": "function", "function": {"name": "shell", "arguments": "{}"}}
    return [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": text},
    ]


@pytest.mark.parametrize("spell", [str, lambda text: base64.b64encode(text.encode()).decode()], ids=["plain", "base64"])
def test_a_known_secret_in_a_tool_result_is_taken_out_and_counted(
    opened: Open, log: SqliteAuditLog, spell: Callable[[str], str]
) -> None:
    with upstream(either) as up, opened(up.url, "remove") as agent:
        assert agent.chat(messages=result_of_a_tool(f'found "{spell(CANARY)}" there')).status == 200
        body = json.loads(up.seen[0].body)
    assert spell(CANARY) not in json.dumps(body)
    assert body["messages"][2]["content"].startswith('found "')
    asked = next(event for event in said(log) if isinstance(event, ModelAsked))
    assert asked.reason.startswith("taken out: 1 ")
    assert CANARY not in str(said(log))


def test_the_request_on_record_is_the_one_that_left(opened: Open, log: SqliteAuditLog, tmp_path: Path) -> None:
    with upstream(either) as up, opened(up.url, "remove") as agent:
        assert agent.chat(messages=result_of_a_tool(f"found {CANARY} there")).status == 200
        assert agent.chat().status == 200
    called = [event for event in said(log) if isinstance(event, ModelCalled)]
    stored = DirectoryArtifacts(tmp_path / "artifacts", redact=bytes)
    assert [stored.get(event.request) for event in called] == [seen.body for seen in up.seen]


def test_an_answer_whose_request_cannot_be_stored_is_not_handed_on(
    opened: Open, log: SqliteAuditLog, tmp_path: Path
) -> None:
    with upstream(either) as up, opened(up.url, "remove") as agent:
        (tmp_path / "artifacts").rmdir()
        (tmp_path / "artifacts").write_text("in the way")
        got = agent.chat()
        assert (got.status, got.code) == (403, "not_recorded")
        assert agent.door.denied() == "not_recorded"
        assert len(up.seen) == 1
    assert [type(event) for event in said(log)] == [ModelAsked]


def test_an_end_of_a_call_that_nobody_saw_begin_is_not_recorded(log: SqliteAuditLog, tmp_path: Path) -> None:
    boundary, redactor = parse(TEAM), LearningRedactor([], [])
    assert isinstance(boundary, Boundary)
    artifacts = DirectoryArtifacts(tmp_path / "artifacts", redact=redactor.redact)
    record = points.call_recorder(boundary, log, artifacts, redactor)
    told = record(call := a_call("opened"))
    assert told is not None
    assert told.after is not None
    told.after()
    record(replace(call, phase="ended", request=b""))
    with pytest.raises(KeyError):
        record(replace(call, phase="ended", request=b""))
    assert [type(event) for event in said(log)] == [ModelAsked, ModelCalled]


def a_call(phase: Phase) -> Call:
    return Call(
        id="agent/1#1", phase=phase, run=POLICY.run, door="agent/1", route="main", provider="openai", model="m",
        decision="allow", rule="models.routes", reason="", status=0, input_tokens=1, output_tokens=2,
        tokens_estimated=False, first_byte_ms=0.5, seconds=1.5, replayed=False, request=b"{}", response=b"",
    )  # fmt: skip


def test_a_secret_by_its_format_makes_a_request_be_refused_but_not_the_next(opened: Open, log: SqliteAuditLog) -> None:
    with upstream(either) as up, opened(up.url, "deny") as agent:
        got = agent.chat(messages=result_of_a_tool(f"token {TOKEN}"))
        assert (got.status, got.code) == (400, "secret_found")
        assert up.seen == []
        assert TOKEN.encode() not in got.body
        assert agent.chat().status == 200
        assert agent.door.denied() is None
    denied = [event for event in said(log) if isinstance(event, ModelCalled) and event.decision == "deny"]
    assert [(event.rule, event.reason) for event in denied] == [
        ("models.on_secret", "secret_found: the request holds a secret: 1 github-token")
    ]


def test_a_secret_ends_the_run_where_the_boundary_says_so(opened: Open) -> None:
    with upstream(either) as up, opened(up.url, "stop") as agent:
        assert agent.chat(messages=result_of_a_tool(CANARY)).status == 403
        assert (agent.door.denied(), up.seen) == ("secret_found", [])


def test_ordinary_code_passes_unchanged(opened: Open) -> None:
    text = 'password = get_password()\nAPI_KEY = os.environ["API_KEY"]\nmax_tokens: 4096\n'
    with upstream(either) as up, opened(up.url, "stop") as agent:
        assert agent.chat(messages=result_of_a_tool(text)).status == 200
        assert json.loads(up.seen[0].body)["messages"][2]["content"] == text
