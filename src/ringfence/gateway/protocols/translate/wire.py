"""A protocol that an agent speaks and its provider lacks: judged in both, and translated between them.

What the agent sends is judged by its own protocol, translated, and judged again by the provider's, so that nothing can
be smuggled through the translation. What the provider answers is judged by the provider's protocol before it is told.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from ringfence.domain.wires import Wire
from ringfence.gateway.protocols import shape
from ringfence.gateway.protocols.chat import CHAT
from ringfence.gateway.protocols.messages import MESSAGES
from ringfence.gateway.protocols.responses import RESPONSES
from ringfence.gateway.protocols.shape import Counted, Heard, Listener, Place, Reading, WireProtocol
from ringfence.gateway.protocols.translate import chat_to_messages, messages_to_chat, responses_to_chat
from ringfence.gateway.protocols.translate.as_chat import AsChat
from ringfence.gateway.protocols.translate.as_messages import AsMessages
from ringfence.gateway.protocols.translate.as_responses import AsResponses
from ringfence.gateway.protocols.translate.from_chat import FromChat
from ringfence.gateway.protocols.translate.from_messages import FromMessages
from ringfence.gateway.protocols.translate.pieces import Piece, Reader, Writer
from ringfence.gateway.refusal import Fault, Headers, Refusal, not_translated


@dataclass(frozen=True, slots=True)
class Translated:
    """A pair of protocols as one; see shape.py. It goes by the name of the agent's."""

    agent: WireProtocol
    provider: WireProtocol
    request: Callable[[dict[str, Any]], dict[str, Any]]
    reader: Callable[[], Reader]
    writer: Callable[[bool], Writer]  # told whether the agent wants to know the usage

    @property
    def name(self) -> Wire:
        """The agent's."""
        return self.agent.name

    @property
    def asked_in(self) -> Wire:
        """The provider's."""
        return self.provider.name

    def place(self, path: str, query: str) -> Place | None:
        """As in the agent's."""
        return self.agent.place(path, query)

    def model(self, fields: dict[str, Any], place: Place) -> object:
        """As in the agent's."""
        return self.agent.model(fields, place)

    def read(self, fields: dict[str, Any], place: Place) -> Reading | Refusal:
        """Judge in both protocols; what travels is the provider's."""
        reading = self.agent.read(fields, place)
        return reading if isinstance(reading, Refusal) else self.carried(reading)

    def carried(self, reading: Reading) -> Reading | Refusal:
        """What the agent's protocol has judged, translated and judged by the provider's."""
        try:
            fields = self.request(reading.fields)
        except ValueError as error:
            return not_translated(self.agent.name, self.provider.name, str(error))
        sent = self.provider.read(fields, Place(self.provider))
        return sent if isinstance(sent, Refusal) else replace(sent, usage_wanted=reading.usage_wanted)

    def handed_on(self, _headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """None: they belong to the agent's protocol."""
        return ()

    def judge(self, answer: dict[str, Any]) -> Fault | None:
        """As in the provider's."""
        return self.provider.judge(answer)

    def usage(self, answer: dict[str, Any]) -> Counted | None:
        """As in the provider's."""
        return self.provider.usage(answer)

    def told(self, answer: dict[str, Any]) -> dict[str, Any] | Fault:
        """The answer in the agent's protocol."""
        reader = self.reader()
        try:
            pieces = tuple(reader.whole(answer))
            return self.writer(True).whole(pieces, reader.why, self.usage(answer))
        except ValueError as error:
            return shape.not_told(str(error))

    def listener(self, reading: Reading) -> Listener:
        """The provider's, with each event told in the agent's protocol."""
        return _Listener(self.provider.listener(reading), self.reader(), self.writer(reading.usage_wanted))

    def error(self, status: int, code: str, message: str, rule: str) -> bytes:
        """As in the agent's."""
        return self.agent.error(status, code, message, rule)

    def error_event(self, status: int, code: str, message: str, rule: str) -> bytes:
        """As in the agent's."""
        return self.agent.error_event(status, code, message, rule)


class _Listener:
    """One stream: the provider's listener judges, what it lets pass is told."""

    def __init__(self, listener: Listener, reader: Reader, writer: Writer) -> None:
        self._listener = listener
        self._reader = reader
        self._writer = writer

    @property
    def usage(self) -> Counted | None:
        """As the provider's listener has it."""
        return self._listener.usage

    def hear(self, event: dict[str, Any]) -> Heard:
        """One event, and what the agent is told instead."""
        heard = self._listener.hear(event)
        return heard if heard.fault is not None else self._told(heard, self._reader.event(event))

    def done(self) -> Heard:
        """The word [DONE]."""
        heard = self._listener.done()
        return heard if heard.fault is not None else self._told(heard, ())

    def over(self) -> bool:
        """Never: each of these protocols has closing words."""
        return False

    def _told(self, heard: Heard, pieces: Iterable[Piece]) -> Heard:
        try:
            told = b"".join(map(self._writer.event, pieces))
            if heard.last:
                told += self._writer.end(self._reader.why, self.usage)
        except ValueError as error:
            return replace(heard, fault=shape.not_told(str(error)))
        return replace(heard, told=told, hidden=False)


def _messages(_usage: bool) -> Writer:
    return AsMessages()


def _responses(_usage: bool) -> Writer:
    return AsResponses()


def _chat(usage: bool) -> Writer:
    return AsChat(usage_wanted=usage)


#: All there are, by the agent's protocol and the provider's; the same as in domain/wires.py.
TRANSLATIONS: dict[tuple[str, str], Translated] = {
    (one.name, one.asked_in): one
    for one in (
        Translated(MESSAGES, CHAT, messages_to_chat.request, FromChat, _messages),
        Translated(RESPONSES, CHAT, responses_to_chat.request, FromChat, _responses),
        Translated(CHAT, MESSAGES, chat_to_messages.request, FromMessages, _chat),
    )
}
