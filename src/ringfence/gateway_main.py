"""The entry of the gateway's process: gives up what it can, then serves with the providers there are.

It imports nothing of the worker but this, and no package but h11: a process that holds keys imports
little. What a vendor's own way of signing needs is imported only where the boundary has such a route. It is
started by gateway/process.py, never by a person.
"""

import asyncio
import encodings.idna  # noqa: F401 - looked up by name later, when this user may not read the library any more
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ringfence.adapters.clock import SystemClock
from ringfence.adapters.model_providers.anthropic import AnthropicProvider
from ringfence.adapters.model_providers.azure import AzureProvider
from ringfence.adapters.model_providers.gemini import GeminiProvider
from ringfence.adapters.model_providers.openai import OpenAIProvider
from ringfence.adapters.model_providers.replay.provider import ReplayProvider
from ringfence.child.confine import confine
from ringfence.child.wire import encode
from ringfence.domain.errors import InputError, RingfenceError
from ringfence.gateway.server import serve_routes
from ringfence.ports.broker import Secret
from ringfence.ports.model_provider import ModelProvider

_Config = dict[str, Any]
_Make = Callable[[_Config, Secret | None], ModelProvider]


def main(arguments: Sequence[str]) -> int:
    """Arguments: the descriptors of the control channel and of the doors, a user id or `-`, the kinds of providers."""
    # All that will be needed: later this user may not read the library any more.
    made = {kind: maker for kind in arguments[3:] if (maker := _maker(kind)) is not None}
    control = socket.socket(fileno=int(arguments[0]))
    doors = socket.socket(fileno=int(arguments[1]))
    user = None if arguments[2] == "-" else int(arguments[2])
    try:
        confine(user)
    except (RingfenceError, OSError) as error:
        control.sendall(encode({"kind": "failed", "what": f"the gateway cannot be confined: {error}"}))
        return 3

    def make_provider(config: _Config, script: bytes) -> ModelProvider:
        """The provider of a route. Errors: `InputError` when it cannot be one."""
        if config["provider"] == "replay":
            return ReplayProvider(script, where=config["endpoint"])
        maker = made.get(config["provider"])
        if maker is None:
            raise InputError(f"there is no model provider {config['provider']!r}", where=f"route {config['name']}")
        return maker(config, Secret(config["credential"]) if config["credential"] else None)

    asyncio.run(serve_routes(control, doors, make_provider, SystemClock().now))
    return 0


def _maker(kind: str) -> _Make | None:
    """How to make a provider of a kind, with all that it needs imported."""
    match kind:
        case "openai":
            return lambda of, key: OpenAIProvider(of["endpoint"], key, authorities=of["authorities"])
        case "anthropic":
            return lambda of, key: AnthropicProvider(of["endpoint"], key, authorities=of["authorities"])
        case "gemini":
            return lambda of, key: GeminiProvider(of["endpoint"], key, authorities=of["authorities"])
        case "azure":
            return lambda of, key: AzureProvider(
                of["endpoint"], key, api_version=of["api_version"], authorities=of["authorities"]
            )
        case "bedrock":
            return _bedrock()
        case "vertex":
            return _vertex()
    return None


def _bedrock() -> _Make:
    from ringfence.adapters.model_providers.bedrock import BedrockProvider

    return lambda of, key: BedrockProvider(of["endpoint"], key, region=of["region"], authorities=of["authorities"])


def _vertex() -> _Make:
    from ringfence.adapters.model_providers.vertex.provider import VertexProvider

    now = SystemClock().now
    return lambda of, key: VertexProvider(of["endpoint"], key, now=now, authorities=of["authorities"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
