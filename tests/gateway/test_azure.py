"""Azure OpenAI through a real gateway: both forms of its addresses, in both protocols."""

import json
from typing import Any

import pytest
from agent_side import KEY, Start, route
from model_upstream import Behaviour, Seen, answer, stream, upstream
from speakers import CHAT, RESPONSES, Speaker

each = pytest.mark.parametrize("speaker", (CHAT, RESPONSES), ids=lambda speaker: speaker.name)
V1, DATED = ("/openai/v1", ""), ("/openai", "2024-10-21")
PLACES = {
    ("chat", V1): "/openai/v1/chat/completions",
    ("responses", V1): "/openai/v1/responses",
    ("chat", DATED): "/openai/deployments/large%2B1/chat/completions?api-version=2024-10-21",
    ("responses", DATED): "/openai/responses?api-version=2024-10-21",
}


def azure(path: str, then: Behaviour) -> Behaviour:
    """Knows one address and one key."""

    def behave(sock: Any, seen: Seen) -> bool:
        if seen.line != f"POST {path} HTTP/1.1":
            return answer(b'{"error":{"code":"404","message":"Resource not found"}}', status=404)(sock, seen)
        if seen.headers.get("api-key") != KEY or "authorization" in seen.headers:
            return answer(b'{"error":{"code":"401","message":"Access denied"}}', status=401)(sock, seen)
        return then(sock, seen)

    return behave


@pytest.mark.parametrize("form", (V1, DATED), ids=("v1", "dated"))
@each
def test_a_deployment_is_asked_at_its_address_with_the_key(
    start: Start, speaker: Speaker, form: tuple[str, str]
) -> None:
    place = PLACES[speaker.name, form]
    body = json.dumps(speaker.whole("Hello")).encode()
    with upstream(azure(place, answer(body)), azure(place, stream(*speaker.events))) as up:
        endpoint = f"http://127.0.0.1:{up.port}{form[0]}"
        agent = start(route(endpoint, provider="azure", models=("large+1",), api_version=form[1]), model="large+1")
        whole, streamed = (speaker.ask(agent, model="large+1", stream=stream) for stream in (False, True))
    assert (whole.status, whole.body) == (200, body)
    assert (streamed.status, streamed.complete) == (200, True)
    assert json.loads(up.seen[0].body)["model"] == "large+1"
    assert {call.provider for call in agent.records.calls} == {"azure"}


def test_another_key_is_refused_by_the_upstream(start: Start) -> None:
    # The upstream of these tests is strict: without this, the test above would say nothing.
    with upstream(azure("/openai/v1/chat/completions", answer(b"{}"))) as up:
        endpoint = f"http://127.0.0.1:{up.port}/openai/v1"
        got = start(route(endpoint, provider="azure", credential=None)).chat()
    assert (got.status, got.code) == (403, "provider_refused")
