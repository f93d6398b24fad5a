"""The entry of the gateway's process: gives up what it can, then serves with the providers there are.

It imports nothing of the worker but this, and no package but h11: a process that holds keys imports
little. It is started by gateway/process.py, never by a person.
"""

import asyncio
import encodings.idna  # noqa: F401 - looked up by name later, when this user may not read the library any more
import socket
import sys
from collections.abc import Sequence
from typing import Any

from ringfence.adapters.clock import SystemClock
from ringfence.adapters.model_providers.anthropic import AnthropicProvider
from ringfence.adapters.model_providers.gemini import GeminiProvider
from ringfence.adapters.model_providers.openai import OpenAIProvider
from ringfence.adapters.model_providers.replay.provider import ReplayProvider
from ringfence.child.confine import confine
from ringfence.child.wire import encode
from ringfence.domain.errors import InputError, RingfenceError
from ringfence.gateway.server import serve_routes
from ringfence.ports.broker import Secret
from ringfence.ports.model_provider import ModelProvider

_Remote = type[OpenAIProvider] | type[AnthropicProvider] | type[GeminiProvider]
_REMOTE: dict[str, _Remote] = {"openai": OpenAIProvider, "anthropic": AnthropicProvider, "gemini": GeminiProvider}


def main(arguments: Sequence[str]) -> int:
    """Arguments: the descriptors of the control channel and of the doors, and a user id or `-`."""
    control = socket.socket(fileno=int(arguments[0]))
    doors = socket.socket(fileno=int(arguments[1]))
    user = None if arguments[2] == "-" else int(arguments[2])
    try:
        confine(user)
    except (RingfenceError, OSError) as error:
        control.sendall(encode({"kind": "failed", "what": f"the gateway cannot be confined: {error}"}))
        return 3
    asyncio.run(serve_routes(control, doors, make_provider, SystemClock().now))
    return 0


def make_provider(config: dict[str, Any], script: bytes) -> ModelProvider:
    """The provider of a route. Errors: `InputError` when it cannot be one."""
    if config["provider"] == "replay":
        return ReplayProvider(script, where=config["endpoint"])
    kind = _REMOTE.get(config["provider"])
    if kind is not None:
        secret = Secret(config["credential"]) if config["credential"] else None
        return kind(config["endpoint"], secret, authorities=config["authorities"])
    raise InputError(f"there is no model provider {config['provider']!r}", where=f"route {config['name']}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
