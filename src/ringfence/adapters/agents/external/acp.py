"""Agents by the Agent Client Protocol: our client inside the sandbox, and the agent's program behind it."""

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files

from ringfence.adapters.agents.external.entry import BRIEF, Entry, Start
from ringfence.adapters.event_stream import own_events
from ringfence.ports.agent import AgentTask

_PROGRAM = "/ringfence/acp.py"


def around(task: AgentTask) -> tuple[str, ...]:
    """The client's own command line; the agent's follows it."""
    return (
        "/usr/bin/python3", "-I", "-S", _PROGRAM, f"--brief={BRIEF}", f"--turns={task.turns}",
        f"--seconds={task.seconds}", f"--permissions={','.join(task.permissions)}", "--",
    )  # fmt: skip


def program() -> dict[str, bytes]:
    """The client's one file."""
    return {_PROGRAM: (files("ringfence.adapters.agents.external.programs") / "acp_program.py").read_bytes()}


def over_acp(
    entry: Entry, start: Callable[[AgentTask], Start], module: str = "", hidden: tuple[str, ...] = ()
) -> Entry:
    """The same agent, started to speak the protocol: it asks before it calls a tool, and the boundary answers."""

    def started(task: AgentTask) -> Start:
        made = start(task)
        return replace(made, files={**made.files, **program()}, around=around(task))

    return replace(
        entry,
        name=f"{entry.name}-acp",
        title=f"{entry.title} over ACP",
        tree=entry.name,
        program=module or entry.program,
        start=started,
        parse=own_events,
        hidden=(*entry.hidden, *hidden),
    )
