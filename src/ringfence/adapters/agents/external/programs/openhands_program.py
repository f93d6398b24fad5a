"""Starts the OpenHands SDK inside the sandbox and prints what it does as JSON lines.

The worker never imports this file. The SDK has no command line; this is its documented way of use: a model, two
tools, one conversation in the working directory.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, "/ringfence/agent")

TURNS = 0
OUTCOMES = {"finished": "finished", "stuck": "gave_up", "paused": "gave_up"}


def emit(event: str, **fields: Any) -> None:
    """One line; only this function writes to the stream that was standard output."""
    os.write(STREAM, json.dumps({"event": event, **fields}, default=str).encode() + b"\n")


def turn() -> None:
    """The model answered once more."""
    global TURNS
    TURNS += 1
    emit("turn", n=TURNS)


def told(event: Any) -> None:
    """One event of the conversation."""
    kind = type(event).__name__
    if kind == "ActionEvent":
        turn()
        emit("tool", command=str(getattr(event, "action", ""))[:2_000])
    elif kind == "MessageEvent" and getattr(event, "source", "") == "agent":
        turn()
        message = getattr(event, "llm_message", None)
        parts = getattr(message, "content", None) or []
        emit("message", text="".join(getattr(part, "text", "") for part in parts)[:2_000])
    elif kind.endswith("ErrorEvent"):
        emit("fault", text=str(event)[:2_000])


def main(model: str, door: str, turns: int) -> None:
    """Carry one conversation to its end."""
    sdk = import_module("openhands.sdk")
    terminal = import_module("openhands.tools.terminal").TerminalTool
    editor = import_module("openhands.tools.file_editor").FileEditorTool
    llm = sdk.LLM(model=f"openai/{model}", base_url=f"{door}/v1", api_key="this-is-no-key", num_retries=2, timeout=120)
    agent = sdk.Agent(llm=llm, tools=[sdk.Tool(name=terminal.name), sdk.Tool(name=editor.name)])
    conversation = sdk.Conversation(
        agent=agent, workspace=str(Path.cwd()), callbacks=[told], visualizer=None, max_iteration_per_run=turns
    )
    conversation.send_message(Path("/ringfence/brief.md").read_text("utf-8", "replace"))
    conversation.run()
    status = str(conversation.state.execution_status).rpartition(".")[2].lower()
    emit("end", outcome=OUTCOMES.get(status, "crashed"), turns=TURNS, message=f"the conversation is {status}")


def failed(kind: type[BaseException], error: BaseException, _trace: object) -> None:
    """The last word when the SDK raised, whatever it raised."""
    emit("end", outcome="crashed", turns=TURNS, message=f"{kind.__name__}: {error}"[:2_000])
    os._exit(1)


if __name__ == "__main__":
    STREAM = os.dup(1)
    os.dup2(2, 1)  # whatever the SDK prints for people does not come between the lines
    sys.excepthook = failed
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    os._exit(0)  # threads of the SDK must not hold the end
