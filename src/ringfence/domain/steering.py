"""Which files of a change steer agents: their configuration, hooks, tool servers and instructions.

Pure, by name alone, for whichever agent comes next, on a worker or on somebody's desk. Agents on this worker are not
shown what they would obey (docs/agents.md); a reviewer's own are.
"""

from collections.abc import Iterable

from ringfence.domain.globs import protects

#: What the agents of the table would obey, and instruction files that people know.
PATTERNS = (
    ".codex", ".claude", ".mcp.json", "CLAUDE.md", "CLAUDE.local.md", ".opencode", "/opencode.json", "/opencode.jsonc",
    ".pi", ".agents", ".qwen", ".gemini", "GEMINI.md", ".copilot", ".github/mcp.json", ".github/hooks",
    ".github/copilot", ".github/extensions", ".github/copilot-instructions.md", ".github/instructions", ".aider*",
    ".openhands", "/.openhands_instructions", ".vibe", ".env", "AGENTS.md", "AGENTS.override.md", "QWEN.md", ".cursor",
    ".cursorrules", ".windsurfrules", ".clinerules", ".continue", ".vscode",
)  # fmt: skip


def what_steers_agents(paths: Iterable[str]) -> tuple[str, ...]:
    """The paths of a change that agents obey, in their order."""
    return tuple(path for path in paths if any(protects(pattern, path) for pattern in PATTERNS))
