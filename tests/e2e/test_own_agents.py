"""Agents of the operator's own, and the worker's say over any agent: who may work, how long, and what is granted."""

import json
from collections.abc import Sequence

from ringfence.domain import events as e
from ringfence.domain.events import Event
from worksite import BRANCH, Worksite

#: An agent that speaks the Agent Client Protocol: it asks before two calls, and writes down what it was answered.
ACP_AGENT = r"""
import json, sys
def send(**message): print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
options = [{"optionId": "no", "kind": "reject_once"}, {"optionId": "yes", "kind": "allow_once"}]
def ask(number, kind):
    params = {"sessionId": "s", "toolCall": {"kind": kind, "title": kind}, "options": options}
    send(id=number, method="session/request_permission", params=params)
    return json.loads(sys.stdin.readline())["result"]["outcome"].get("optionId")
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "session/prompt":
        assert "Brief, attempt 1" in message["params"]["prompt"][0]["text"]
        open("answers.txt", "w").write(json.dumps([ask(100 + n, kind) for n, kind in enumerate(KINDS)]))
        open("value.txt", "w").write("2\n")
        call = {"sessionUpdate": "tool_call", "kind": "edit", "title": "edit", "rawInput": {"path": "value.txt"}}
        send(method="session/update", params={"sessionId": "s", "update": call})
        said = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "It is 2."}}
        send(method="session/update", params={"sessionId": "s", "update": said})
        send(id=message["id"], result={"stopReason": "end_turn"})
    else:
        send(id=message["id"], result={"sessionId": "s"})
"""


def furnish(site: Worksite, name: str, command: Sequence[str], **use: object) -> None:
    lines = f"[agent]\nname = {json.dumps(name)}\ncommand = {json.dumps(list(command))}\n"
    site.settings_path.write_text(site.settings_path.read_text() + lines)
    site.boundary({"commands.agents": [{"name": name, **use}]})


def ended(site: Worksite, run: str) -> e.AgentEnded:
    found: list[Event] = [event for event in site.events(run) if isinstance(event, e.AgentEnded)]
    assert isinstance(found[-1], e.AgentEnded)
    return found[-1]


def test_a_program_of_the_operators_own_carries_a_ticket(site: Worksite) -> None:
    furnish(site, "command", ("sh", "-c", 'grep -q "Brief, attempt 1" "$BRIEF" && echo 2 > value.txt && echo made'))
    code, view = site.run()
    assert (code, view.outcome) == (0, "pull_request"), (view.reason, view.detail)
    assert site.git("show", f"{BRANCH}:value.txt") == "2"
    assert (ended(site, view.id).agent, ended(site, view.id).outcome) == ("command", "finished")


def test_an_agent_that_the_boundary_does_not_list_is_not_started(site: Worksite) -> None:
    furnish(site, "command", ("sh", "-c", "echo 2 > value.txt"))
    site.boundary({"commands.agents": [{"name": "builtin"}]})
    code, view = site.run()
    assert (code, view.reason) == (7, "agent_not_approved")
    assert not [
        event for event in site.events(view.id) if isinstance(event, e.SandboxStarted) and event.role == "agent"
    ]


def test_the_worker_counts_turns_whatever_the_agent_was_told(site: Worksite) -> None:
    endless = 'n=0; while :; do n=$((n+1)); echo "{\\"event\\": \\"turn\\", \\"n\\": $n}"; sleep 0.02; done'
    furnish(site, "command", ("sh", "-c", f"echo 2 > value.txt; {endless}"))
    code, view = site.run()
    assert ended(site, view.id).outcome == "turns"
    assert (code, view.outcome) == (0, "pull_request"), "what was done by then is judged like any other patch"


def test_an_agent_that_asks_is_answered_by_the_boundary(site: Worksite) -> None:
    program = f"KINDS = ['edit', 'fetch', 'execute', None]\n{ACP_AGENT}"
    furnish(site, "acp", ("/usr/bin/python3", "-c", program), permissions=["edit", "read"])
    code, view = site.run()
    assert (code, view.outcome) == (0, "pull_request"), (view.reason, view.detail)
    assert json.loads(site.git("show", f"{BRANCH}:answers.txt")) == ["yes", "no", "no", "no"]
    last = ended(site, view.id)
    assert (last.outcome, last.turns, last.tools, last.message) == ("finished", 2, 1, "It is 2.")


def test_an_acp_agent_that_falls_silent_or_dies_ends_the_run_with_a_reason(site: Worksite) -> None:
    furnish(site, "acp", ("/bin/sh", "-c", "read line; echo no json; exit 3"))
    code, view = site.run()
    assert (code, view.reason) == (7, "agent_crashed")
    assert "exit code 3" in view.detail
