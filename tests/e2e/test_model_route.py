"""A run whose model is an OpenAI-compatible server with a credential: everything but the recording."""

import json
from collections.abc import Iterator

import pytest

from ringfence.domain import events as e
from ringfence.gateway.exchange import PAUSES
from scripted_model import ScriptedModel, finish, refuses, scripted, shell, streams
from worksite import REPOSITORY, SECRETS, Worksite

KEY = "sk-canary-5f1d0c8e7b2a4936"


def furnish(site: Worksite, server: ScriptedModel, **limits: int) -> None:
    """Point the site's one route at the server, with a credential."""
    key = site.root / "secrets" / "model"
    key.touch(mode=0o600)
    key.write_text(KEY)
    site.settings_path.write_text(site.settings_path.read_text() + '[secrets.model-key]\nfile = "secrets/model"\n')
    route = {
        "name": "inside", "provider": "openai", "endpoint": f"{server.door}/v1", "models": ["local-model"],
        "credential": "model-key", "repositories": [REPOSITORY], "data_classes": ["internal"],
        "prompts_logged": "nowhere", "outputs_logged": "nowhere", "retention": "disabled", "internal": True,
    }  # fmt: skip
    names = [*SECRETS, {"name": "model-key", "purpose": "model"}]
    changes = {"models.routes": [route], "models.default": "inside/local-model", "secrets": names}
    site.boundary({**changes, **{f"limits.run.{name}": value for name, value in limits.items()}})


def kept_with(site: Worksite, value: str) -> Iterator[str]:
    return (name for name, content in site.kept() if value.encode() in content)


def test_a_real_wire_carries_a_ticket_and_the_key_stays_outside(site: Worksite) -> None:
    attempt = (shell("env; cat /proc/self/environ; echo 2 > value.txt"), finish())
    with scripted(*attempt) as server:
        furnish(site, server)
        code, view = site.run()
    assert (code, view.outcome) == (0, "pull_request")
    assert [headers["authorization"] for headers in server.headers] == [f"Bearer {KEY}"] * 2
    assert KEY not in str(server.requests), "the agent cannot send what it does not have"
    assert list(kept_with(site, KEY)) == []
    called = [event for event in site.events(view.id) if isinstance(event, e.ModelCalled)]
    assert {(c.route, c.provider, c.model, c.replayed) for c in called} == {("inside", "openai", "local-model", False)}
    assert view.spent.requests == 2
    place = server.door.removeprefix("http://")
    assert {event.server for event in site.events(view.id) if isinstance(event, e.ModelAsked | e.ModelCalled)} == {
        place
    }
    shown = json.loads(site.ringfence("show", view.id, "--models", "--json").stdout)
    assert {one["attributes"]["server.address"] for one in shown} == {place.rpartition(":")[0]}
    assert all("gen_ai.response.model" not in one["attributes"] for one in shown), "this server names no model"


def test_a_translated_route_carries_a_ticket_and_the_pull_request_says_so(site: Worksite) -> None:
    site.boundary({"models.routes.0.protocols": ["messages"], "models.routes.0.translate": ["chat"]})
    code, view = site.run()
    assert (code, view.outcome) == (0, "pull_request")
    calls = [event for event in site.events(view.id) if isinstance(event, e.ModelCalled)]
    assert {(call.protocol, call.translated) for call in calls} == {("chat", "messages")}
    assert "translated from `chat to messages`" in site.pull_request(1)
    assert (
        "chat (translated to messages)" in site.ringfence("boundary", "show", str(site.root / "boundary.yaml")).stdout
    )


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (refuses(401, '{"error":{"message":"bad key ' + KEY + '"}}'), "provider_refused"),
        (streams(b"<html>hello</html>"), "upstream_truncated"),
    ],
)
def test_a_failing_provider_stops_the_run_with_a_reason(site: Worksite, step: object, reason: str) -> None:
    with scripted(step) as server:  # type: ignore[arg-type]
        furnish(site, server)
        code, view = site.run()
    assert (code, view.outcome) == (7, "stopped")
    assert view.reason == reason, view.detail
    assert set(site.refs()) == {"refs/heads/main"}
    assert list(kept_with(site, KEY)) == [], "not even when the provider says it"


def test_a_spent_budget_ends_the_run(site: Worksite) -> None:
    with scripted(shell("true")) as server:
        furnish(site, server, requests=5)
        code, view = site.run()
    assert (code, view.reason) == (7, "requests_spent")
    assert len(server.requests) == 5
    assert view.spent.requests == 5


def test_turns_that_led_to_nothing_are_the_reason(site: Worksite) -> None:
    with scripted(shell("true")) as server:
        furnish(site, server, turns=3)
        code, view = site.run()
    assert (code, view.reason) == (7, "turns_spent")
    assert len(server.requests) == 3


#: Asks once, takes no notice of what it is told, and says that all went well.
SHRUGS = """
import json, os, urllib.request
body = {"model": os.environ["MODEL"], "messages": [{"role": "user", "content": "hi"}]}
headers = {"Content-Type": "application/json"}
asked = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode(), headers)
try:
    urllib.request.urlopen(asked)
except OSError:
    pass
"""


@pytest.mark.parametrize(
    ("status", "reason", "tries"), [(400, "provider_rejected", 1), (503, "upstream_failed", 1 + len(PAUSES))]
)
def test_a_model_that_did_not_answer_is_the_reason_also_when_the_agent_shrugs(
    site: Worksite, status: int, reason: str, tries: int
) -> None:
    """An agent of our own would come again until the route's circuit has opened three times, which takes a minute."""
    with scripted(refuses(status, '{"error":{"message":"bad key ' + KEY + '"}}')) as server:
        furnish(site, server)
        settings = f'[agent]\nname = "command"\ncommand = {json.dumps(["/usr/bin/python3", "-c", SHRUGS])}\n'
        site.settings_path.write_text(site.settings_path.read_text() + settings)
        document = site.root / "boundary.yaml"
        document.write_text(document.read_text().replace("commands:\n", "commands:\n  agents: [{name: command}]\n", 1))
        code, view = site.run()
    assert (code, view.outcome, view.reason) == (7, "stopped", reason), view.detail
    assert len(server.requests) == tries
    assert set(site.refs()) == {"refs/heads/main"}
    assert list(kept_with(site, KEY)) == [], "not even when the provider says it"
    (ended,) = [event for event in site.events(view.id) if isinstance(event, e.AgentEnded)]
    assert ended.outcome == "finished"
