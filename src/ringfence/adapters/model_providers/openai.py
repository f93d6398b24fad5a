"""Any endpoint that speaks as OpenAI does: OpenAI itself, a company's gateway, vLLM, Ollama, llama.cpp."""

from contextlib import AbstractAsyncContextManager

from ringfence.child.model_endpoint import ModelEndpoint, key_of
from ringfence.ports.broker import Secret
from ringfence.ports.model_provider import ProviderAnswer, ProviderRequest

_TARGETS = {"chat": "/chat/completions", "responses": "/responses"}


class OpenAIProvider:
    """One endpoint with its credential."""

    kind = "openai"
    replayed = False
    derived: tuple[str, ...] = ()

    def __init__(self, endpoint: str, secret: Secret | None, *, authorities: str = "") -> None:
        self._endpoint = ModelEndpoint(endpoint, guarded=secret is not None, authorities=authorities)
        self._headers = () if secret is None else (("authorization", f"Bearer {key_of(secret, where=endpoint)}"),)

    def ask(self, request: ProviderRequest) -> AbstractAsyncContextManager[ProviderAnswer]:
        """Send a request; see ports/model_provider.py."""
        return self._endpoint.post(_TARGETS[request.wire], (*self._headers, *request.headers), request.body)

    async def close(self) -> None:
        """Let go of idle connections."""
        await self._endpoint.close()
