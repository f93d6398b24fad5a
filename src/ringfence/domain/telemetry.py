"""Model calls in the attribute names of OpenTelemetry's conventions for generative AI, for whoever exports the log.

Only what is on record. `gen_ai.response.model` is the provider's word; `server.address` is the boundary's, of the
endpoint that the route names, whatever stands between. What the conventions have no name for stands under
`ringfence.`.
"""

from ringfence.domain.model_events import ModelAsked, ModelCalled

#: Values as the conventions spell them; another provider goes by the boundary's word for it.
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
}
_OPERATIONS = {"gemini": "generate_content"}

Attributes = dict[str, str | int | float | bool]


def attributes(event: ModelAsked | ModelCalled) -> Attributes:
    """The attributes of one call: ended or denied, or asked when its end was never written."""
    named: Attributes = {
        "gen_ai.request.model": event.model,
        "ringfence.call": event.call,
        "ringfence.door": event.door,
        "ringfence.route": event.route,
        "ringfence.rule": event.rule,
    }
    if event.server:
        host, _, port = event.server.rpartition(":")
        named |= {"server.address": host.strip("[]"), "server.port": int(port)}
    if isinstance(event, ModelAsked):
        return {**named, "ringfence.decision": "allow", "ringfence.ended": False}
    named |= {
        "gen_ai.operation.name": _OPERATIONS.get(event.translated or event.protocol, "chat"),
        "gen_ai.provider.name": _PROVIDERS.get(event.provider, event.provider),
        "ringfence.decision": event.decision,
        "ringfence.ended": True,
        "ringfence.protocol": event.protocol,
        "ringfence.replayed": event.replayed,
        "ringfence.seconds": event.seconds,
    }
    if event.translated:
        named["ringfence.protocol.translated"] = event.translated
    if event.reason:
        named["error.type"] = event.reason.split(":")[0]  # of a denial the reason's name, without its details
    if event.response_model:
        named["gen_ai.response.model"] = event.response_model
    if event.decision == "allow":
        named |= {
            "gen_ai.usage.input_tokens": event.input_tokens,
            "gen_ai.usage.output_tokens": event.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": event.cached_tokens,
            "gen_ai.usage.reasoning.output_tokens": event.reasoning_tokens,
            "ringfence.tokens_estimated": event.tokens_estimated,
        }
    return named
