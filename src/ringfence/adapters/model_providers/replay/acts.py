"""How a turn that was written for any agent is said with the tools that this one offers."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from ringfence.adapters.model_providers.replay.heard import MARK, Request
from ringfence.adapters.model_providers.replay.script import Edit, Turn

#: Shell tools by name, and the argument that holds the command. The first one that is offered is used.
_SHELLS = (
    ("exec_command", "cmd"), ("Bash", "command"), ("bash", "command"), ("shell", "command"),
    ("shell_command", "command"), ("run_shell_command", "command"), ("terminal", "command"),
    ("execute_bash", "command"), ("execute_command", "command"), ("run_terminal_command", "command"),
    ("run_in_terminal", "command"), ("run_command", "command"), ("execute", "command"), ("run_commands", "commands"),
)  # fmt: skip
#: Tools that end a conversation, and the arguments that may hold its last words.
_ENDS = ("finish", "complete", "attempt_completion")
_WORDS = ("summary", "message", "result")
#: What required arguments are filled with where the script has nothing to say.
_FILLED: dict[str, Any] = {"boolean": False, "integer": 60, "number": 60, "array": [], "object": {}}


@dataclass(frozen=True, slots=True)
class Said:
    """A turn for one agent: text, and tool calls by name and arguments (JSON text)."""

    say: str
    calls: tuple[tuple[str, str], ...] = ()


def said(turn: Turn, request: Request) -> Said | None:
    """The turn in this agent's way; None when it has no way for it."""
    if turn.calls:
        return Said(turn.say, turn.calls)
    if turn.run:
        return _by_shell(turn.say, turn.run, request)
    if turn.edit is not None:
        if not request.tools:
            return Said("\n\n".join(text for text in (turn.say, _block(turn.edit)) if text))
        return _by_shell(turn.say, (_command(turn.edit),), request)
    return _end(turn, request) if turn.done else Said(turn.say)


def _by_shell(say: str, commands: tuple[str, ...], request: Request) -> Said | None:
    tools = {name.rsplit("__", 1)[-1]: name for name in request.tools}
    for known, argument in _SHELLS:
        if known in tools:
            name = tools[known]
            schema = request.tools[name]
            calls = tuple((name, _arguments(schema, argument, _shaped(known, command, schema, argument)))
                          for command in commands)  # fmt: skip
            return Said(say, calls)
    return None


def _shaped(tool: str, command: str, schema: dict[str, Any], argument: str) -> object:
    """The command as the tool takes it: a text, a list of words, or a list of commands."""
    if _kind(_property(schema, argument)) != "array":
        return command
    return ["bash", "-lc", command] if tool == "shell" else [command]


def _end(turn: Turn, request: Request) -> Said:
    say = turn.say
    for name in _ENDS:
        if name in request.tools:
            schema = request.tools[name]
            argument = next((word for word in _WORDS if word in (schema.get("properties") or {})), "")
            return Said(say, ((name, _arguments(schema, argument, turn.done)),))
    if request.mark and request.tools:
        by_shell = _by_shell(say, (f"printf '%s\\n' {MARK} {shlex.quote(turn.done)}",), request)
        if by_shell is not None:
            return by_shell
    return Said("\n\n".join(text for text in (say, turn.done) if text))


def _arguments(schema: dict[str, Any], argument: str, value: object) -> str:
    """Arguments as JSON text, the required ones among them filled in."""
    filled = {name: _filler(name, _property(schema, name)) for name in schema.get("required") or () if name != argument}
    return json.dumps({**({argument: value} if argument else {}), **filled}, ensure_ascii=False)


def _filler(name: str, schema: dict[str, Any]) -> object:
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return "LOW" if "LOW" in choices else choices[0]
    return _FILLED.get(_kind(schema), "LOW" if name == "security_risk" else "replay")


def _property(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found = (schema.get("properties") or {}).get(name)
    return found if isinstance(found, dict) else {}


def _kind(schema: dict[str, Any]) -> str:
    """The first type that a schema allows and that is not null."""
    kinds = schema.get("type")
    if kinds is None:
        kinds = [one.get("type") for one in schema.get("anyOf") or () if isinstance(one, dict)]
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return next((str(kind).lower() for kind in kinds if str(kind).lower() != "null"), "")


def _block(edit: Edit) -> str:
    """The edit as agents without tools write it."""
    old, new = (text if not text or text.endswith("\n") else text + "\n" for text in (edit.search, edit.replace))
    return f"{edit.path}\n```\n<<<<<<< SEARCH\n{old}=======\n{new}>>>>>>> REPLACE\n```"


def _command(edit: Edit) -> str:
    """The edit in POSIX sh alone: the first place where the text stands is replaced.

    Without command substitution and subshells, which some agents do not let pass.
    """
    path, old, new = map(shlex.quote, (edit.path, edit.search, edit.replace))
    if not edit.search:
        return f"printf '%s' {new} > {path}"
    return (
        f'f=; while IFS= read -r l; do f="$f$l\n"; done < {path}; f="$f$l"; s={old}; r={new}\n'
        f'case $f in *"$s"*) printf \'%s\' "${{f%%"$s"*}}$r${{f#*"$s"}}" > {path} ;;\n'
        "*) echo 'replay: the text to replace is not there' >&2; false ;; esac"
    )
