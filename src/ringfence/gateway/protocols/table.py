"""Every protocol there is, and which one an address belongs to."""

from ringfence.gateway.protocols.chat import CHAT
from ringfence.gateway.protocols.gemini import GEMINI
from ringfence.gateway.protocols.messages import MESSAGES
from ringfence.gateway.protocols.responses import RESPONSES
from ringfence.gateway.protocols.shape import Place, WireProtocol

PROTOCOLS: tuple[WireProtocol, ...] = (CHAT, RESPONSES, MESSAGES, GEMINI)


def placed(target: str) -> Place | None:
    """What an address asks for; None when nothing is there."""
    path, _, query = target.partition("?")
    return next((place for wire in PROTOCOLS if (place := wire.place(path, query)) is not None), None)


def nearest(target: str) -> WireProtocol:
    """The protocol in whose form to say that nothing is there."""
    if target.startswith("/v1/messages"):
        return MESSAGES
    return GEMINI if target.startswith(("/v1beta/", "/v1/models/")) and ":" in target else CHAT
