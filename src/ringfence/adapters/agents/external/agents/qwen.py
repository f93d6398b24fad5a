"""Qwen Code, by its streamed JSON over Chat Completions."""

import json

from ringfence.adapters.agents.external.acp import over_acp
from ringfence.adapters.agents.external.agents.claude import parse
from ringfence.adapters.agents.external.entry import HOME, KEY, Entry, Start, prompt
from ringfence.ports.agent import AgentTask

_SETTINGS = {
    "general": {"disableAutoUpdate": True, "disableUpdateNag": True},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "context": {"fileName": ["no-file-of-a-repository"]},
    "security": {"auth": {"selectedType": "openai"}},
}
_FILES = {f"{HOME}/.qwen/settings.json": json.dumps(_SETTINGS).encode()}


def _start(task: AgentTask) -> Start:
    return Start(
        (
            "--auth-type", "openai", "-y", "-o", "stream-json", "--max-session-turns", str(task.turns),
            "--chat-recording=false", "--allowed-mcp-server-names", "none", "-m", task.model, prompt(task),
        ),
        _environment(task),
        _FILES,
    )  # fmt: skip


def _start_acp(task: AgentTask) -> Start:
    words = ("--acp", "--auth-type", "openai", "--chat-recording=false", "--allowed-mcp-server-names", "none")
    return Start((*words, "-m", task.model), _environment(task), _FILES)


def _environment(task: AgentTask) -> dict[str, str]:
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{task.door}/v1", "OPENAI_MODEL": task.model}


QWEN = Entry(
    name="qwen",
    title="Qwen Code",
    version="0.24.4",
    package="@qwen-code/qwen-code",
    protocol="chat",
    source="npm",
    runtime="node",
    program="node_modules/@qwen-code/qwen-code/cli.js",
    start=_start,
    parse=parse,
    hidden=(".qwen", ".mcp.json", "/.env"),
)

QWEN_ACP = over_acp(QWEN, _start_acp)
