"""Azure OpenAI. The deployment's name is what the boundary lists as the model."""

from contextlib import AbstractAsyncContextManager
from urllib.parse import quote

from ringfence.child.model_endpoint import ModelEndpoint, key_of
from ringfence.ports.broker import Secret
from ringfence.ports.model_provider import ProviderAnswer, ProviderRequest

_TARGETS = {"chat": "/chat/completions", "responses": "/responses"}


class AzureProvider:
    """One resource with its key. `api_version`: empty for an endpoint with /v1, which has no versions by date."""

    kind = "azure"
    replayed = False
    derived: tuple[str, ...] = ()

    def __init__(self, endpoint: str, secret: Secret | None, *, api_version: str = "", authorities: str = "") -> None:
        self._endpoint = ModelEndpoint(endpoint, guarded=secret is not None, authorities=authorities)
        self._headers = () if secret is None else (("api-key", key_of(secret, where=endpoint)),)
        self._version = api_version

    def ask(self, request: ProviderRequest) -> AbstractAsyncContextManager[ProviderAnswer]:
        """Send a request; see ports/model_provider.py."""
        return self._endpoint.post(self._target(request), (*self._headers, *request.headers), request.body)

    async def close(self) -> None:
        """Let go of idle connections."""
        await self._endpoint.close()

    def _target(self, request: ProviderRequest) -> str:
        target = _TARGETS[request.wire]
        if not self._version:
            return target
        # Of the dated interface only this part has the deployment in its address; the other one reads it in the body.
        place = f"/deployments/{quote(request.model, safe='')}" if request.wire == "chat" else ""
        return f"{place}{target}?api-version={quote(self._version, safe='')}"
