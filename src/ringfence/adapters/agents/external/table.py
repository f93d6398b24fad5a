"""The table of agents that Ringfence knows how to install, start and read."""

from ringfence.adapters.agents.external.agents.aider import AIDER
from ringfence.adapters.agents.external.agents.claude import CLAUDE
from ringfence.adapters.agents.external.agents.codex import CODEX
from ringfence.adapters.agents.external.agents.copilot import COPILOT
from ringfence.adapters.agents.external.agents.gemini import GEMINI
from ringfence.adapters.agents.external.agents.mini import MINI
from ringfence.adapters.agents.external.agents.opencode import OPENCODE
from ringfence.adapters.agents.external.agents.pi import PI
from ringfence.adapters.agents.external.agents.qwen import QWEN
from ringfence.adapters.agents.external.agents.vibe import VIBE
from ringfence.adapters.agents.external.entry import Entry

TABLE: dict[str, Entry] = {
    entry.name: entry for entry in (CODEX, CLAUDE, OPENCODE, PI, QWEN, GEMINI, COPILOT, MINI, AIDER, VIBE)
}
