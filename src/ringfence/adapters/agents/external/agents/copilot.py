"""Copilot CLI, offline and with the door as its own provider, over Chat Completions."""

from ringfence.adapters.agents.external.acp import over_acp
from ringfence.adapters.agents.external.entry import HOME, KEY, Entry, Start, prompt
from ringfence.adapters.event_stream import Event, Tally, at, number, text
from ringfence.ports.agent import AgentTask


def _environment(task: AgentTask) -> dict[str, str]:
    """No login, no update, one provider."""
    return {
        "COPILOT_OFFLINE": "true",
        "COPILOT_PROVIDER_BASE_URL": f"{task.door}/v1",
        "COPILOT_PROVIDER_API_KEY": KEY,
        "COPILOT_PROVIDER_WIRE_API": "completions",
        "COPILOT_MODEL": task.model,
        "COPILOT_AUTO_UPDATE": "false",
        "COPILOT_HOME": f"{HOME}/.copilot",
    }


def _start(task: AgentTask) -> Start:
    return Start(
        (
            "-p", prompt(task), "--allow-all-tools", "--output-format", "json", "--no-auto-update",
            "--disable-builtin-mcps", "--no-custom-instructions", "--no-color",
        ),
        _environment(task),
    )  # fmt: skip


def _start_acp(task: AgentTask) -> Start:
    return Start(
        ("--acp", "--no-auto-update", "--disable-builtin-mcps", "--no-custom-instructions"), _environment(task)
    )


def _parse(event: Event, tally: Tally) -> None:
    kind = text(event, "type")
    if kind == "assistant.message":
        tally.turn(output_tokens=number(event, "data", "outputTokens"))
        tally.say(text(event, "data", "content"))
    elif kind == "tool.execution_start":
        tally.tool(at(event, "data", "arguments"))
    elif kind in ("session.error", "error"):
        tally.fault(text(event, "data", "message"))
    elif kind == "result":
        tally.end("finished" if at(event, "exitCode") == 0 else "crashed")


COPILOT = Entry(
    name="copilot",
    title="Copilot CLI",
    version="1.0.102",
    package="@github/copilot-linux-x64",
    protocol="chat",
    source="npm",
    runtime="native",
    program="node_modules/@github/copilot-linux-x64/copilot",
    start=_start,
    parse=_parse,
    hidden=(".copilot", ".mcp.json", ".github/mcp.json", ".github/hooks", ".github/copilot", ".github/extensions"),
)

COPILOT_ACP = over_acp(
    COPILOT,
    _start_acp,
    # In this mode it reads instructions of the repository whatever it is told.
    hidden=("AGENTS.md", "CLAUDE.md", "GEMINI.md", ".github/copilot-instructions.md", ".github/instructions"),
)
