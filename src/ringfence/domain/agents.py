"""The boundary's say on agents: which may work, and what they are granted when they ask before a tool call."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from ringfence.domain.section import Section, as_tuple

#: The kinds of tool calls of the Agent Client Protocol.
ToolKind = Literal["read", "edit", "delete", "move", "search", "execute", "think", "fetch", "switch_mode", "other"]


class AgentUse(Section):
    """One agent that may work."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="As `ringfence agents list` shows it; no patterns.")
    permissions: Annotated[tuple[ToolKind, ...], BeforeValidator(as_tuple)] = Field(
        default=("read", "edit", "delete", "move", "search", "execute", "think"),
        description="For agents over ACP: kinds of tool calls that are granted when it asks; all others are refused.",
    )


#: Where the document names none, nobody else works than the agent that comes along.
BUILTIN = (AgentUse(name="builtin"),)
