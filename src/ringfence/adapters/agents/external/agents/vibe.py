"""Mistral Vibe, by its streamed entries over Chat Completions."""

import json
from importlib.resources import files

from ringfence.adapters.agents.external.acp import over_acp
from ringfence.adapters.agents.external.entry import HOME, KEY, Entry, Start, prompt
from ringfence.adapters.event_stream import Event, Tally, at, many, text
from ringfence.ports.agent import AgentTask

_PROGRAM = "/ringfence/vibe.py"
_HOME = f"{HOME}/.vibe"
_ENVIRONMENT = {"GATEWAY_KEY": KEY, "VIBE_HOME": _HOME}
_CONFIGURATION = """active_model = "gateway"
enable_telemetry = false
enable_update_checks = false
enable_auto_update = false

[[providers]]
name = "gateway"
api_base = {base}
api_key_env_var = "GATEWAY_KEY"
api_style = "openai"
backend = "generic"

[[models]]
name = {model}
provider = "gateway"
alias = "gateway"
"""


def _start(task: AgentTask) -> Start:
    words = ("-p", prompt(task), "--output", "streaming", "--max-turns", str(task.turns), "--auto-approve")
    return Start(words, _ENVIRONMENT, _files(task))


def _start_acp(task: AgentTask) -> Start:
    return Start((), _ENVIRONMENT, _files(task))


def _files(task: AgentTask) -> dict[str, bytes]:
    # A text in JSON is one in TOML too.
    program = files("ringfence.adapters.agents.external.programs") / "vibe_program.py"
    configuration = _CONFIGURATION.format(base=json.dumps(f"{task.door}/v1"), model=json.dumps(task.model))
    return {f"{_HOME}/config.toml": configuration.encode(), _PROGRAM: program.read_bytes()}


def _parse(event: Event, tally: Tally) -> None:
    if text(event, "type") == "effect":
        # The stream has no event for an answer of the model: one that calls a tool counts by its call.
        tally.turn()
        tally.tool(at(event, "detail", "input"))
        tally.end("")
    elif text(event, "type") == "message" and text(event, "role") == "assistant":
        tally.turn()
        tally.say("".join(text(part, "text") for part in many(event, "content")))
        tally.end("finished")


VIBE = Entry(
    name="vibe",
    title="Mistral Vibe",
    version="3.0.2",
    package="mistral-vibe",
    protocol="chat",
    source="pip",
    runtime="python",
    program=_PROGRAM,
    start=_start,
    parse=_parse,
    hidden=(".vibe", ".agents", "/.env"),
    python=(3, 12),
)

VIBE_ACP = over_acp(VIBE, _start_acp, "vibe.acp.entrypoint:main")
