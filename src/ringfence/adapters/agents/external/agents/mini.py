"""mini-swe-agent, by its command line over Chat Completions; its trajectory is printed when it has ended."""

from ringfence.adapters.agents.external.entry import HOME, KEY, Entry, Start, prompt
from ringfence.adapters.event_stream import Event, Tally, at, many, number, text
from ringfence.ports.agent import AgentTask

_TRAJECTORY = f"{HOME}/trajectory.json"
#: The trajectory is written with line breaks; as one line it is an event like any other.
_AROUND = f'"$@"; if [ -s {_TRAJECTORY} ]; then echo; tr -d "\\n" < {_TRAJECTORY}; echo; fi'
_OUTCOMES = {"Submitted": "finished", "LimitsExceeded": "turns"}


def _start(task: AgentTask) -> Start:
    return Start(
        (
            "-m", f"openai/{task.model}", "-t", prompt(task), "-y", "--exit-immediately", "-o", _TRAJECTORY,
            "-c", "mini.yaml", "-c", "model.cost_tracking=ignore_errors", "-c", f"agent.step_limit={task.turns}",
        ),
        {
            "MSWEA_CONFIGURED": "true",
            "MSWEA_SILENT_STARTUP": "1",
            "MSWEA_GLOBAL_CONFIG_DIR": f"{HOME}/.mswea",
            "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "3",
            "OPENAI_API_KEY": KEY,
            "OPENAI_API_BASE": f"{task.door}/v1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
        around=("/bin/sh", "-c", _AROUND, "sh"),
    )  # fmt: skip


def _parse(event: Event, tally: Tally) -> None:
    if at(event, "info", "exit_status") is None:
        return
    for message in many(event, "messages"):
        if text(message, "role") == "assistant":
            usage = at(message, "extra", "response", "usage")
            tally.turn(number(usage, "prompt_tokens"), number(usage, "completion_tokens"))
            tally.say(text(message, "content"))
            for action in many(message, "extra", "actions"):
                tally.tool(at(action, "command"))
    status = text(event, "info", "exit_status")
    tally.end(_OUTCOMES.get(status, "crashed"), text(event, "info", "submission") or status)


MINI = Entry(
    name="mini",
    title="mini-swe-agent",
    version="2.4.6",
    package="mini-swe-agent",
    protocol="chat",
    source="pip",
    runtime="python",
    program="minisweagent.run.mini",
    start=_start,
    parse=_parse,
)
