"""Puts the agent together that the settings name; the part of the wiring that knows which agents there are."""

from ringfence.adapters.agents.builtin import BuiltinAgent
from ringfence.adapters.agents.external.agent import ExternalAgent
from ringfence.adapters.agents.external.install import Shelf
from ringfence.adapters.agents.external.own import OwnAgent
from ringfence.adapters.agents.external.table import TABLE
from ringfence.domain.errors import InputError
from ringfence.ports.agent import Agent
from ringfence.settings import Settings


def shelf(settings: Settings) -> Shelf:
    """Where agents are installed."""
    directory = settings.agent.directory or settings.state.parent / "agents"
    return Shelf(directory, settings.agent.python)


def agent(settings: Settings) -> Agent:
    """The agent that the settings name. Errors: `InputError` for one that nobody knows, `ControlMissing` else."""
    name = settings.agent.name
    if name == BuiltinAgent.name:
        return BuiltinAgent(small=settings.agent.mode == "small")
    if name in ("command", "acp") and settings.agent.command:
        return OwnAgent(name, settings.agent.command)
    if name not in TABLE:
        known = ", ".join((BuiltinAgent.name, *TABLE, "command and acp (with agent.command)"))
        raise InputError(f"there is no agent {name!r}", where="settings, agent.name", mend=f"known are {known}")
    return ExternalAgent(TABLE[name], shelf(settings).place(TABLE[name]))
