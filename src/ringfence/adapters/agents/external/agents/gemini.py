"""Gemini CLI, by its streamed JSON over the Gemini protocol."""

import json

from ringfence.adapters.agents.external.acp import over_acp
from ringfence.adapters.agents.external.entry import HOME, KEY, Entry, Start, prompt
from ringfence.adapters.event_stream import Event, Tally, at, brief, number, text
from ringfence.ports.agent import AgentTask

_SETTINGS = {
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False, "disableAutoUpdate": True},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "context": {"fileName": ["no-file-of-a-repository"]},
    "security": {"auth": {"selectedType": "gemini-api-key"}},
}
_FILES = {f"{HOME}/.gemini/settings.json": json.dumps(_SETTINGS).encode()}


def _start(task: AgentTask) -> Start:
    return Start(
        ("-p", prompt(task), "-y", "-o", "stream-json", "--skip-trust", "-m", task.model),
        _environment(task),
        _FILES,
    )


def _start_acp(task: AgentTask) -> Start:
    return Start(("--acp", "--skip-trust", "-m", task.model), _environment(task), _FILES)


def _environment(task: AgentTask) -> dict[str, str]:
    return {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": task.door}


def _parse(event: Event, tally: Tally) -> None:
    kind = text(event, "type")
    if kind == "tool_use":
        # The stream has no event for an answer of the model: one that calls a tool counts by its call.
        tally.turn()
        tally.tool(at(event, "parameters"))
    elif kind == "message" and text(event, "role") == "assistant":
        tally.say(text(event, "content"))
    elif kind == "error":
        tally.fault(text(event, "message") or brief(at(event, "error")))
    elif kind == "result":
        stats = at(event, "stats")
        tally.turn(number(stats, "input_tokens"), number(stats, "output_tokens"))
        tally.end("finished" if text(event, "status") == "success" else "crashed", text(event, "error", "message"))


GEMINI = Entry(
    name="gemini",
    title="Gemini CLI",
    version="0.61.0",
    package="@google/gemini-cli",
    protocol="gemini",
    source="npm",
    runtime="node",
    program="node_modules/@google/gemini-cli/bundle/gemini.js",
    start=_start,
    parse=_parse,
    hidden=(".gemini", ".mcp.json", "/.env", "GEMINI.md"),
)

GEMINI_ACP = over_acp(GEMINI, _start_acp)
