"""What providers truly sent, recorded by others and published in packages, goes through the parsers.

Read at test time out of source packages of the registry (pinned by digest, MIT); nothing of it is kept here.
"""

import fcntl
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ringfence.gateway.answer import AnswerStream, Scrubber
from ringfence.gateway.protocols.shape import Reading
from ringfence.gateway.protocols.table import PROTOCOLS
from ringfence.gateway.protocols.translate.wire import TRANSLATIONS, Translated
from ringfence.gateway.refusal import Refusal
from ringfence.gateway.request import Head, check_body

PACKAGES = """\
langchain-anthropic==1.7.10 --hash=sha256:72869686960b3d6665f99e7c91c9f6dd4a1d9ccf73d23edd8702eb603cc2e498
langchain-openai==1.7.4 --hash=sha256:8fd90e41588526d990f32262447adf8e130d7ce28ed66cefa315e64cc9dd12ce
"""
WIRES = {wire.name: wire for wire in PROTOCOLS}
PATHS = {"chat": b"/v1/chat/completions", "responses": b"/v1/responses", "messages": b"/v1/messages"}
#: Tools that the provider runs itself, as the recorded requests offer them.
REACHING = re.compile(
    r'"type": ?"(?:web_search|web_fetch|code_execution|code_interpreter|mcp|file_search|image_generation|'
    r'tool_search_tool)[a-z0-9_]*"|"type": ?"tool_search"(?!, "execution": "client")'
)


@dataclass(frozen=True)
class Recorded:
    """One exchange with a provider."""

    wire: str
    request: bytes
    answer: bytes

    @property
    def streamed(self) -> bool:
        return self.answer.lstrip().startswith((b"event:", b"data:"))

    def listen(self, credential: str | None = None) -> AnswerStream:
        return AnswerStream(Scrubber(credential), WIRES[self.wire].listener(Reading({}, True, ())))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recorded, ...]:
    """Every exchange that the packages hold; the download is shared by the test processes."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder) / "recorded-streams"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            (folder / "requirements.txt").write_text(PACKAGES)
            only = "langchain-anthropic,langchain-openai"  # not what builds their metadata
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", only,
                       "--require-hashes", "-r", "requirements.txt", "-d", "."]  # fmt: skip
            fetched = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
            (folder / "done").write_text(fetched.stderr.strip()[-300:] if fetched.returncode else "")
        failed = (folder / "done").read_text()
    if failed:
        pytest.skip(f"the registry did not give the packages: {failed}")
    return _read(tuple(sorted(folder.glob("*.tar.gz"))))


@cache
def _read(packages: tuple[Path, ...]) -> tuple[Recorded, ...]:
    found = []
    for package in packages:
        with tarfile.open(package) as tar:
            for member in tar:
                if re.search(r"/tests/cassettes/.*\.yaml\.gz$", member.name):
                    content = tar.extractfile(member)
                    assert content is not None
                    found += _exchanges(gzip.decompress(content.read()), "anthropic" in package.name)
    return tuple(found)


def _exchanges(cassette: bytes, anthropic: bool) -> list[Recorded]:
    tape = YAML(typ="safe").load(io.BytesIO(cassette))
    found = []
    for asked, answered in zip(tape["requests"], tape["responses"], strict=True):
        request, answer = _bytes(asked["body"]), _bytes(answered["body"]["string"])
        fields: Any = json.loads(request) if request.startswith(b"{") else {}
        talk = isinstance(fields.get("messages"), list) or isinstance(fields.get("input"), list)
        if talk and answered["status"]["code"] == 200 and b'"embedding"' not in answer:
            wire = "messages" if anthropic else "chat" if "messages" in fields else "responses"
            found.append(Recorded(wire, request, answer))
    return found


def _bytes(value: str | bytes | None) -> bytes:
    content = value.encode() if isinstance(value, str) else value or b""
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def cut(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


def through(stream: AnswerStream, pieces: list[bytes]) -> bytes:
    sent = b"".join(map(stream.feed, pieces))
    assert stream.complete, stream.end()
    return sent + stream.held


def last_usage(answer: bytes) -> dict[str, Any]:
    """The last usage that stands in a stream, found without any parser of the gateway."""
    values = [json.loads(line[5:]) for line in answer.splitlines() if line.startswith(b"data:") and b"{" in line]
    found: dict[str, Any] = {}
    for value in values:
        usage = value.get("usage") or (value.get("response") or value.get("message") or {}).get("usage")
        found |= usage or {}
    return found


# Not whole: one recording of a stream to another provider's client holds an answer of another protocol.
def streams_of(recorded: tuple[Recorded, ...]) -> list[Recorded]:
    return [one for one in recorded if one.streamed and not (one.wire == "chat" and b"response.created" in one.answer)]


def test_the_recordings_hold_three_protocols(recorded: tuple[Recorded, ...]) -> None:
    assert {one.wire for one in streams_of(recorded)} == {"chat", "responses", "messages"}
    assert len(streams_of(recorded)) > 50


def test_every_recorded_stream_passes_whole_however_it_is_cut(recorded: tuple[Recorded, ...]) -> None:
    for one in streams_of(recorded):
        for size in (len(one.answer), 1021, 97, 7):
            assert through(one.listen(), cut(one.answer, size)) == one.answer


def test_every_recorded_stream_is_incomplete_when_its_end_is_missing(recorded: tuple[Recorded, ...]) -> None:
    for one in streams_of(recorded):
        end = one.answer.rstrip().rfind(b"\n\n")
        stream = one.listen()
        stream.feed(one.answer[: end + 2])
        fault = stream.end()
        assert fault is not None
        assert fault.code == "upstream_truncated"


def test_every_recorded_usage_is_counted(recorded: tuple[Recorded, ...]) -> None:
    for one in streams_of(recorded):
        stream = one.listen()
        through(stream, [one.answer])
        said = last_usage(one.answer)
        if not said:
            continue  # it was not asked for
        assert stream.usage is not None
        assert stream.usage.output_tokens == said.get("output_tokens", said.get("completion_tokens"))
        cached = said.get("cache_read_input_tokens", 0) + said.get("cache_creation_input_tokens", 0)
        assert stream.usage.input_tokens == said.get("input_tokens", said.get("prompt_tokens")) + cached


def test_a_recorded_stream_is_told_in_another_protocol_and_that_ones_listener_takes_it(
    recorded: tuple[Recorded, ...],
) -> None:
    told, refused = 0, 0
    for one in streams_of(recorded):
        for agent in (agent for agent, model in TRANSLATIONS if model == one.wire):
            reading = Reading({}, True, ())
            streams = [
                AnswerStream(Scrubber(None), Translated(TRANSLATIONS[agent, one.wire], reading).listener(reading))
                for _ in range(2)
            ]
            got = [_told(streams[0], [one.answer]), _told(streams[1], cut(one.answer, 61))]
            assert got[0] == got[1]
            if got[0] is None:
                assert streams[0].fault is not None and streams[0].fault.code == "upstream_not_translated"
                refused += 1
                continue
            judged = AnswerStream(Scrubber(None), WIRES[agent].listener(reading))
            judged.feed(got[0])
            assert judged.complete, judged.end()
            if streams[0].usage is not None:
                assert judged.usage is not None
                assert judged.usage.output_tokens == streams[0].usage.output_tokens
                assert judged.usage.input_tokens == streams[0].usage.input_tokens
            told += 1
    # Those that are refused hold what providers do themselves, which no agent here could have asked for.
    assert (told > 12, refused < told) == (True, True), (told, refused)


def _told(stream: AnswerStream, pieces: list[bytes]) -> bytes | None:
    """The stream in the agent's protocol; None when it cannot be told."""
    passed = b"".join(map(stream.feed, pieces))
    return passed + stream.held if stream.complete and stream.fault is None else None


def test_recorded_requests_are_carried_over_or_refused_by_name(recorded: tuple[Recorded, ...]) -> None:
    carried_over = 0
    for one in recorded:
        model = json.loads(one.request)["model"]
        asked = check_body(one.request, Head(b"POST", PATHS[one.wire], b"1.1", ()), model)
        for other in (other for wire, other in TRANSLATIONS if wire == one.wire):
            if isinstance(asked, Refusal):
                continue
            sent = asked.by(TRANSLATIONS[one.wire, other])
            if isinstance(sent, Refusal):
                assert (sent.code, sent.deny.rule) == ("not_translated", "gateway.translate")
                continue
            assert json.loads(sent.body)["model"] == model
            assert (sent.wire.name, sent.wire.asked_in, sent.stream) == (one.wire, other, asked.stream)
            carried_over += 1
    assert carried_over > 60, carried_over


def test_a_credential_in_a_recorded_stream_never_comes_out(recorded: tuple[Recorded, ...]) -> None:
    """Redacted when it stands in one event, the stream broken when it is spread over several, for every cut alike."""
    redacted, broken = 0, 0
    for one in streams_of(recorded):
        texts = re.findall(rb'"(?:delta|text|partial_json|content)": ?"([^"\\]*[ :,][^"\\]{7,60})"', one.answer)
        if not texts:
            continue
        credential = max(texts, key=len).decode()
        (got,) = {_handed_on(one, credential, size) for size in (len(one.answer), 61, 5)}
        assert credential.encode() not in got
        redacted += b"[redacted]" in got
        broken += got.endswith(b"credential_reflected")
    assert (redacted > 10, broken > 10) == (True, True)


def _handed_on(one: Recorded, credential: str, size: int) -> bytes:
    """What an agent gets of a stream, or what it got until the stream was broken off and why."""
    stream = one.listen(credential)
    sent = b""
    for piece in cut(one.answer, size):
        passed = stream.feed(piece)
        if stream.fault is not None:
            # Of the last piece nothing goes on; before it, only whole events did.
            return stream.fault.code.encode()
        sent += passed
    assert stream.complete
    return sent + stream.held


def test_recorded_requests_pass_unless_they_reach_out(recorded: tuple[Recorded, ...]) -> None:
    passed, refused = 0, 0
    for one in recorded:
        fields = json.loads(one.request)
        judged = check_body(one.request, Head(b"POST", PATHS[one.wire], b"1.1", ()), fields["model"])
        if REACHING.search(json.dumps(fields)):
            assert isinstance(judged, Refusal)
            assert judged.code in ("tool_not_allowed", "content_not_allowed", "field_not_allowed")
            refused += 1
        elif not isinstance(judged, Refusal):
            sent = json.loads(judged.body)
            kept = {
                name: value
                for name, value in fields.items()
                if name in sent and name not in ("store", "stream_options")
            }
            assert {name: sent[name] for name in kept} == kept
            passed += 1
        else:
            assert b"http" in one.request or b"file_id" in one.request, judged
    assert (passed > 100, refused > 20) == (True, True)
