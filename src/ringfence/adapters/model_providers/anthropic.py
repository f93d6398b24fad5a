"""Any endpoint that speaks as Anthropic does: Anthropic itself, or a company's gateway."""

from contextlib import AbstractAsyncContextManager

from ringfence.child.model_endpoint import ModelEndpoint, key_of
from ringfence.ports.broker import Secret
from ringfence.ports.model_provider import ProviderAnswer, ProviderRequest

_VERSION = ("anthropic-version", "2023-06-01")  # the provider refuses a request that names none


class AnthropicProvider:
    """One endpoint with its credential."""

    kind = "anthropic"
    replayed = False
    derived: tuple[str, ...] = ()

    def __init__(self, endpoint: str, secret: Secret | None, *, authorities: str = "") -> None:
        self._endpoint = ModelEndpoint(endpoint, guarded=secret is not None, authorities=authorities)
        self._headers = () if secret is None else (("x-api-key", key_of(secret, where=endpoint)),)

    def ask(self, request: ProviderRequest) -> AbstractAsyncContextManager[ProviderAnswer]:
        """Send a request; see ports/model_provider.py."""
        named = any(name == _VERSION[0] for name, _ in request.headers)
        headers = (*self._headers, *(() if named else (_VERSION,)), *request.headers)
        return self._endpoint.post("/messages", headers, request.body)

    async def close(self) -> None:
        """Let go of idle connections."""
        await self._endpoint.close()
