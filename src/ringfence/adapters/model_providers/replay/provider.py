"""The provider: chooses the turn that is due, and has it said in the protocol that was asked.

It keeps nothing between requests: which turn comes next is read from the conversation that the agent
sends, so the same request always gets the same answer. Every answer is labelled as a replay.
"""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ringfence.adapters.model_providers.replay.acts import Said, said
from ringfence.adapters.model_providers.replay.heard import Request, understood
from ringfence.adapters.model_providers.replay.render import Answer, Played, rendered
from ringfence.adapters.model_providers.replay.script import Conversation, Turn, read
from ringfence.ports.model_provider import ProviderAnswer, ProviderRequest

_BYTES_A_TOKEN = 3.5


class ReplayProvider:
    """One script."""

    kind = "replay"
    replayed = True
    derived: tuple[str, ...] = ()

    def __init__(self, script: bytes, *, where: str) -> None:
        self._conversations = read(script, where)
        turns = [turn for one in self._conversations for either in one.turns for turn in either]
        self._for_any_agent = any(turn.run or turn.edit or turn.done for turn in turns)

    @asynccontextmanager
    async def ask(self, request: ProviderRequest) -> AsyncIterator[ProviderAnswer]:
        """Answer a request by the script; see ports/model_provider.py."""
        yield self._answer(request)

    async def close(self) -> None:
        """Nothing is open."""

    def _answer(self, asked: ProviderRequest) -> Answer:
        request = understood(asked.wire, asked.model, asked.stream, asked.body)
        chosen = self._choose(request)
        if isinstance(chosen, _Problem):
            # A title, a summary: no recording has them, and their failure would end the agent.
            if request.tools or not self._for_any_agent:
                return _error(chosen)
            chosen = _Due(Said("Replay"), 0)
        written = len(chosen.said.say.encode()) + sum(len((name + text).encode()) for name, text in chosen.said.calls)
        calls = tuple((f"call_replay_{chosen.place + 1}_{n}", *call) for n, call in enumerate(chosen.said.calls, 1))
        played = Played(
            id="replay-" + hashlib.sha256(asked.body).hexdigest()[:16],
            model=asked.model if "replay" in asked.model else f"{asked.model} (replay)",
            say=chosen.said.say,
            calls=calls,
            input_tokens=_tokens(request.size),
            output_tokens=_tokens(written),
        )
        return rendered(asked.wire, played, stream=asked.stream, usage_wanted=request.usage_wanted)

    def _choose(self, request: Request) -> "_Due | _Problem":
        conversation = next((c for c in self._conversations if c.when.holds(request.asked, request.last)), None)
        if conversation is None:
            return _Problem("replay_no_conversation", "the recording has no conversation for this brief")
        turns = _playable(conversation, request)
        place = _place(turns, request)
        if place >= len(turns):
            return _Problem("replay_exhausted", f"the recording {conversation.name!r} ends after {len(turns)} turns")
        either = [(turn, how) for turn, how in turns[place] if turn.when.holds(request.asked, request.last)]
        if not either:
            what = f"turn {place + 1} of {conversation.name!r} expects something else to have been said"
            return _Problem("replay_left", what)
        how = either[0][1]
        if how is None:
            return _Problem("replay_no_shell", f"turn {place + 1} of {conversation.name!r} needs a shell tool")
        return _Due(how, place)


@dataclass(frozen=True, slots=True)
class _Due:
    """The turn that is due."""

    said: Said
    place: int


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why there is none."""

    code: str
    message: str


_Turns = list[list[tuple[Turn, Said | None]]]


def _playable(conversation: Conversation, request: Request) -> _Turns:
    """The turns in this agent's way; where no tool is offered, those that need one are left out."""
    turns = [[(turn, said(turn, request)) for turn in either] for either in conversation.turns]
    if request.tools:
        return turns
    return [either for either in turns if any(how is not None for _, how in either)]


def _place(turns: _Turns, request: Request) -> int:
    """How many turns are over: one for each group of tool results, and for each text that was due.

    Other words of the assistant are not ours: agents put examples into a conversation.
    """
    place, counted = 0, False
    for piece in request.pieces:
        if piece.voice == "result":
            place, counted = place + (not counted), True
        elif piece.voice == "assistant":
            counted = False
            due = turns[place] if place < len(turns) else []
            place += any(how is not None and not how.calls and _same(how.say, piece.text) for _, how in due)
    return place


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()) == " ".join(other.split())


def _error(problem: _Problem) -> Answer:
    said = {"message": problem.message, "type": "invalid_request_error", "param": None, "code": problem.code}
    return Answer(422, "application/json", (json.dumps({"error": said}).encode(),))


def _tokens(size: int) -> int:
    return -int(-size // _BYTES_A_TOKEN)
