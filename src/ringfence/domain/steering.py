"""What steers agents: their configuration, hooks, tool servers and instructions; and what is recorded of it.

Known by name alone, for whichever agent comes next, on a worker or on somebody's desk. Agents on this worker are not
shown what they would obey (docs/agents.md); a reviewer's own are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ringfence.domain.globs import protects

#: What the agents of the table would obey, and instruction files that people know.
PATTERNS = (
    ".codex", ".claude", ".mcp.json", "CLAUDE.md", "CLAUDE.local.md", ".opencode", "/opencode.json", "/opencode.jsonc",
    ".pi", ".agents", ".qwen", ".gemini", "GEMINI.md", ".copilot", ".github/mcp.json", ".github/hooks",
    ".github/copilot", ".github/extensions", ".github/copilot-instructions.md", ".github/instructions", ".aider*",
    ".openhands", "/.openhands_instructions", ".vibe", ".env", "AGENTS.md", "AGENTS.override.md", "QWEN.md", ".cursor",
    ".cursorrules", ".windsurfrules", ".clinerules", ".continue", ".vscode",
)  # fmt: skip


def what_steers_agents(paths: Iterable[str], more: Iterable[str] = ()) -> tuple[str, ...]:
    """The paths of a change that agents obey, in their order. `more` are further patterns."""
    patterns = (*PATTERNS, *more)
    return tuple(path for path in paths if any(protects(pattern, path) for pattern in patterns))


@dataclass(frozen=True, slots=True)
class ConfigurationHidden:
    """What was taken out of the agent's tree right before it started, because the agent would obey it."""

    kind: ClassVar[str] = "configuration.hidden"
    attempt: int
    agent: str
    commit: str  # of which the tree was made
    files: tuple[str, ...]  # the first of those that the commit has, as "<git object> <path>"
    count: int  # of all that the commit has
    made: tuple[str, ...]  # the first of those that set-up had made, which are of no commit
    made_count: int


@dataclass(frozen=True, slots=True)
class ConfigurationRechecked:
    """How what steers agents came out of an attempt: as it was, or as a part of the patch that a person reviews."""

    kind: ClassVar[str] = "configuration.rechecked"
    attempt: int
    tree: str  # of the patch
    compared: int  # of the hidden files, object by object
    unchanged: int  # of these
    changed: tuple[str, ...]  # the first paths of the patch that steer agents, hidden before or not
    changed_count: int
