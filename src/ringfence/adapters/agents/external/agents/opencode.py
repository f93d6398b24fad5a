"""opencode, by its JSON output over Chat Completions."""

import json

from ringfence.adapters.agents.external.acp import over_acp
from ringfence.adapters.agents.external.entry import KEY, Entry, Start, prompt
from ringfence.adapters.event_stream import Event, Tally, at, brief, number, text
from ringfence.ports.agent import AgentTask


def _configuration(task: AgentTask, permission: str = "allow") -> str:
    """The whole configuration: one provider, which is the door, and nothing that is fetched or shared."""
    model = {"name": task.model, "tool_call": True, "limit": {"context": 128_000, "output": 8_192}}
    options = {"baseURL": f"{task.door}/v1", "apiKey": "{env:GATEWAY_KEY}", "timeout": 120_000}
    provider = {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {task.model: model}}
    return json.dumps(
        {
            "provider": {"gateway": provider},
            "enabled_providers": ["gateway"],
            "model": f"gateway/{task.model}",
            "small_model": f"gateway/{task.model}",
            "autoupdate": False,
            "share": "disabled",
            "permission": {"*": permission},
        }
    )


_ENVIRONMENT = {
    "GATEWAY_KEY": KEY,
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    "OPENCODE_DISABLE_CLAUDE_CODE": "1",
}


def _start(task: AgentTask) -> Start:
    return Start(
        ("run", "--pure", "--format", "json", "-m", f"gateway/{task.model}", "--title", "run", prompt(task)),
        {**_ENVIRONMENT, "OPENCODE_CONFIG_CONTENT": _configuration(task)},
    )


def _start_acp(task: AgentTask) -> Start:
    return Start(("acp", "--pure"), {**_ENVIRONMENT, "OPENCODE_CONFIG_CONTENT": _configuration(task, "ask")})


def _parse(event: Event, tally: Tally) -> None:
    kind = text(event, "type")
    if kind == "step_finish":
        tokens = at(event, "part", "tokens")
        tally.turn(number(tokens, "input"), number(tokens, "output"))
        # A step that ends with tool calls has another one after it.
        if text(event, "part", "reason") != "tool-calls":
            tally.end("finished")
    elif kind == "step_start":
        tally.end("")
    elif kind == "tool_use":
        tally.tool(at(event, "part", "state", "input"))
    elif kind == "text":
        tally.say(text(event, "part", "text"))
    elif kind == "error":
        tally.fault(text(event, "error", "data", "message") or brief(at(event, "error")))
        tally.end("crashed")


OPENCODE = Entry(
    name="opencode",
    title="opencode",
    version="1.18.33",
    package="opencode-linux-x64",
    protocol="chat",
    source="npm",
    runtime="native",
    program="node_modules/opencode-linux-x64/bin/opencode",
    start=_start,
    parse=_parse,
    hidden=(".opencode", "/opencode.json", "/opencode.jsonc"),
)

OPENCODE_ACP = over_acp(OPENCODE, _start_acp)
