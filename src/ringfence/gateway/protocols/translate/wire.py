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
class Pair:
    """What the translation between two protocols is made of."""

    agent: WireProtocol
    provider: WireProtocol
    request: Callable[[dict[str, Any]], dict[str, Any]]
    reader: Callable[[], Reader]
    writer: Callable[[Reading], Writer]  # told what the agent asked


@dataclass(frozen=True, slots=True)
class Translated:
    """A pair of protocols as one, for one request; see shape.py. It goes by the name of the agent's."""

    pair: Pair
    asked: Reading  # as the agent's protocol judged it

    @property
    def name(self) -> Wire:
        """The agent's."""
        return self.pair.agent.name

    @property
    def asked_in(self) -> Wire:
        """The provider's."""
        return self.pair.provider.name

    def place(self, path: str, query: str) -> Place | None:
        """As in the agent's."""
        return self.pair.agent.place(path, query)

    def model(self, fields: dict[str, Any], place: Place) -> object:
        """As in the agent's."""
        return self.pair.agent.model(fields, place)

    def read(self, fields: dict[str, Any], place: Place) -> Reading | Refusal:
        """As in the agent's."""
        return self.pair.agent.read(fields, place)

    def carried(self) -> Reading | Refusal:
        """What the provider is asked: translated, and judged by its own protocol."""
        try:
            fields = self.pair.request(self.asked.fields)
        except ValueError as error:
            return not_translated(self.name, self.asked_in, str(error))
        return self.pair.provider.read(fields, Place(self.pair.provider))

    def handed_on(self, _headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """None: they belong to the agent's protocol."""
        return ()

    def judge(self, answer: dict[str, Any]) -> Fault | None:
        """As in the provider's."""
        return self.pair.provider.judge(answer)

    def usage(self, answer: dict[str, Any]) -> Counted | None:
        """As in the provider's."""
        return self.pair.provider.usage(answer)

    def told(self, answer: dict[str, Any]) -> dict[str, Any] | Fault:
        """The answer in the agent's protocol."""
        reader = self.pair.reader()
        try:
            pieces = tuple(reader.whole(answer))
            return self.pair.writer(self.asked).whole(pieces, reader.why, self.usage(answer))
        except ValueError as error:
            return shape.not_told(str(error))

    def listener(self, reading: Reading) -> Listener:
        """The provider's, with each event told in the agent's protocol."""
        return _Listener(self.pair.provider.listener(reading), self.pair.reader(), self.pair.writer(self.asked))

    def error(self, status: int, code: str, message: str, rule: str) -> bytes:
        """As in the agent's."""
        return self.pair.agent.error(status, code, message, rule)

    def error_event(self, status: int, code: str, message: str, rule: str) -> bytes:
        """As in the agent's."""
        return self.pair.agent.error_event(status, code, message, rule)


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


def _messages(_asked: Reading) -> Writer:
    return AsMessages()


def _responses(asked: Reading) -> Writer:
    return AsResponses(responses_to_chat.grouped(asked.fields))


def _chat(asked: Reading) -> Writer:
    return AsChat(usage_wanted=asked.usage_wanted)


#: All there are, by the agent's protocol and the provider's; the same as in domain/wires.py.
TRANSLATIONS: dict[tuple[str, str], Pair] = {
    (one.agent.name, one.provider.name): one
    for one in (
        Pair(MESSAGES, CHAT, messages_to_chat.request, FromChat, _messages),
        Pair(RESPONSES, CHAT, responses_to_chat.request, FromChat, _responses),
        Pair(CHAT, MESSAGES, chat_to_messages.request, FromMessages, _chat),
    )
}
