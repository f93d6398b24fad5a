"""Mistral Vibe, by its streamed entries over Chat Completions."""

import json

from ringfence.adapters.agents.external.acp import over_acp
from ringfence.adapters.agents.external.entry import HOME, KEY, Entry, Start, prompt
from ringfence.adapters.event_stream import Event, Tally, at, many, text
from ringfence.ports.agent import AgentTask

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
    configuration = _CONFIGURATION.format(base=json.dumps(f"{task.door}/v1"), model=json.dumps(task.model))
    return {f"{_HOME}/config.toml": configuration.encode()}


def _parse(event: Event, tally: Tally) -> None:
    if text(event, "role") == "assistant":
        tally.turn()
        tally.say(text(event, "content"))
        for call in many(event, "tool_calls"):
            tally.tool(at(call, "function", "arguments"))
        tally.end("" if many(event, "tool_calls") else "finished")


VIBE = Entry(
    name="vibe",
    title="Mistral Vibe",
    version="3.0.2",
    package="mistral-vibe",
    protocol="chat",
    source="pip",
    runtime="python",
    program="vibe.cli.launcher:main",
    start=_start,
    parse=_parse,
    hidden=(".vibe", ".agents", "/.env"),
    python=(3, 12),
)

VIBE_ACP = over_acp(VIBE, _start_acp, "vibe.acp.entrypoint:main")
