"""A script as values: conversations, their turns, and when each is played. Every mistake names its place."""

import json
from dataclasses import dataclass
from typing import Any

from ringfence.domain.errors import InputError


@dataclass(frozen=True, slots=True)
class When:
    """What a conversation must have said."""

    anywhere: tuple[str, ...] = ()  # in messages of the user
    last: tuple[str, ...] = ()  # in the last message that is no instruction, whoever it is from

    def holds(self, asked: str, last: str) -> bool:
        """Whether it has."""
        return all(text in asked for text in self.anywhere) and all(text in last for text in self.last)


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one file, in words that every agent has a way for."""

    path: str
    search: str
    replace: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the assistant; what it does beside what it says is one of four."""

    say: str
    when: When
    calls: tuple[tuple[str, str], ...] = ()  # name and arguments (JSON text) of tool calls, played as written
    run: tuple[str, ...] = ()  # shell commands
    edit: Edit | None = None
    done: str = ""  # the end, with these words

    @property
    def bound(self) -> bool:
        """Whether it was recorded for one agent's tools, rather than for any agent's."""
        return bool(self.calls)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order; each with its alternatives."""

    name: str
    when: When
    turns: tuple[tuple[Turn, ...], ...]


def read(script: bytes, where: str) -> tuple[Conversation, ...]:
    """The conversations of a script. Errors: `InputError` with the place of the mistake."""
    try:
        document = json.loads(script)
    except ValueError as error:
        raise InputError(f"the replay script cannot be read: {error}", where=where) from None
    top = _mapping(document, "the script", where, {"version", "about", "conversations"})
    if top.get("version") != 1:
        raise InputError("the replay script must say `version: 1`", where=where)
    entries = _list(top.get("conversations"), "conversations", where)
    return tuple(_conversation(entry, f"conversations[{n}]", where) for n, entry in enumerate(entries))


def _conversation(entry: object, at: str, where: str) -> Conversation:
    fields = _mapping(entry, at, where, {"name", "when", "turns"})
    turns = []
    for n, alternatives in enumerate(_list(fields.get("turns"), f"{at}.turns", where)):
        place = f"{at}.turns[{n}]"
        either = alternatives if isinstance(alternatives, list) else [alternatives]
        turns.append(tuple(_turn(turn, place, where) for turn in either))
    return Conversation(str(fields.get("name", at)), _when(fields.get("when"), at, where), tuple(turns))


_ACTS = ("calls", "run", "text_edit", "done")


def _turn(entry: object, at: str, where: str) -> Turn:
    fields = _mapping(entry, at, where, {"say", "when", *_ACTS})
    acts = [name for name in _ACTS if fields.get(name)]
    if len(acts) > 1:
        raise InputError(f"{at} can have only one of {', '.join(acts)}", where=where)
    say, done = fields.get("say", ""), fields.get("done", "")
    if not isinstance(say, str) or not isinstance(done, str):
        raise InputError(f"{at}: `say` and `done` must be text", where=where)
    if not say and not acts:
        raise InputError(f"{at} must say something, run or edit something, call a tool or be done", where=where)
    run = fields.get("run") or ()
    run = (run,) if isinstance(run, str) else tuple(run)
    if not all(isinstance(command, str) for command in run):
        raise InputError(f"{at}.run must hold texts", where=where)
    return Turn(
        say=say,
        when=_when(fields.get("when"), at, where),
        calls=tuple(_call(call, at, where) for call in fields.get("calls") or ()),
        run=run,
        edit=_edit(fields.get("text_edit"), at, where),
        done=done,
    )


def _edit(entry: object, at: str, where: str) -> Edit | None:
    if not entry:
        return None
    fields = _mapping(entry, f"{at}.text_edit", where, {"path", "search", "replace"})
    texts = [fields.get(name) for name in ("path", "search", "replace")]
    if not all(isinstance(text, str) for text in texts) or not texts[0]:
        raise InputError(f"{at}.text_edit needs `path`, `search` and `replace` as texts", where=where)
    return Edit(*map(str, texts))


def _call(entry: object, at: str, where: str) -> tuple[str, str]:
    fields = _mapping(entry, f"{at}.calls", where, {"name", "arguments"})
    name, arguments = fields.get("name"), fields.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, (dict, str)):
        raise InputError(f"{at}: a call needs a name, and arguments as a mapping or as raw text", where=where)
    return name, arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _when(entry: object, at: str, where: str) -> When:
    if entry is None:
        return When()
    fields = _mapping(entry, f"{at}.when", where, {"user", "last"})
    texts = {key: (value,) if isinstance(value, str) else tuple(value or ()) for key, value in fields.items()}
    if not all(isinstance(text, str) for value in texts.values() for text in value):
        raise InputError(f"{at}.when must hold texts", where=where)
    return When(texts.get("user", ()), texts.get("last", ()))


def _mapping(value: object, at: str, where: str, keys: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{at} must be a mapping", where=where)
    unknown = sorted(set(value) - keys)
    if unknown:
        raise InputError(f"{at} has the unknown key {unknown[0]!r}", where=where, mend=f"known are {sorted(keys)}")
    return value


def _list(value: object, at: str, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{at} must be a list with at least one entry", where=where)
    return value
