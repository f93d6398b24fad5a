"""One script for any agent: said in the protocol that is asked, with the tools that are offered."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from agent_side import USER, Agent, Answer, Records, Start
from speakers import CHAT, GEMINI, MESSAGES, RESPONSES, SPEAKERS, Speaker
from test_replay import script

from ringfence.domain.errors import InputError
from ringfence.gateway.process import GatewayProcess

each = pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
Json = dict[str, Any]
SCRIPT = """
version: 1
conversations:
  - name: fix
    when: {user: Fix it}
    turns:
      - run: [cat total.txt, ls]
        say: I look.
      - - when: {last: "result of cat"}
          text_edit: {path: total.txt, search: "wrong", replace: "right"}
      - say: Half of it is done.
      - done: Mended.
"""


def asked(speaker: Speaker, history: list[tuple[str, Any]]) -> Json:
    """A conversation in a protocol: `user` and `said` texts, and `called` with the (id, name, arguments) of calls."""
    body = {**speaker.body("x"), **speaker.tool(SCHEMA)}
    field = {"chat": "messages", "responses": "input", "messages": "messages", "gemini": "contents"}[speaker.name]
    body[field] = [item for kind, value in history for item in _ITEMS[speaker.name][kind](value)]
    return body


def _chat_called(calls: Any) -> list[Json]:
    made = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
    results = [{"role": "tool", "tool_call_id": i, "content": "result of cat"} for i, _, _ in calls]
    return [{"role": "assistant", "content": None, "tool_calls": made}, *results]


def _responses_called(calls: Any) -> list[Json]:
    made = [{"type": "function_call", "call_id": i, "name": n, "arguments": a} for i, n, a in calls]
    return made + [{"type": "function_call_output", "call_id": i, "output": "result of cat"} for i, _, _ in calls]


def _messages_called(calls: Any) -> list[Json]:
    made = [{"type": "tool_use", "id": i, "name": n, "input": json.loads(a)} for i, n, a in calls]
    cat = [{"type": "text", "text": "result of cat"}]
    results = [{"type": "tool_result", "tool_use_id": i, "content": cat} for i, _, _ in calls]
    reminder = {"type": "text", "text": "<system-reminder>"}
    return [{"role": "assistant", "content": made}, {"role": "user", "content": [*results, reminder]}]


def _gemini_called(calls: Any) -> list[Json]:
    made = [{"functionCall": {"name": n, "args": json.loads(a)}} for _, n, a in calls]
    results = [{"functionResponse": {"name": n, "response": {"output": "result of cat"}}} for _, n, _ in calls]
    return [{"role": "model", "parts": made}, {"role": "user", "parts": results}]


def _plain(role: str) -> Any:
    return lambda text: [{"role": role, "content": text}]


_ITEMS: dict[str, dict[str, Any]] = {
    "chat": {"user": _plain("user"), "said": _plain("assistant"), "called": _chat_called},
    "responses": {"user": _plain("user"), "said": _plain("assistant"), "called": _responses_called},
    "messages": {"user": _plain("user"), "said": _plain("assistant"), "called": _messages_called},
    "gemini": {
        "user": lambda text: [{"role": "user", "parts": [{"text": text}]}],
        "said": lambda text: [{"role": "model", "parts": [{"text": text}]}],
        "called": _gemini_called,
    },
}


def turn(agent: Agent, speaker: Speaker, body: Json, *, stream: bool = False) -> Answer:
    more = {"stream": True} if stream and speaker is not GEMINI else {}
    return agent.post(json.dumps({**body, **more}).encode(), path=speaker.stream_path if stream else speaker.path)


def calls_of(speaker: Speaker, body: bytes) -> list[tuple[str, str, str]]:
    """The tool calls of a whole answer."""
    value = json.loads(body)
    if speaker is CHAT:
        made = value["choices"][0]["message"].get("tool_calls", [])
        return [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in made]
    if speaker is RESPONSES:
        made = [item for item in value["output"] if item["type"] == "function_call"]
        return [(item["call_id"], item["name"], item["arguments"]) for item in made]
    if speaker is MESSAGES:
        made = [block for block in value["content"] if block["type"] == "tool_use"]
        return [(block["id"], block["name"], json.dumps(block["input"])) for block in made]
    parts = [part["functionCall"] for part in value["candidates"][0]["content"]["parts"] if "functionCall" in part]
    return [(call["id"], call["name"], json.dumps(call["args"])) for call in parts]


@each
def test_a_script_is_played_to_its_end(start: Start, tmp_path: Path, speaker: Speaker) -> None:
    agent = start(script(tmp_path, SCRIPT))
    history: list[tuple[str, Any]] = [("user", "Fix it")]
    first = turn(agent, speaker, asked(speaker, history))
    calls = calls_of(speaker, first.body)
    assert speaker.written(first.body) == "I look."
    assert [(name, json.loads(text)) for _, name, text in calls] == [
        ("bash", {"command": "cat total.txt"}), ("bash", {"command": "ls"}),
    ]  # fmt: skip
    history.append(("called", calls))
    second = calls_of(speaker, turn(agent, speaker, asked(speaker, history)).body)
    assert "total.txt" in second[0][2]
    history.append(("called", second))
    assert speaker.written(turn(agent, speaker, asked(speaker, history)).body) == "Half of it is done."
    history += [("said", "Half of it is done."), ("user", "go on")]
    assert speaker.written(turn(agent, speaker, asked(speaker, history)).body) == "Mended."


@each
def test_a_stream_says_what_a_whole_answer_says(start: Start, tmp_path: Path, speaker: Speaker) -> None:
    agent = start(script(tmp_path, SCRIPT))
    body = asked(speaker, [("user", "Fix it")])
    whole, streamed = turn(agent, speaker, body), turn(agent, speaker, body, stream=True)
    assert streamed.complete
    assert speaker.written(streamed.body).startswith("I look.")
    assert _written(speaker, streamed.body) == [json.loads(text) for _, _, text in calls_of(speaker, whole.body)]
    one, other = agent.records.of("ended")
    assert (one.output_tokens, one.tokens_estimated, one.replayed) == (other.output_tokens, False, True)


def _written(speaker: Speaker, body: bytes) -> list[Json]:
    """The arguments of a stream's tool calls, put together."""
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    joined: dict[int, str] = {}
    for event in events:
        for index, text in _pieces(speaker, event):
            joined[index] = joined.get(index, "") + text
    return [json.loads(joined[index]) for index in sorted(joined)]


def _pieces(speaker: Speaker, event: Json) -> list[tuple[int, str]]:
    match speaker.name:
        case "chat":
            deltas = [call for choice in event["choices"] for call in choice["delta"].get("tool_calls", [])]
            return [(call["index"], call["function"]["arguments"]) for call in deltas]
        case "responses":
            wanted = event["type"] == "response.function_call_arguments.delta"
            return [(event["output_index"], event["delta"])] if wanted else []
        case "messages":
            wanted = event.get("delta", {}).get("type") == "input_json_delta"
            return [(event["index"], event["delta"]["partial_json"])] if wanted else []
        case _:
            parts = [part for part in event["candidates"][0]["content"]["parts"] if "functionCall" in part]
            return [(n, json.dumps(part["functionCall"]["args"])) for n, part in enumerate(parts)]


@each
def test_a_side_call_without_tools_uses_up_no_turn(start: Start, tmp_path: Path, speaker: Speaker) -> None:
    agent = start(script(tmp_path, SCRIPT))
    title = speaker.ask(agent)
    assert (title.status, speaker.written(title.body)) == (200, "Replay")
    body = asked(speaker, [("user", "Fix it")])
    assert calls_of(speaker, turn(agent, speaker, body).body)


@each
def test_examples_that_an_agent_puts_into_a_conversation_do_not_count(
    start: Start, tmp_path: Path, speaker: Speaker
) -> None:
    agent = start(script(tmp_path, SCRIPT))
    history = [("user", "example"), ("said", "like this"), ("user", "Fix it"), ("said", "Got it."), ("user", "now")]
    assert speaker.written(turn(agent, speaker, asked(speaker, history)).body) == "I look."


@each
def test_a_replay_is_labelled_in_every_protocol(start: Start, tmp_path: Path, speaker: Speaker) -> None:
    agent = start(script(tmp_path, SCRIPT))
    for stream in (False, True):
        got = turn(agent, speaker, asked(speaker, [("user", "Fix it")]), stream=stream)
        assert got.headers["x-ringfence-replay"] == "true"
        assert b"m (replay)" in got.body
        assert b'"replay-' in got.body


def chat(agent: Agent, tools: list[Json], text: str = "Fix it", **more: Any) -> Json:
    offered = [{"type": "function", "function": tool} for tool in tools]
    got = agent.chat(messages=[{"role": "user", "content": text}], tools=offered, **more)
    assert got.status == 200, got.body
    message: Json = json.loads(got.body)["choices"][0]["message"]
    return message


@pytest.mark.parametrize(
    ("name", "properties", "required", "expected"),
    [
        ("exec_command", {"cmd": {"type": "string"}}, ["cmd"], {"cmd": "ls"}),
        ("run_shell_command", {"command": {"type": "string"}, "is_background": {"type": "boolean"}},
         ["command", "is_background"], {"command": "ls", "is_background": False}),
        ("terminal", {"command": {"type": "string"}, "security_risk": {"enum": ["UNKNOWN", "LOW"]}},
         ["command", "security_risk"], {"command": "ls", "security_risk": "LOW"}),
        ("run_commands", {"commands": {"type": "array"}}, ["commands"], {"commands": ["ls"]}),
        ("shell", {"command": {"type": "array"}}, ["command"], {"command": ["bash", "-lc", "ls"]}),
        ("mcp__acp__Bash", {"command": {"type": ["string", "null"]}, "description": {"type": "string"}},
         ["command", "description"], {"command": "ls", "description": "replay"}),
    ],
)  # fmt: skip
def test_every_known_shell_gets_the_command_in_its_own_way(
    start: Start, tmp_path: Path, name: str, properties: Json, required: list[str], expected: Json
) -> None:
    agent = start(script(tmp_path, "version: 1\nconversations: [{turns: [{run: ls}]}]"))
    schema = {"type": "object", "properties": properties, "required": required}
    others = {"name": "read_file", "parameters": {"properties": {"path": {"type": "string"}}}}
    (call,) = chat(agent, [others, {"name": name, "parameters": schema}])["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == (name, expected)


def test_an_agent_without_a_known_shell_is_told_so(start: Start, tmp_path: Path) -> None:
    agent = start(script(tmp_path, "version: 1\nconversations: [{turns: [{run: ls}]}]"))
    got = agent.chat(tools=[{"type": "function", "function": {"name": "read_file"}}])
    assert got.status == 400
    assert b"replay_no_shell" in got.body


def test_an_edit_is_text_for_an_agent_without_tools(start: Start, tmp_path: Path) -> None:
    agent = start(script(tmp_path, SCRIPT.replace('when: {last: "result of cat"}', "say: Look.")))
    got = agent.chat(messages=[{"role": "user", "content": "Fix it"}])
    assert json.loads(got.body)["choices"][0]["message"]["content"] == (
        "Look.\n\ntotal.txt\n```\n<<<<<<< SEARCH\nwrong\n=======\nright\n>>>>>>> REPLACE\n```"
    )


@pytest.mark.parametrize(
    ("tools", "text", "expected"),
    [
        ([{"name": "finish", "parameters": {"properties": {"summary": {}}}}], "x", {"summary": "Mended."}),
        ([{"name": "finish", "parameters": {"properties": {"message": {}}}}], "x", {"message": "Mended."}),
        ([{"name": "complete"}, {"name": "shell", "parameters": SCHEMA}], "x", {}),
        ([{"name": "bash", "parameters": SCHEMA}], "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT",
         {"command": "printf '%s\\n' COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT Mended."}),
    ],
)  # fmt: skip
def test_an_agent_is_done_in_its_own_way(
    start: Start, tmp_path: Path, tools: list[Json], text: str, expected: Json
) -> None:
    agent = start(script(tmp_path, "version: 1\nconversations: [{turns: [{done: Mended.}]}]"))
    (call,) = chat(agent, tools, text)["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == expected


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    ("text", "search", "replace"),
    [
        ("wrong\n", "wrong", "right"), ("a\n  b'c\"$x\\n*\n\nend", "b'c\"$x\\n*\n", "Z\n\n"), ("a*b\n\n\n", "*", "?"),
        ("k=[1]\nk=[2]\n", "[1]", "[2]"), ("x x", "x", "y"), ("nothing of it", "other", "y"),
    ],
)  # fmt: skip
def test_an_edit_by_shell_replaces_the_first_place(
    start: Start, tmp_path: Path, shell: str, text: str, search: str, replace: str
) -> None:
    edit = {"path": "some file.txt", "search": search, "replace": replace}
    recorded = json.dumps({"version": 1, "conversations": [{"turns": [{"text_edit": edit}]}]})
    agent = start(script(tmp_path, recorded))
    (call,) = chat(agent, [{"name": "bash", "parameters": SCHEMA}])["tool_calls"]
    (tmp_path / "some file.txt").write_text(text)
    command = json.loads(call["function"]["arguments"])["command"]
    done = subprocess.run([shell, "-c", command], cwd=tmp_path, capture_output=True)
    assert (tmp_path / "some file.txt").read_text() == text.replace(search, replace, 1)
    assert (done.returncode == 0) == (search in text)


def test_the_second_script_in_the_documentation_plays(start: Start, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "replay.md").read_text().split("```yaml\n")[2].split("```")[0]
    agent = start(script(tmp_path, text))
    (call,) = chat(agent, [{"name": "bash", "parameters": SCHEMA}])["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"command": "python3 -m pytest -q"}


@pytest.mark.parametrize(
    ("turn_text", "said"),
    [
        ("{run: ls, done: x}", "only one of run, done"),
        ("{run: [5]}", "run must hold texts"),
        ("{done: 5}", "must be text"),
        ("{text_edit: {path: a}}", "needs `path`, `search` and `replace`"),
        ("{text_edit: {path: a, search: b, replace: c, mode: x}}", "unknown key 'mode'"),
    ],
)
def test_a_mistake_in_a_turn_for_any_agent_stops_the_start(tmp_path: Path, turn_text: str, said: str) -> None:
    config = script(tmp_path, f"version: 1\nconversations: [{{turns: [{turn_text}]}}]")
    with pytest.raises(InputError, match=said), GatewayProcess((config,), Records(), user=USER):
        pass
