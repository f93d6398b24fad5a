"""The port of model providers as the gateway's own process sees them: a request goes out, bytes come back.

A provider knows an endpoint and its credential and puts the one on requests to the other. It judges
nothing: whether an answer is complete, honest or allowed is the gateway's to say, by the same code for
every provider. The one asynchronous port, since only the gateway's process uses it.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from ringfence.domain.wires import Wire


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A request that was judged and may be sent: everything but the address and the credential."""

    wire: Wire
    model: str
    stream: bool
    headers: tuple[tuple[str, str], ...]  # of the agent's, those that its protocol has and that may go on
    body: bytes


class ProviderAnswer(Protocol):
    """What came back, as HTTP has it."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case; empty when there was none."""
        ...

    @property
    def retry_after(self) -> float:
        """Seconds that the provider asks for before another try; 0 when it said nothing."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Errors: `HostFailed` when it is cut."""
        ...


class ModelProvider(Protocol):
    """One way to a model, in the protocols that its route names."""

    @property
    def kind(self) -> str:
        """For the log, as the boundary spells it: "openai", "anthropic", "replay"."""
        ...

    @property
    def replayed(self) -> bool:
        """True when no model answers, but a recording."""
        ...

    @property
    def derived(self) -> tuple[str, ...]:
        """Secrets that travel in the place of the credential that was given, now or in a call that may still run.

        A short-lived token that was got for a key, for example. They must not come back either.
        """
        ...

    def ask(self, request: ProviderRequest) -> AbstractAsyncContextManager[ProviderAnswer]:
        """Send a request. Errors: `HostFailed` when nothing came back; no redirect is followed.

        No time limit but that of connecting: the gateway cancels what takes too long.
        """
        ...

    async def close(self) -> None:
        """Let go of idle connections."""
        ...
