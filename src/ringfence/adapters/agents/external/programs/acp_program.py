"""A client of the Agent Client Protocol: one file, standard library only, started inside the sandbox.

It starts an agent that speaks the protocol on its standard streams, gives it the brief, answers what it asks, and
prints JSON lines as the built-in agent does. The worker never imports this file. Permission requests are answered by
the kinds of tool calls that the boundary grants, and by nothing else; whatever else the agent asks is refused.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

LINE_CAP = 16 << 20  # bytes of one message
TEXT = 2_000


class Over(Exception):
    """The work ends, with its outcome and a message."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


def emit(event: str, **fields: Any) -> None:
    """Print one event; JSON keeps every text inside its string."""
    line = json.dumps({"event": event, **fields}).encode("ascii") + b"\n"
    while line:
        line = line[os.write(1, line) :]


def field(value: Any, *path: str) -> Any:
    """What stands at a path of keys; None when there is nothing."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


class Client:
    """One agent and one session."""

    def __init__(self, argv: list[str], permissions: frozenset[str], turns: int) -> None:
        self.agent = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.permissions = permissions
        self.limit = turns
        self.turns = 0
        self.said = ""
        self.number = 0
        self.kinds: dict[str, str] = {}  # of calls that were announced, by their id

    def send(self, message: dict[str, Any]) -> None:
        """One message to the agent."""
        assert self.agent.stdin is not None
        self.agent.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.agent.stdin.flush()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method and answer everything that comes before its result."""
        self.number += 1
        wanted = self.number
        self.send({"id": wanted, "method": method, "params": params})
        while True:
            message = self.read()
            if "method" in message:
                self.asked(message)
            elif message.get("id") == wanted:
                if "error" in message:
                    raise Over("crashed", f"{method}: {json.dumps(message['error'])[:TEXT]}")
                result = message.get("result")
                return result if isinstance(result, dict) else {}

    def read(self) -> dict[str, Any]:
        """The next message; lines that are none are passed over."""
        assert self.agent.stdout is not None
        while line := self.agent.stdout.readline(LINE_CAP):
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(message, dict):
                return message
        raise Over("crashed", f"the agent ended with exit code {self.agent.wait()}")

    def asked(self, message: dict[str, Any]) -> None:
        """A notification, or a request of the agent."""
        method, params = message.get("method"), message.get("params")
        if method == "session/update":
            self.update(field(params, "update"))
        elif method == "session/request_permission":
            self.send({"id": message.get("id"), "result": {"outcome": self.permit(params)}})
        elif "id" in message:
            error = {"code": -32601, "message": "there is no such method here"}
            self.send({"id": message["id"], "error": error})

    def permit(self, params: Any) -> dict[str, str]:
        """Yes to a kind of call that is granted, else no. A call without a kind is of the kind `other`."""
        kind = (
            field(params, "toolCall", "kind") or self.kinds.get(str(field(params, "toolCall", "toolCallId"))) or "other"
        )
        allowed = isinstance(kind, str) and kind in self.permissions
        emit("permission", kind=str(kind)[:100], granted=allowed, call=str(field(params, "toolCall", "title"))[:TEXT])
        options = field(params, "options")
        for wanted in ("allow_once", "allow_always") if allowed else ("reject_once", "reject_always"):
            for option in options if isinstance(options, list) else []:
                if field(option, "kind") == wanted and isinstance(option.get("optionId"), str):
                    return {"outcome": "selected", "optionId": option["optionId"]}
        return {"outcome": "cancelled"}

    def update(self, update: Any) -> None:
        """What the agent did."""
        kind = field(update, "sessionUpdate")
        if kind == "agent_message_chunk":
            self.said += str(field(update, "content", "text") or "")[: TEXT * 2]
        elif kind == "tool_call":
            self.turn()
            if field(update, "kind") and field(update, "toolCallId"):
                self.kinds[str(field(update, "toolCallId"))] = str(field(update, "kind"))
            call = field(update, "rawInput") or field(update, "title")
            emit("tool", command=json.dumps(call)[:TEXT])

    def turn(self) -> None:
        """The model answered once more; the protocol has no event for it, so an answer counts by its call."""
        self.turns += 1
        if self.said:
            emit("message", text=self.said[:TEXT])
        emit("turn", n=self.turns)
        self.said = ""
        if self.turns > self.limit:
            raise Over("turns", f"{self.limit} turns are used")

    def work(self, brief: str) -> None:
        """One session with one prompt."""
        capabilities = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
        self.call("initialize", protocolVersion=1, clientCapabilities=capabilities)
        session = self.call("session/new", cwd=str(Path.cwd()), mcpServers=[]).get("sessionId")
        answer = self.call("session/prompt", sessionId=session, prompt=[{"type": "text", "text": brief}])
        reason, said = str(answer.get("stopReason")), self.said
        self.turn()
        outcomes = {"end_turn": "finished", "max_turn_requests": "turns", "max_tokens": "turns", "refusal": "gave_up"}
        raise Over(outcomes.get(reason, "crashed"), said[:TEXT] or f"the agent stopped: {reason}")


def main() -> None:
    """Start the agent that the rest of the command line names, and see it through."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--brief", required=True)
    parser.add_argument("--turns", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--permissions", default="")
    parser.add_argument("argv", nargs="+")
    options = parser.parse_args()
    emit("start", turns=options.turns)
    client = Client(options.argv, frozenset(options.permissions.split(",")) - {""}, options.turns)
    timer = threading.Timer(options.seconds, client.agent.kill)
    timer.daemon = True
    timer.start()
    try:
        client.work(Path(options.brief).read_text("utf-8", "replace"))
    except (Over, OSError) as error:
        outcome = error.outcome if isinstance(error, Over) else "crashed"
        emit("end", outcome=outcome, turns=client.turns, message=str(error)[:TEXT])
    finally:
        client.agent.kill()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
