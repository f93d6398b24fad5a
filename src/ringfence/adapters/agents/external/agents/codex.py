"""Codex CLI, by `codex exec --json` over the Responses protocol."""

from ringfence.adapters.agents.external.entry import HOME, KEY, Entry, Start, prompt
from ringfence.adapters.event_stream import Event, Tally, at, number, text
from ringfence.ports.agent import AgentTask

_HOME = f"{HOME}/.codex"


def _start(task: AgentTask) -> Start:
    provider = (
        f'{{name="gateway",base_url="{task.door}/v1",env_key="GATEWAY_KEY",wire_api="responses",'
        "request_max_retries=2,stream_max_retries=2,stream_idle_timeout_ms=120000}"
    )
    settings = (
        'model_provider="gateway"',
        f"model_providers.gateway={provider}",
        "analytics.enabled=false",
        "check_for_update_on_startup=false",
        'web_search="disabled"',
        "project_doc_max_bytes=0",
        "shell_environment_policy.ignore_default_excludes=false",
    )
    return Start(
        (
            "exec", "--json", "--ephemeral", "--skip-git-repo-check", "--ignore-user-config", "--ignore-rules",
            "--dangerously-bypass-approvals-and-sandbox", "-m", task.model,
            *(word for setting in settings for word in ("-c", setting)),
            "--disable", "plugins", "--disable", "apps", "--disable", "unbounded_connection_retries", prompt(task),
        ),
        {"GATEWAY_KEY": KEY, "CODEX_HOME": _HOME},
        # The directory must exist; what is in it does not matter, because no configuration of a user is read.
        {f"{_HOME}/.keep": b""},
    )  # fmt: skip


def _parse(event: Event, tally: Tally) -> None:
    kind, item = text(event, "type"), at(event, "item")
    if kind == "item.started" and text(item, "type") in ("command_execution", "mcp_tool_call", "file_change"):
        # The stream has no event for an answer of the model: one that calls a tool counts by its call.
        tally.turn()
        tally.tool(at(item, "command") or at(item, "changes") or at(item, "tool"))
    elif kind == "item.completed" and text(item, "type") == "agent_message":
        tally.turn()
        tally.say(text(item, "text"))
    elif kind == "turn.completed":
        tally.used(number(event, "usage", "input_tokens"), number(event, "usage", "output_tokens"))
        tally.end("finished")
    elif kind in ("turn.failed", "error"):
        tally.fault(text(event, "error", "message") or text(event, "message"))
        if kind == "turn.failed":
            tally.end("crashed")


CODEX = Entry(
    name="codex",
    title="Codex CLI",
    version="0.169.0",
    package="@openai/codex",
    protocol="responses",
    source="npm",
    runtime="native",
    program="node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
    start=_start,
    parse=_parse,
    hidden=(".codex",),
)
