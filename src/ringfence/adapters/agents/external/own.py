"""An agent of the operator's own: any program that the boundary's toolchains hold, named in the settings."""

from collections.abc import Callable

from ringfence.adapters import event_stream
from ringfence.adapters.agents.external import acp
from ringfence.adapters.agents.external.entry import BRIEF, HOME, KEY
from ringfence.adapters.agents.external.table import TABLE
from ringfence.ports.agent import AgentReport, AgentTask, Launch

#: The program may print events in our form (docs/builtin-agent.md); the last word is said in its place when it ends.
_AROUND = (
    '"$@"; code=$?; echo; if [ $code = 0 ]; then outcome=finished; else outcome=crashed; fi; '
    'printf \'{"event": "end", "outcome": "%s", "message": "exit code %d"}\\n\' $outcome $code'
)


class OwnAgent:
    """A program by its command line (`command`), or one that speaks the Agent Client Protocol (`acp`).

    The program finds the brief in the file that BRIEF names, the gateway at GATEWAY_URL, and the model as MODEL.
    """

    version = "by the operator"

    def __init__(self, name: str, command: tuple[str, ...]) -> None:
        self.name = name
        self._command = command
        #: Nobody knows what this program obeys: what any known agent would obey is left out.
        self.hidden = tuple(dict.fromkeys(pattern for entry in TABLE.values() for pattern in entry.hidden))

    def launch(self, task: AgentTask) -> Launch:
        """The program with a shell line or our client around it."""
        speaks = self.name == "acp"
        before = acp.around(task) if speaks else ("/bin/sh", "-c", _AROUND, "sh")
        return Launch(
            argv=(*before, *self._command),
            environment={
                "HOME": HOME,
                "LANG": "C.UTF-8",
                "BRIEF": BRIEF,
                "GATEWAY_URL": task.door,
                "GATEWAY_KEY": KEY,
                "MODEL": task.model,
                "OPENAI_BASE_URL": f"{task.door}/v1",
                "OPENAI_API_KEY": KEY,
                "ANTHROPIC_BASE_URL": task.door,
                "ANTHROPIC_API_KEY": KEY,
            },
            files={BRIEF: task.brief.encode("utf-8", "replace"), **(acp.program() if speaks else {})},
        )

    def watch(self) -> Callable[[bytes], int]:
        """Counts turns as the stream comes."""
        return event_stream.watch(event_stream.own_events)

    def report(self, output: bytes) -> AgentReport:
        """What the stream said."""
        return event_stream.read(output, event_stream.own_events).report()
