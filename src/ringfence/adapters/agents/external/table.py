"""The table of agents that Ringfence knows how to install, start and read."""

from ringfence.adapters.agents.external.agents.aider import AIDER
from ringfence.adapters.agents.external.agents.claude import CLAUDE
from ringfence.adapters.agents.external.agents.codex import CODEX
from ringfence.adapters.agents.external.agents.copilot import COPILOT, COPILOT_ACP
from ringfence.adapters.agents.external.agents.gemini import GEMINI, GEMINI_ACP
from ringfence.adapters.agents.external.agents.mini import MINI
from ringfence.adapters.agents.external.agents.opencode import OPENCODE, OPENCODE_ACP
from ringfence.adapters.agents.external.agents.openhands import OPENHANDS
from ringfence.adapters.agents.external.agents.pi import PI
from ringfence.adapters.agents.external.agents.qwen import QWEN, QWEN_ACP
from ringfence.adapters.agents.external.agents.vibe import VIBE, VIBE_ACP
from ringfence.adapters.agents.external.entry import Entry

_BY_COMMAND_LINE = (CODEX, CLAUDE, OPENCODE, PI, QWEN, GEMINI, COPILOT, MINI, AIDER, OPENHANDS, VIBE)
_BY_ACP = (OPENCODE_ACP, QWEN_ACP, GEMINI_ACP, COPILOT_ACP, VIBE_ACP)

TABLE: dict[str, Entry] = {entry.name: entry for entry in (*_BY_COMMAND_LINE, *_BY_ACP)}
