"""aider, by its command line over Chat Completions. It offers the model no tools: changes are blocks of text.

It prints text for people and no events, so little is read out of it: how often the model answered, and
which files it says that it edited.
"""

from ringfence.adapters.agents.external.entry import BRIEF, HOME, KEY, Entry, Start
from ringfence.adapters.event_stream import Event, Tally, number, text
from ringfence.ports.agent import AgentTask

_FILES = {"OPENAI_API_BASE": "{door}/v1", "OPENAI_BASE_URL": "{door}/v1", "OPENAI_API_KEY": KEY}
#: Its text becomes events: what it says of tokens and edits, and at the very end that it ended.
_AROUND = (
    '"$@" > /tmp/aider.txt 2>&1; code=$?; cat /tmp/aider.txt; echo; '
    'turns=$(grep -c "^Tokens: " /tmp/aider.txt); edits=$(grep -c "^Applied edit to " /tmp/aider.txt); '
    'printf \'{"event": "end", "turns": %d, "edits": %d, "code": %d}\\n\' "$turns" "$edits" "$code"'
)


def _start(task: AgentTask) -> Start:
    environment = "".join(f"{name}={value.format(door=task.door)}\n" for name, value in _FILES.items())
    return Start(
        (
            "--yes-always", "--message-file", BRIEF, "--model", f"openai/{task.model}",
            "--openai-api-base", f"{task.door}/v1", "--no-check-update", "--no-show-model-warnings",
            "--analytics-disable", "--no-auto-commits", "--no-dirty-commits", "--no-gitignore", "--no-pretty",
            "--no-stream", "--no-show-release-notes", "--no-detect-urls", "--no-suggest-shell-commands",
            "--edit-format", "diff", "--map-tokens", "0", "--timeout", "120",
            "--input-history-file", "/dev/null", "--chat-history-file", "/dev/null",
            "--config", f"{HOME}/aider.yml", "--env-file", f"{HOME}/aider.env",
        ),
        {"OPENAI_API_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        {f"{HOME}/aider.env": environment.encode(), f"{HOME}/aider.yml": b"{}\n"},
        ("/bin/sh", "-c", _AROUND, "sh"),
    )  # fmt: skip


def _parse(event: Event, tally: Tally) -> None:
    if text(event, "event") == "end":
        tally.turns, tally.tools = number(event, "turns"), number(event, "edits")
        # Its exit code is 0 also when no answer came; a run without an answer is none.
        tally.end("finished" if tally.turns else "crashed", f"{tally.tools} edits applied")


AIDER = Entry(
    name="aider",
    title="aider",
    version="0.86.2",
    package="aider-chat",
    protocol="chat",
    source="pip",
    runtime="python",
    program="aider",
    start=_start,
    parse=_parse,
    hidden=(".aider*", "/.env"),
)
