"""Google Vertex AI: Google's models and Anthropic's, each in its own protocol, in one project and location."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

from ringfence.adapters.model_providers.vertex.accounts import account_of
from ringfence.adapters.model_providers.vertex.tokens import Tokens
from ringfence.child.model_endpoint import ModelEndpoint
from ringfence.ports.broker import Secret
from ringfence.ports.model_provider import ProviderAnswer, ProviderRequest

_VERSION = "vertex-2023-10-16"


class VertexProvider:
    """One location with its account. `now` is the time that the account's signatures are dated with."""

    kind = "vertex"
    replayed = False

    def __init__(
        self, endpoint: str, secret: Secret | None, *, now: Callable[[], float], authorities: str = ""
    ) -> None:
        self._endpoint = ModelEndpoint(endpoint, guarded=True, authorities=authorities)
        self._tokens = Tokens(account_of(secret, where=endpoint, now=now, authorities=authorities))

    @property
    def derived(self) -> tuple[str, ...]:
        """The tokens that travel in the place of the account's key."""
        return self._tokens.lately

    @asynccontextmanager
    async def ask(self, request: ProviderRequest) -> AsyncIterator[ProviderAnswer]:
        """Send a request; see ports/model_provider.py."""
        token = await self._tokens.current()
        beta = tuple(header for header in request.headers if header[0] == "anthropic-beta")
        headers = (("authorization", f"Bearer {token}"), *beta)
        async with self._endpoint.post(_target(request), headers, _body(request)) as answer:
            if answer.status == 401:
                self._tokens.forget(token)
            yield answer

    async def close(self) -> None:
        """Let go of idle connections."""
        await self._endpoint.close()
        await self._tokens.close()


def _target(request: ProviderRequest) -> str:
    if request.wire == "gemini":
        publisher, method = "google", "streamGenerateContent?alt=sse" if request.stream else "generateContent"
    else:
        publisher, method = "anthropic", "streamRawPredict" if request.stream else "rawPredict"
    return f"/publishers/{publisher}/models/{quote(request.model, safe='@')}:{method}"


def _body(request: ProviderRequest) -> bytes:
    """For Anthropic's models without the model, which stands in the address, and with a version."""
    if request.wire == "gemini":
        return request.body
    fields = {name: value for name, value in json.loads(request.body).items() if name != "model"}
    return json.dumps({"anthropic_version": _VERSION, **fields}, ensure_ascii=False, separators=(",", ":")).encode()
