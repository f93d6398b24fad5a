"""The replay provider: a script over the same wire as a model, labelled wherever it shows."""

import json
from pathlib import Path
from typing import Any

import pytest
from agent_side import USER, Answer, Records, Start

from ringfence.domain.errors import InputError
from ringfence.gateway.call import RouteConfig
from ringfence.gateway.process import GatewayProcess

SCRIPT = """
version: 1
about: two attempts at a ticket
conversations:
  - name: second attempt
    when: {user: ["attempt 2", "test_total FAILED"]}
    turns:
      - say: I see what failed.
        calls:
          - name: shell
            arguments:
              command: |
                printf 'right\\n' > total.txt
      - calls: [{name: finish, arguments: {summary: "mended"}}]
  - name: first attempt
    when: {user: attempt 1}
    turns:
      - - when: {last: "no such file"}
          say: It is not there.
        - when: {last: attempt 1}
          calls: [{name: shell, arguments: '{"command": "ec'}]
      - when: {last: "exit code 0"}
        say: Done.
"""


RESULT = {"role": "tool", "tool_call_id": "x", "content": "exit code 0"}


def script(tmp_path: Path, text: str = SCRIPT, name: str = "script.yaml") -> RouteConfig:
    path = tmp_path / name
    path.write_text(text)
    return RouteConfig("main", "replay", str(path), ("m",))


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def told(got: Answer) -> tuple[str, str | None, list[tuple[str, str]]]:
    """Finish reason, text and calls of a whole answer."""
    choice = json.loads(got.body)["choices"][0]
    calls = [(c["function"]["name"], c["function"]["arguments"]) for c in choice["message"].get("tool_calls", ())]
    return choice["finish_reason"], choice["message"]["content"], calls


def put_together(body: bytes) -> tuple[str, str, list[tuple[str, str]]]:
    """The same of a stream."""
    text, finish, calls = "", "", {}
    for event in body.decode().split("\n\n"):
        if not event or event == "data: [DONE]":
            continue
        for choice in json.loads(event.removeprefix("data: "))["choices"]:
            text += choice["delta"].get("content") or ""
            finish = choice["finish_reason"] or finish
            for call in choice["delta"].get("tool_calls", ()):
                name, arguments = calls.get(call["index"], ("", ""))
                function = call["function"]
                calls[call["index"]] = (name + function.get("name", ""), arguments + function.get("arguments", ""))
    return finish, text, [calls[index] for index in sorted(calls)]


def test_the_attempt_chooses_the_conversation_and_its_turns_follow(start: Start, tmp_path: Path) -> None:
    agent = start(script(tmp_path))
    first: list[dict[str, Any]] = [user("ticket, attempt 1")]
    assert told(agent.chat(messages=first)) == ("tool_calls", None, [("shell", '{"command": "ec')])
    first += [{"role": "assistant", "content": None}, {"role": "tool", "tool_call_id": "x", "content": "exit code 0"}]
    assert told(agent.chat(messages=first)) == ("stop", "Done.", [])
    second = [user("ticket, attempt 2\ntest_total FAILED: 3 != 4")]
    finish, text, calls = told(agent.chat(messages=second))
    assert (finish, text) == ("tool_calls", "I see what failed.")
    assert [(name, json.loads(arguments)) for name, arguments in calls] == [
        ("shell", {"command": "printf 'right\\n' > total.txt\n"})
    ]


def test_a_stream_says_the_same_as_a_whole_answer(start: Start, tmp_path: Path) -> None:
    agent = start(script(tmp_path))
    messages = [user("ticket, attempt 2"), user("test_total FAILED")]
    whole, streamed = agent.chat(messages=messages), agent.chat(messages=messages, stream=True)
    finish, text, calls = told(whole)
    assert put_together(streamed.body) == (finish, text or "", calls)
    assert streamed.complete
    one, other = agent.records.of("ended")
    assert (one.output_tokens, one.tokens_estimated) == (other.output_tokens, False)


def test_the_same_request_always_gets_the_same_answer(start: Start, tmp_path: Path) -> None:
    agent = start(script(tmp_path))
    messages = [user("ticket, attempt 1")]
    answers = {agent.chat(messages=messages, stream=True).body for _ in range(3)}
    assert len(answers) == 1


def test_a_replay_is_labelled_wherever_it_shows(start: Start, tmp_path: Path) -> None:
    agent = start(script(tmp_path))
    for streamed in (False, True):
        got = agent.chat(messages=[user("attempt 1")], stream=streamed)
        assert got.headers["x-ringfence-replay"] == "true"
        first = json.loads(got.body.split(b"\n\n")[0].removeprefix(b"data: "))
        assert "replay" in first["model"]
        assert first["id"].startswith("replay-")
    assert [(call.provider, call.replayed, call.model) for call in agent.records.of("ended")] == [
        ("replay", True, "m"), ("replay", True, "m"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([user("attempt 3")], "replay_no_conversation"),
        ([user("attempt 1"), {"role": "assistant"}, user("exit code 1")], "replay_left"),
        ([user("attempt 1"), *[{"role": "assistant", "content": "x"}, RESULT] * 2, user("go on")], "replay_exhausted"),
    ],
)
def test_a_conversation_that_leaves_the_script_is_a_plain_error(
    start: Start, tmp_path: Path, messages: list[dict[str, Any]], code: str
) -> None:
    agent = start(script(tmp_path))
    got = agent.chat(messages=messages, stream=True)
    assert (got.status, got.headers["x-should-retry"], got.headers["x-ringfence-replay"]) == (400, "false", "true")
    assert code in json.loads(got.body)["error"]["message"]
    assert agent.door.denied() is None


def test_a_replay_is_judged_by_the_same_rules_as_a_model(start: Start, tmp_path: Path) -> None:
    agent = start(script(tmp_path), requests=1)
    assert agent.chat(model="n").status == 403
    agent = start(script(tmp_path), requests=1)
    assert [agent.chat(messages=[user("attempt 1")]).status for _ in range(2)] == [200, 403]


def test_json_is_as_good_as_yaml(start: Start, tmp_path: Path) -> None:
    text = json.dumps({"version": 1, "conversations": [{"turns": [{"say": "hello"}]}]})
    assert told(start(script(tmp_path, text, "script.json")).chat()) == ("stop", "hello", [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 2\nconversations: [{turns: [{say: a}]}]", "version: 1"),
        ("version: 1\n", "conversations must be a list"),
        ("version: 1\nconversations: [{turns: []}]", r"conversations\[0\].turns must be a list"),
        ("version: 1\nconversations: [{turns: [{}]}]", "must say something"),
        ("version: 1\nconversations: [{turns: [{say: 5}]}]", "must be text"),
        ("version: 1\nconversations: [{turns: [{sya: a}]}]", "unknown key 'sya'"),
        ("version: 1\nconversations: [{turns: [{calls: [{name: x, arguments: 5}]}]}]", "a call needs a name"),
        ("version: 1\nconversations: [{when: {user: [5]}, turns: [{say: a}]}]", "must hold texts"),
        ("version: [", "cannot be read"),
    ],
)
def test_a_script_with_a_mistake_stops_the_start_and_says_where(tmp_path: Path, text: str, said: str) -> None:
    with (
        pytest.raises(InputError, match=said) as failure,
        GatewayProcess((script(tmp_path, text),), Records(), user=USER),
    ):
        pass
    assert failure.value.where == str(tmp_path / "script.yaml")


def test_a_script_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    config = RouteConfig("main", "replay", str(tmp_path / "none.yaml"), ("m",))
    with pytest.raises(InputError, match="cannot be read"), GatewayProcess((config,), Records(), user=USER):
        pass


def test_the_script_in_the_documentation_plays(start: Start, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "replay.md").read_text()
    agent = start(script(tmp_path, text.split("```yaml\n")[1].split("```")[0]))
    messages: list[dict[str, Any]] = [user("attempt 1")]
    assert told(agent.chat(messages=messages))[2] == [("shell", '{"command": "cat total.txt"}')]
    messages += [{"role": "assistant", "content": ""}, {"role": "tool", "tool_call_id": "x", "content": "exit code 0"}]
    assert told(agent.chat(messages=messages))[2] == [("finish", '{"summary": "Done."}')]
    assert told(agent.chat(messages=[user("attempt 2: test_total FAILED")]))[1] == "I see what failed."
