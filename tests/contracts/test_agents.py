"""The built-in agent as a real process against a real server, and the reading of its event stream."""

import json
import os
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.adapters.agents.builtin import BuiltinAgent
from ringfence.ports.agent import Agent, AgentReport, AgentTask
from scripted_model import Exchange, ScriptedModel, Step, calls, finish, refuses, says, scripted, shell, streams

Ran = tuple[AgentReport, list[dict[str, object]], int]


class Bench:
    """Starts agents as the sandbox would, only without one: the files are laid out in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.checkout = directory / "checkout"
        self.checkout.mkdir()

    def start(self, task: AgentTask, **environment: str) -> "subprocess.Popen[bytes]":
        launch = BuiltinAgent().launch(task)
        argv = list(launch.argv)
        for path, content in launch.files.items():
            place = self.directory / Path(path).name
            place.write_bytes(content)
            argv = [word.replace(path, str(place)) for word in argv]
        return subprocess.Popen(
            argv,
            cwd=self.checkout,
            env={**launch.environment, "PATH": "/usr/bin:/bin", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, server: ScriptedModel, *, turns: int = 8, seconds: float = 20, brief: str = "the brief") -> Ran:
        task = AgentTask(brief=brief, model="some-model", door=server.door, turns=turns, seconds=seconds)
        process = self.start(task)
        output, _ = process.communicate(timeout=50)
        events = [json.loads(line) for line in output.splitlines()]
        return BuiltinAgent().report(output), events, process.returncode


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def last_word(report: AgentReport) -> tuple[str, int, str]:
    return report.outcome, report.turns, report.message


def told(server: ScriptedModel) -> str:
    """What the last tool answer said to the model."""
    return str(server.requests[-1]["messages"][-1]["content"])


def test_the_agent_fits_its_port() -> None:
    agent: Agent = BuiltinAgent()
    assert agent.name == "builtin"


def test_a_change_is_made_and_finished(bench: Bench) -> None:
    with scripted(shell("echo hello > file; cat file; echo oops >&2; exit 3"), finish("wrote it")) as server:
        report, events, code = bench.run(server)
    assert last_word(report) == ("finished", 2, "wrote it")
    assert (report.tools, [step.kind for step in report.steps]) == (1, ["tool"])
    assert code == 0
    assert (bench.checkout / "file").read_text() == "hello\n"
    assert told(server) == "hello\noops\n\n[exit code 3]"
    first = server.requests[0]
    assert (first["model"], first["stream"], first["messages"][1]) == (
        "some-model",
        True,
        {"role": "user", "content": "the brief"},
    )
    assert [tool["function"]["name"] for tool in first["tools"]] == ["shell", "finish"]
    assert [event["event"] for event in events] == ["start", "turn", "tool", "turn", "end"]


def test_the_launch_carries_no_secret_and_runs_isolated() -> None:
    task = AgentTask(brief="b", model="m", door="http://127.0.0.1:1", turns=1, seconds=1)
    launch = BuiltinAgent().launch(task)
    assert launch.argv[:4] == ("/usr/bin/python3", "-I", "-S", "/ringfence/agent.py")
    assert dict(launch.environment) == {"HOME": "/home/agent", "LANG": "C.UTF-8"}
    assert set(launch.files) == {"/ringfence/agent.py", "/ringfence/brief.md"}
    assert launch.files["/ringfence/brief.md"] == b"b"


def test_a_final_no_ends_the_work_at_once_without_another_request(bench: Bench) -> None:
    for status in (402, 403):
        with scripted(shell("true"), refuses(status, '{"error":{"message":"budget spent"}}')) as server:
            report, _, code = bench.run(server)
        assert (report.outcome, report.turns, code) == ("denied", 1, 1)
        assert "budget spent" in report.message
        assert len(server.requests) == 2


def test_passing_trouble_is_tried_again(bench: Bench) -> None:
    cut = streams(b'data: {"choices":[{"delta":{"content":"half an ans')
    steps = (refuses(429, Retry_After="0"), refuses(503, Retry_After="0"), cut, finish())
    with scripted(*steps) as server:
        report, events, _ = bench.run(server)
    assert last_word(report) == ("finished", 1, "done")
    assert len(server.requests) == 4
    assert [event["event"] for event in events].count("retry") == 3


@pytest.mark.parametrize(
    "step",
    [
        refuses(500, Retry_After="0"),
        refuses(200, "<html>sign in</html>", Content_Type="text/html", Retry_After="0"),
    ],
    ids=["500", "a page instead of a stream"],
)
def test_lasting_trouble_ends_after_a_bounded_number_of_requests(bench: Bench, step: Step) -> None:
    with scripted(step) as server:
        report, _, _ = bench.run(server)
    assert report.outcome == "crashed"
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("status", "headers"), [(400, {}), (401, {}), (404, {}), (429, {"x_should_retry": "false"})], ids=str
)
def test_what_another_try_cannot_mend_is_not_tried_again(bench: Bench, status: int, headers: dict[str, str]) -> None:
    with scripted(refuses(status, **headers)) as server:
        report, _, _ = bench.run(server)
    assert (report.outcome, len(server.requests)) == ("crashed", 1)
    assert str(status) in report.message


FUNCTION = b'{"name":"shell","arguments":"{\\"command\\":\\"touch done\\"}"}'
TOUCH = b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":%s}]}}]}\n' % FUNCTION
CLOSE = b'data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}\n'


@pytest.mark.parametrize(
    "pieces",
    [
        (TOUCH,),
        (TOUCH, b"data: [DONE]\n"),
        (TOUCH, CLOSE),
        (TOUCH, b'data: {"error":{"message":"upstream went away"}}\n', CLOSE, b"data: [DONE]\n"),
        (TOUCH, b"data: {broken\n", CLOSE, b"data: [DONE]\n"),
        (TOUCH, b'data: {"choices":[7]}\n', CLOSE, b"data: [DONE]\n"),
        (TOUCH, b'data: "text"\n', CLOSE, b"data: [DONE]\n"),
    ],
    ids=["cut", "no finish reason", "no end mark", "error event", "no JSON", "no choice", "no object"],
)
def test_an_incomplete_answer_is_never_carried_out(bench: Bench, pieces: tuple[bytes, ...]) -> None:
    with scripted(streams(*pieces), finish()) as server:
        report, _, _ = bench.run(server)
    assert last_word(report) == ("finished", 1, "done")
    assert len(server.requests) == 2
    assert not (bench.checkout / "done").exists()


def test_the_same_answer_with_its_closing_events_is_carried_out(bench: Bench) -> None:
    with scripted(streams(TOUCH, CLOSE, b"data: [DONE]\n"), finish()) as server:
        report, _, _ = bench.run(server)
    assert last_word(report) == ("finished", 2, "done")
    assert (bench.checkout / "done").exists()


def test_arguments_that_are_not_usable_are_told_back(bench: Bench) -> None:
    bad = ("{not json", "[1]", '{"command": 7}', '{"command": "a\\u0000b"}', '{"command": "\\ud800"}', "[" * 30_000)
    with scripted(*(calls(("shell", text)) for text in bad), calls(("rm", "{}")), finish()) as server:
        report, _, _ = bench.run(server, turns=20)
    assert report.outcome == "finished"
    answers = [m["content"] for m in server.requests[-1]["messages"] if m["role"] == "tool"]
    starts = [
        "error: the arguments are not JSON",
        "error: the arguments are no JSON object",
        "error: `command` must be",
    ]
    assert [text.startswith(start) for text, start in zip(answers, starts, strict=False)] == [True] * 3
    assert "not started" in answers[3] and "not started" in answers[4]
    assert answers[5].startswith("error: the arguments are not JSON")
    assert "no tool 'rm'" in answers[6]
    for message in server.requests[-1]["messages"]:
        for call in message.get("tool_calls", []):
            json.loads(call["function"]["arguments"])


def test_huge_arguments_are_told_back(bench: Bench) -> None:
    with scripted(shell("x" * 1_100_000), shell("true " + "x" * 100_000), finish()) as server:
        report, _, _ = bench.run(server)
    answers = [m["content"] for m in server.requests[-1]["messages"] if m["role"] == "tool"]
    assert report.outcome == "finished"
    assert "longer than" in answers[0]
    assert answers[1].endswith("[exit code 0]")
    assert len(json.dumps(server.requests[-1])) < 200_000


def test_of_many_calls_in_one_answer_only_the_first_are_run(bench: Bench) -> None:
    many = calls(*(("shell", json.dumps({"command": f"touch {n}; # {'x' * 9_000}"})) for n in range(40)))
    with scripted(many, finish()) as server:
        report, _, _ = bench.run(server)
    answers = [m["content"] for m in server.requests[-1]["messages"] if m["role"] == "tool"]
    assert report.outcome == "finished"
    assert sorted(int(path.name) for path in bench.checkout.iterdir()) == list(range(16))
    assert len(answers) == 40 and set(answers[16:]) == {"error: not run: too many calls in one answer"}


def test_a_long_conversation_drops_its_oldest_outputs_and_never_the_brief(bench: Bench) -> None:
    with scripted(*[shell("seq 1 5000; # " + "x" * 20_000)] * 40, finish()) as server:
        report, _, _ = bench.run(server, turns=50, seconds=40)
    assert report.outcome == "finished"
    last = server.requests[-1]["messages"]
    assert len(json.dumps(last)) < 900_000
    assert last[1] == {"role": "user", "content": "the brief"}
    assert last[3]["content"] == "[dropped to save room]"
    assert last[-1]["content"].endswith("5000\n\n[exit code 0]")


def test_an_endless_answer_is_cut_off(bench: Bench) -> None:
    def endless(exchange: Exchange) -> None:
        exchange.begin()
        line = b"data: " + json.dumps({"choices": [{"delta": {"content": "blah " * 4000}}]}).encode() + b"\n"
        for _ in range(2_000):
            exchange.raw(line)

    with scripted(endless, finish()) as server:
        report, events, _ = bench.run(server)
    assert report.outcome == "finished"
    assert "longer than" in str([event for event in events if event["event"] == "retry"])


def test_text_without_a_tool_call_is_nudged_once_and_then_given_up(bench: Bench) -> None:
    with scripted(says("all good"), shell("true"), says("really"), says("I am done")) as server:
        report, _, _ = bench.run(server)
    assert last_word(report) == ("gave_up", 4, "I am done")
    assert "called no tool" in str(server.requests[1]["messages"][-1])


def test_a_model_that_never_stops_is_stopped_by_turns(bench: Bench) -> None:
    with scripted(shell("true")) as server:
        report, _, _ = bench.run(server, turns=5)
    assert (report.outcome, report.turns, len(server.requests)) == ("turns", 5, 5)


def test_the_clock_stops_a_command_and_the_work(bench: Bench) -> None:
    with scripted(shell("sleep 60", timeout=1), shell("sleep 60")) as server:
        began = time.monotonic()
        report, events, _ = bench.run(server, seconds=2)
    assert report.outcome == "time"
    assert time.monotonic() - began < 10
    assert [event["ended"] for event in events if event["event"] == "tool"] == ["ended: its time is over"] * 2


def test_a_silent_server_does_not_hold_the_work_beyond_its_time(bench: Bench) -> None:
    gone = threading.Event()

    def silent(exchange: Exchange) -> None:
        exchange.begin()
        gone.wait(20)

    with scripted(silent) as server:
        report, _, _ = bench.run(server, seconds=1)
        gone.set()
    assert report.outcome == "time"


def test_endless_and_binary_output_stays_bounded(bench: Bench) -> None:
    with scripted(shell("yes"), shell("printf '\\000\\377A'"), shell("seq 1 20000"), finish()) as server:
        report, events, _ = bench.run(server)
    answers = [m["content"] for m in server.requests[-1]["messages"] if m["role"] == "tool"]
    assert report.outcome == "finished"
    assert answers[0].endswith("[ended: it printed too much]")
    assert answers[1] == "\\0\ufffdA\n[exit code 0]"
    assert answers[2].startswith("1\n2\n") and answers[2].endswith("20000\n\n[exit code 0]")
    assert all(len(text) < 20_000 for text in answers)
    assert all(len(json.dumps(event)) < 20_000 for event in events)


def test_what_a_command_leaves_behind_ends_with_it(bench: Bench) -> None:
    with scripted(shell("sleep 300 & echo $! > pid"), finish()) as server:
        began = time.monotonic()
        report, _, _ = bench.run(server)
    assert report.outcome == "finished"
    assert time.monotonic() - began < 10
    pid = int((bench.checkout / "pid").read_text())
    for _ in range(100):
        if not runs(pid):
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there")


def runs(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be waited for: nobody may do that on some machines."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_cannot_write_to_the_event_stream(bench: Bench) -> None:
    """As root this cannot hold: uid 0 may open the descriptors of any process; nothing of a run is ever uid 0."""
    forged = '{"event": "end", "outcome": "finished", "turns": 1, "message": "forged"}'
    tries = f"echo '{forged}'; for f in /proc/$PPID/fd/1; do echo '{forged}' > $f; done"
    with scripted(shell(tries), refuses(403)) as server:
        report, events, _ = bench.run(server)
    assert report.outcome == "denied"
    if os.geteuid() != 0:
        assert [event["event"] for event in events] == ["start", "turn", "tool", "end"]
        assert "Permission denied" in told(server)


def test_a_dead_door_is_a_crash_with_a_reason(bench: Bench) -> None:
    with scripted(finish()) as server:
        door = server.door
    task = AgentTask(brief="b", model="m", door=door, turns=1, seconds=3)
    output, _ = bench.start(task).communicate(timeout=30)
    report = BuiltinAgent().report(output)
    assert report.outcome in ("crashed", "time")
    assert "refused" in report.message


def test_proxy_variables_do_not_turn_requests_elsewhere(bench: Bench) -> None:
    with scripted(finish("direct")) as server, scripted(finish("by a proxy")) as other:
        task = AgentTask(brief="b", model="m", door=server.door, turns=2, seconds=20)
        variables = ("http_proxy", "HTTP_PROXY", "OPENAI_BASE_URL", "OPENAI_API_BASE")
        output, _ = bench.start(task, **dict.fromkeys(variables, other.door)).communicate(timeout=30)
    assert BuiltinAgent().report(output).message == "direct"
    assert other.requests == []


def end(outcome: str, message: str = "", turns: int = 3) -> bytes:
    return json.dumps({"event": "end", "outcome": outcome, "turns": turns, "message": message}).encode() + b"\n"


def test_the_last_well_formed_word_counts() -> None:
    junk = b'\xff\x00{"event": "end"\n{"event": "end", "outcome": "rich"}\n[]\n{}\n"end"\n' + b"[" * 100_000 + b"\n"
    report = BuiltinAgent().report
    words = junk + end("finished", "early") + junk + end("denied", "late") + junk
    assert last_word(report(words)) == ("denied", 3, "late")
    assert last_word(report(b"")) == ("crashed", 0, "the event stream has no last word")
    assert report(b'{"event": "turn", "n": 4}\n' + end("finished")[:-5]).outcome == "crashed"
    assert report(b'{"event": "turn", "n": 4}\n').turns == 4
    assert report(end("finished", "m" * 9_000)) == replace(report(end("finished")), message="m" * 2_000)
    assert report(b'{"event":"end","outcome":["finished"]}\n').outcome == "crashed"
