"""Claude Code, by its streamed JSON over the Messages protocol."""

from ringfence.adapters.agents.external.entry import HOME, KEY, Entry, Start, prompt
from ringfence.adapters.event_stream import Event, Tally, at, many, number, text
from ringfence.ports.agent import AgentTask

_MODELS = ("ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL",
           "ANTHROPIC_DEFAULT_SONNET_MODEL", "ANTHROPIC_DEFAULT_OPUS_MODEL")  # fmt: skip
_SWITCHES = {
    "CLAUDE_CONFIG_DIR": f"{HOME}/.claude",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "IS_SANDBOX": "1",
    "CLAUDE_CODE_MAX_RETRIES": "3",
    "API_TIMEOUT_MS": "120000",
}


def _start(task: AgentTask) -> Start:
    return Start(
        (
            "-p", prompt(task), "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions",
            "--max-turns", str(task.turns), "--model", task.model, "--no-session-persistence",
            "--setting-sources", "", "--strict-mcp-config",
        ),
        {**_SWITCHES, **dict.fromkeys(_MODELS, task.model), "ANTHROPIC_BASE_URL": task.door, "ANTHROPIC_API_KEY": KEY},
    )  # fmt: skip


def parse(event: Event, tally: Tally) -> None:
    """One event of the form that Claude Code and Qwen Code share."""
    kind = text(event, "type")
    if kind == "assistant":
        tally.turn()
        for part in many(event, "message", "content"):
            if text(part, "type") == "text":
                tally.say(text(part, "text"))
            elif text(part, "type") == "tool_use":
                tally.tool(at(part, "input"))
    elif kind == "result":
        usage = at(event, "usage")
        tally.turns = number(event, "num_turns") or tally.turns
        tally.used(number(usage, "input_tokens"), number(usage, "output_tokens"))
        failed = at(event, "is_error") is not False
        turns = "max_turns" in text(event, "subtype")
        tally.end("turns" if turns else "crashed" if failed else "finished", text(event, "result"))


CLAUDE = Entry(
    name="claude",
    title="Claude Code",
    version="2.1.330",
    package="@anthropic-ai/claude-code-linux-x64",
    protocol="messages",
    source="npm",
    runtime="native",
    program="node_modules/@anthropic-ai/claude-code-linux-x64/claude",
    start=_start,
    parse=parse,
    hidden=(".claude", ".mcp.json", "CLAUDE.md", "CLAUDE.local.md"),
)
