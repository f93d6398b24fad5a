"""Model calls under the names of OpenTelemetry's conventions: what is on record, and nothing else."""

from dataclasses import replace

from ringfence.domain.model_events import ModelAsked, ModelCalled
from ringfence.domain.telemetry import attributes

ASKED = ModelAsked("agent/1#1", "agent/1", "main", "m", "models.routes", "", 100, 4096, 900)
CALLED = ModelCalled(
    "agent/1", "main", "openai", "m", "allow", "models.routes", "", 200, 110, 7, False, 1.0, 2.0, "", "", False,
    protocol="responses", cached_tokens=4, reasoning_tokens=3, call="agent/1#1",
)  # fmt: skip


def conventional(event: ModelAsked | ModelCalled) -> dict[str, object]:
    return {name: value for name, value in attributes(event).items() if not name.startswith("ringfence.")}


def test_a_call_that_was_answered_has_its_model_provider_and_tokens() -> None:
    assert conventional(CALLED) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 110,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 3,
    }


def test_the_providers_word_for_the_model_and_the_boundarys_address_have_their_names() -> None:
    named = conventional(replace(CALLED, response_model="m-2026", server="models.example.internal:443"))
    assert named["gen_ai.response.model"] == "m-2026"
    assert (named["server.address"], named["server.port"]) == ("models.example.internal", 443)
    asked = conventional(replace(ASKED, server="[2001:db8::1]:8443"))
    assert (asked["server.address"], asked["server.port"]) == ("2001:db8::1", 8443)


def test_gemini_goes_by_the_names_that_the_conventions_have_for_it() -> None:
    named = attributes(replace(CALLED, provider="gemini", protocol="gemini"))
    assert (named["gen_ai.provider.name"], named["gen_ai.operation.name"]) == ("gcp.gemini", "generate_content")


def test_a_translated_call_says_what_the_provider_was_asked_in() -> None:
    named = attributes(replace(CALLED, protocol="chat", translated="messages"))
    assert (named["ringfence.protocol"], named["ringfence.protocol.translated"]) == ("chat", "messages")
    assert "ringfence.protocol.translated" not in attributes(CALLED)


def test_a_call_that_failed_says_how() -> None:
    assert attributes(replace(CALLED, status=504, reason="upstream_timeout"))["error.type"] == "upstream_timeout"


def test_a_denial_names_its_reason_without_details_and_counts_no_tokens() -> None:
    denied = replace(CALLED, decision="deny", status=403, reason="not_approved: model 'x: y' is not approved")
    named = attributes(denied)
    assert named["error.type"] == "not_approved"
    assert not any(name.startswith("gen_ai.usage.") for name in named)


def test_a_call_whose_end_was_never_written_claims_neither_a_provider_nor_tokens() -> None:
    assert conventional(ASKED) == {"gen_ai.request.model": "m"}
    assert attributes(ASKED)["ringfence.ended"] is False
