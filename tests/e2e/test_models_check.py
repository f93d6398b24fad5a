"""`ringfence models check` against real servers: what it says of each, and what it leaves behind."""

import json
import socket
import subprocess
from contextlib import ExitStack
from datetime import date
from typing import Any

from ringfence.domain import events as e
from ringfence.domain.run import RunState
from ringfence.wiring import reading
from scripted_model import Step, calls, refuses, says, scripted, streams
from worksite import REPOSITORY, SECRETS, Worksite

KEY = "sk-canary-9b3e6a1d7c5f4820"
READY = calls(("report_ready", '{"word": "ready"}'))


def route(door: str, *models: str, name: str = "inside") -> dict[str, Any]:
    return {
        "name": name, "provider": "openai", "endpoint": f"{door}/v1", "models": list(models) or ["local-model"],
        "credential": "model-key", "repositories": [REPOSITORY], "data_classes": ["internal"],
        "prompts_logged": "nowhere", "outputs_logged": "nowhere", "retention": "disabled", "internal": True,
    }  # fmt: skip


def furnish(site: Worksite, *routes: dict[str, Any], **more: Any) -> None:
    key = site.root / "secrets" / "model"
    key.touch(mode=0o600)
    key.write_text(KEY)
    site.settings_path.write_text(site.settings_path.read_text() + '[secrets.model-key]\nfile = "secrets/model"\n')
    names = [*SECRETS, {"name": "model-key", "purpose": "model"}]
    first = routes[0]
    default = f"{first['name']}/{first['models'][-1]}"
    site.boundary({"models.routes": list(routes), "models.default": default, "secrets": names, **more})


def checked(site: Worksite, *options: str) -> tuple[int, list[dict[str, Any]], str]:
    done: subprocess.CompletedProcess[str] = site.ringfence("models", "check", "--json", *options)
    assert done.stdout, done.stderr
    shown = json.loads(done.stdout)
    assert shown["ok"] == (done.returncode == 0)
    return done.returncode, shown["routes"], shown["log"]


def test_a_route_that_calls_the_tool_is_ready_and_on_the_log(site: Worksite) -> None:
    with scripted(READY) as server:
        furnish(site, route(server.door, "first-model", "local-model"))
        code, rows, log = checked(site)
    assert code == 0
    assert [(row["route"], row["model"], row["ready"], row["tool_called"]) for row in rows] == [
        ("inside", "local-model", True, True)
    ], "the model that agents are given"
    assert rows[0]["cost"] == "no price in the boundary"
    assert (rows[0]["requests"], rows[0]["replay"]) == (1, False)
    assert rows[0]["seconds"] > 0 and rows[0]["first_byte_ms"] > 0
    assert [headers["authorization"] for headers in server.headers] == [f"Bearer {KEY}"]
    assert [tool["function"]["name"] for tool in server.requests[0]["tools"]] == ["report_ready"]
    called = [event for event in site.events(log) if isinstance(event, e.ModelCalled)]
    assert [(call.door, call.route, call.decision) for call in called] == [("inside/local-model", "inside", "allow")]
    assert [name for name, content in site.kept() if KEY.encode() in content] == []
    with reading(site.settings) as look:
        assert look.runs() == (), "a check is no run"
        assert look.view(log).state is RunState.ENDED, "so that a sweep removes it in its time"


def test_every_model_of_every_route_is_asked_when_wanted(site: Worksite) -> None:
    with scripted(READY) as server:
        other = route(server.door, "third", name="other")
        furnish(site, route(server.door, "first", "second"), other)
        code, rows, _ = checked(site, "--every-model")
        assert (code, [row["model"] for row in rows]) == (0, ["first", "second", "third"])
        _, once, _ = checked(site)
    assert [row["model"] for row in once] == ["second", "third"]


def test_what_a_check_costs_is_told_by_the_table_of_prices_with_its_date(site: Worksite) -> None:
    with scripted(READY) as server:
        table = [{"model": "inside/local-model", "input": 1000.0, "output": 2000.0}]
        prices = {"currency": "EUR", "as_of": date(2026, 3, 1), "table": table}
        furnish(site, route(server.door, "local-model", "free-model"), **{"models.prices": prices})
        _, rows, log = checked(site, "--every-model")
    (called,) = [event for event in site.events(log) if isinstance(event, e.ModelCalled) and event.cost]
    amount = called.input_tokens / 1000 + called.output_tokens / 500
    assert rows[0]["cost"] == f"about {amount:.4f} EUR by the prices of 2026-03-01"
    assert rows[1]["cost"] == "no price in the boundary"


def test_a_secret_in_the_question_does_not_leave(site: Worksite) -> None:
    patterns = {"patterns": [{"name": "house-word", "pattern": "Say nothing else"}]}
    with scripted(READY) as server:
        furnish(site, route(server.door), **{"logs.redaction": patterns, "models.on_secret": "deny"})
        code, rows, _ = checked(site)
        assert (code, rows[0]["ready"], rows[0]["requests"]) == (1, False, 0)
        assert server.requests == []
        document = site.root / "boundary.yaml"
        document.write_text(document.read_text().replace("on_secret: deny", "on_secret: remove"))
        code, rows, _ = checked(site)
    assert (code, rows[0]["ready"]) == (0, True)
    assert "Say nothing else" not in json.dumps(server.requests)


FAULTS: dict[str, tuple[Step, str, str]] = {
    "key": (refuses(401, '{"error":{"message":"bad key ' + KEY + '"}}'), "provider_refused", "401"),
    "model": (refuses(404, '{"error":{"message":"no such model"}}'), "provider_refused", "404"),
    "request": (refuses(400, '{"error":{"code":"bad","message":"no tools"}}'), "provider_rejected", "no tools"),
    "early": (streams(b'data: {"choices":[{"index":0,"delta":{"content":"hel'), "upstream_truncated", ""),
    "late": (streams(b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'), "upstream_truncated", ""),
    "page": (refuses(200, "<html>hello</html>", Content_Type="text/html"), "upstream_not_sse", ""),
}


def test_each_route_that_does_not_answer_fails_with_a_clear_line(site: Worksite) -> None:
    with ExitStack() as stack:
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        doors = {name: stack.enter_context(scripted(step)).door for name, (step, _, _) in FAULTS.items()}
        doors["gone"] = f"http://127.0.0.1:{closed.getsockname()[1]}"
        doors["good"] = stack.enter_context(scripted(READY)).door
        furnish(site, *(route(door, f"{name}-model", name=name) for name, door in doors.items()))
        exit_code, rows, _ = checked(site)
        shown = site.ringfence("models", "check")
    assert exit_code == shown.returncode == 1
    assert {row["route"]: row["code"] for row in rows} == {
        **{name: code for name, (_, code, _) in FAULTS.items()},
        "gone": "upstream_unreachable",
        "good": "",
    }
    assert [row["route"] for row in rows if row["ready"]] == ["good"], "a fault of one says nothing of another"
    assert all(FAULTS[row["route"]][2] in row["said"] for row in rows if row["route"] in FAULTS)
    for name, (_, code, _) in FAULTS.items():
        assert f"FAILED  {name}/{name}-model (openai, chat)\n        {code}: " in shown.stdout
    assert KEY not in shown.stdout + json.dumps(rows)


def test_a_model_that_calls_no_tool_is_ready_for_the_small_mode_only(site: Worksite) -> None:
    with scripted(says("ready")) as server:
        furnish(site, route(server.door))
        code, rows, _ = checked(site)
        assert (code, rows[0]["ready"], rows[0]["tool_called"], rows[0]["code"]) == (1, False, False, "")
        site.settings_path.write_text(site.settings_path.read_text() + '[agent]\nmode = "small"\n')
        code, rows, _ = checked(site)
    assert (code, rows[0]["ready"], rows[0]["tool_called"]) == (0, True, False)


def test_a_recording_is_labelled_and_ready_when_its_script_can_be_read(site: Worksite) -> None:
    code, rows, _ = checked(site)
    assert (code, rows[0]["replay"], rows[0]["ready"], rows[0]["cost"]) == (0, True, True, "nothing: a recording")
    shown = site.ringfence("models", "check").stdout
    assert "REPLAY: a recorded script, no model" in shown
    (site.root / "replay.json").unlink()
    broken = site.ringfence("models", "check")
    assert broken.returncode == 2 and "replay script" in broken.stderr


def test_a_missing_credential_is_a_missing_control(site: Worksite) -> None:
    with scripted(READY) as server:
        furnish(site, route(server.door))
        (site.root / "secrets" / "model").unlink()
        done = site.ringfence("models", "check")
    assert done.returncode == 3 and "model-key" in done.stderr
    assert server.requests == []
