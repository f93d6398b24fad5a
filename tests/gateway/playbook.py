"""Drives one exchange of the gateway by hand, without I/O."""

import json
from typing import Any

from agent_side import KEY, POLICY

from ringfence.gateway import conversation as c
from ringfence.gateway.answer import Scrubber
from ringfence.gateway.call import Call
from ringfence.gateway.door import Door
from ringfence.gateway.exchange import Exchange
from ringfence.gateway.ledger import Ledger
from ringfence.gateway.request import Head

CHAT = b"/v1/chat/completions"
JSON = (b"content-type", b"application/json")
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


class Playbook:
    """Drives one exchange by hand and keeps what it recorded. Time moves only when told."""

    def __init__(self, *, requests: int = 9, input_tokens: int = 10_000, output_tokens: int = 5000) -> None:
        self.told: list[str] = []
        self.recorded: list[Call] = []
        self.now = 100.0
        ledger = Ledger(requests, input_tokens, output_tokens)
        self.door = Door(POLICY, "openai", False, Scrubber(KEY), ledger, self.told.append)

    def begin(self, head: Head = Head(b"POST", CHAT, b"1.1", (JSON,))) -> c.Command:  # noqa: B008 - frozen
        self.steps = Exchange(self.door, lambda: self.now).run(head)
        return next(self.steps)

    def say(self, reply: c.Reply) -> c.Command | None:
        """`>>` a reply; gives back the `<<` command. Records are acknowledged on the way."""
        try:
            return self._recording(self.steps.send(reply))
        except StopIteration:
            return None

    def _recording(self, command: c.Command, ok: bool = True) -> c.Command:
        while isinstance(command, c.Record):
            self.recorded.append(command.call)
            command = self.steps.send(c.Acknowledged(ok))
        return command

    def ask(self, **fields: Any) -> c.Command | None:
        assert self.begin() == c.ReadBody(8 << 20)
        return self.say(c.BodyCame(json.dumps({**ASKED, **fields}).encode()))

    def streaming(self) -> c.Command | None:
        assert isinstance(self.ask(stream=True), c.Ask)
        return self.say(c.Answered(200, "text/event-stream", 0.0))


def code(command: c.Command | None) -> tuple[int, str]:
    assert isinstance(command, c.Respond), command
    return command.status, json.loads(command.body)["error"]["code"]
