"""The OpenHands SDK over Chat Completions, by a program of ours inside the sandbox, for it has no command line."""

from importlib.resources import files

from ringfence.adapters.agents.external.entry import Entry, Start
from ringfence.adapters.event_stream import own_events
from ringfence.ports.agent import AgentTask

_PROGRAM = "/ringfence/openhands.py"


def _start(task: AgentTask) -> Start:
    program = files("ringfence.adapters.agents.external.programs") / "openhands_program.py"
    return Start(
        (task.model, task.door, str(task.turns)),
        {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "OPENHANDS_SUPPRESS_BANNER": "1"},
        {_PROGRAM: program.read_bytes()},
    )


OPENHANDS = Entry(
    name="openhands",
    title="OpenHands SDK",
    version="1.58.0",
    package="openhands-sdk",
    protocol="chat",
    source="pip",
    runtime="python",
    program=_PROGRAM,
    start=_start,
    parse=own_events,
    hidden=(".openhands", ".agents", "/.env", "/.openhands_instructions"),
    python=(3, 12),
)
