"""Google's Gemini API, or an endpoint that speaks as it does; the model is named in the path."""

from contextlib import AbstractAsyncContextManager
from urllib.parse import quote

from ringfence.child.model_endpoint import ModelEndpoint, key_of
from ringfence.ports.broker import Secret
from ringfence.ports.model_provider import ProviderAnswer, ProviderRequest


class GeminiProvider:
    """One endpoint with its credential."""

    kind = "gemini"
    replayed = False
    derived: tuple[str, ...] = ()

    def __init__(self, endpoint: str, secret: Secret | None, *, authorities: str = "") -> None:
        self._endpoint = ModelEndpoint(endpoint, guarded=secret is not None, authorities=authorities)
        self._headers = () if secret is None else (("x-goog-api-key", key_of(secret, where=endpoint)),)

    def ask(self, request: ProviderRequest) -> AbstractAsyncContextManager[ProviderAnswer]:
        """Send a request; see ports/model_provider.py."""
        method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        target = f"/models/{quote(request.model, safe='')}:{method}"
        return self._endpoint.post(target, (*self._headers, *request.headers), request.body)

    async def close(self) -> None:
        """Let go of idle connections."""
        await self._endpoint.close()
