"""pi, by its JSON mode over Chat Completions."""

import json

from ringfence.adapters.agents.external.entry import HOME, KEY, Entry, Start, prompt
from ringfence.adapters.event_stream import Event, Tally, at, many, number, text
from ringfence.ports.agent import AgentTask

_HOME = f"{HOME}/.pi/agent"


def _start(task: AgentTask) -> Start:
    model = {"id": task.model, "name": task.model, "reasoning": False, "input": ["text"],
             "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
             "contextWindow": 128_000, "maxTokens": 8_192}  # fmt: skip
    provider = {"baseUrl": f"{task.door}/v1", "api": "openai-completions", "apiKey": "GATEWAY_KEY", "models": [model]}
    return Start(
        (
            "-p", "--mode", "json", "--provider", "gateway", "--model", task.model, "--no-session", "--offline",
            "--no-extensions", "--no-skills", "--no-prompt-templates", "--no-context-files", prompt(task),
        ),
        {"GATEWAY_KEY": KEY, "PI_OFFLINE": "1", "PI_TELEMETRY": "0", "PI_CODING_AGENT_DIR": _HOME},
        {f"{_HOME}/models.json": json.dumps({"providers": {"gateway": provider}}).encode()},
    )  # fmt: skip


def _parse(event: Event, tally: Tally) -> None:
    kind = text(event, "type")
    if kind == "message_end" and text(event, "message", "role") == "assistant":
        usage = at(event, "message", "usage")
        tally.turn(number(usage, "input"), number(usage, "output"))
        for part in many(event, "message", "content"):
            if text(part, "type") == "text":
                tally.say(text(part, "text"))
        if text(event, "message", "stopReason") == "error":
            tally.fault(text(event, "message", "errorMessage"))
    elif kind == "tool_execution_start":
        tally.tool(at(event, "args"))
    elif kind == "agent_end":
        last = text(event, "messages", -1, "stopReason")
        tally.end("crashed" if last in ("error", "aborted") else "finished")


PI = Entry(
    name="pi",
    title="pi",
    version="0.73.1",
    package="@mariozechner/pi-coding-agent",
    protocol="chat",
    source="npm",
    runtime="node",
    program="node_modules/@mariozechner/pi-coding-agent/dist/cli.js",
    start=_start,
    parse=_parse,
    hidden=(".pi", ".agents"),
)
