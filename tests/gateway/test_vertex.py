"""Vertex AI through a real gateway: tokens for signed statements and for a workload's own."""

import json
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from agent_side import Agent, Start, route
from cloud_upstream import Google
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from model_upstream import Seen, Upstream, answer, either, stream, upstream
from speakers import GEMINI, MESSAGES, Speaker

from ringfence.domain.errors import InputError
from ringfence.ports.broker import Secret

BASE = "/v1/projects/acme/locations/europe-west1"
MODELS = {"gemini": "m", "messages": "claude-sonnet-4@20250514"}
each = pytest.mark.parametrize("speaker", (GEMINI, MESSAGES), ids=lambda speaker: speaker.name)


@cache
def key(number: int) -> rsa.RSAPrivateKey:
    """Keys are slow to make."""
    return rsa.generate_private_key(65537, 2048)


def google(speaker: Speaker = GEMINI, text: str = "Hello", **fields: Any) -> Google:
    def speak(sock: Any, seen: Seen) -> bool:
        if "tream" in seen.line.split(":")[-1]:
            return stream(*speaker.opening, speaker.text(text), *speaker.closing)(sock, seen)
        return answer(json.dumps(speaker.whole(text)).encode())(sock, seen)

    return Google(speak, key=key(1), **fields)


def door(start: Start, up: Upstream, credential: str, speaker: Speaker = GEMINI, **policy: Any) -> Agent:
    config = route(
        f"http://127.0.0.1:{up.port}{BASE}", provider="vertex", models=(MODELS[speaker.name],),
        credential=Secret(credential), protocols=(speaker.name,),
    )  # fmt: skip
    return start(config, model=MODELS[speaker.name], **policy)


def ask(agent: Agent, speaker: Speaker = GEMINI, **more: Any) -> Any:
    return speaker.ask(agent, **({} if speaker is GEMINI else {"model": MODELS[speaker.name]}), **more)


@pytest.mark.parametrize("streamed", (False, True), ids=("whole", "streamed"))
@each
def test_a_service_account_asks_for_a_token_and_then_the_model(start: Start, speaker: Speaker, streamed: bool) -> None:
    cloud = google(speaker)
    with upstream(cloud) as up:
        agent = door(start, up, cloud.account(up.port), speaker)
        got = ask(agent, speaker, stream=streamed, headers={"anthropic-version": "2023-06-01", "anthropic-beta": "b1"})
    assert (got.status, got.complete, speaker.written(got.body)) == (200, True, "Hello")
    assert [seen.line.split()[1] for seen in up.seen] == ["/token", _place(speaker, streamed)]
    (token,) = cloud.issued
    asked = up.seen[1]
    assert asked.headers["authorization"] == f"Bearer {token}"
    sent = json.loads(asked.body)
    if speaker is MESSAGES:
        assert (sent.pop("anthropic_version"), sent.pop("stream", False)) == ("vertex-2023-10-16", streamed)
        assert (asked.headers.get("anthropic-beta"), asked.headers.get("anthropic-version")) == ("b1", None)
        assert sent == {"max_tokens": 900, "messages": [{"role": "user", "content": "hi"}]}
    else:
        assert sent == speaker.body("hi")
    assert agent.records.only.provider == "vertex"


def _place(speaker: Speaker, streamed: bool) -> str:
    if speaker is GEMINI:
        return f"{BASE}/publishers/google/models/m:" + (
            "streamGenerateContent?alt=sse" if streamed else "generateContent"
        )
    method = "streamRawPredict" if streamed else "rawPredict"
    return f"{BASE}/publishers/anthropic/models/claude-sonnet-4@20250514:{method}"


def test_a_token_is_kept_and_shared_until_shortly_before_its_end(start: Start) -> None:
    cloud = google()
    with upstream(cloud) as up, ThreadPoolExecutor(8) as pool:
        agent = door(start, up, cloud.account(up.port))
        assert {got.status for got in pool.map(lambda _: ask(agent), range(8))} == {200}
        assert ask(agent).status == 200
    assert len(cloud.issued) == 1


def test_a_token_that_is_about_to_end_is_not_used_again(start: Start) -> None:
    cloud = google(lives=119)
    with upstream(cloud) as up:
        agent = door(start, up, cloud.account(up.port))
        assert [ask(agent).status, ask(agent).status] == [200, 200]
    assert len(cloud.issued) == 2


def test_a_token_that_was_refused_is_not_used_again(start: Start) -> None:
    cloud = google()
    with upstream(cloud) as up:
        agent = door(start, up, cloud.account(up.port))
        assert ask(agent).status == 200
        cloud.revoked.update(cloud.issued)
        assert ask(agent).status == 403
        assert agent.door.denied() == "provider_refused"  # final for this run; the next one has a new token
        other = door(start, up, cloud.account(up.port))
        assert ask(other).status == 200


def test_a_statement_of_another_key_gets_no_token_and_no_model(start: Start) -> None:
    cloud = google()
    other = Google(either, key=key(2))
    with upstream(cloud) as up:
        agent = door(start, up, other.account(up.port))
        got = ask(agent)
    assert got.status == 502
    assert cloud.issued == []
    assert {seen.line.split()[1] for seen in up.seen} == {"/token"}
    assert {call.reason for call in agent.records.of("ended")} == {"upstream_unreachable"}


@pytest.mark.parametrize(
    "said",
    [
        b"", b"[]", b"<html>", b'{"access_token":"a b c d e f g h i j","expires_in":3600,"token_type":"Bearer"}',
        b'{"access_token":"0123456789abcdef0123","expires_in":3600,"token_type":"mac"}',
        b'{"access_token":"0123456789abcdef0123","token_type":"Bearer"}', b" " * 70_000,
    ],
    ids=range(7),
)  # fmt: skip
def test_an_answer_that_is_no_token_is_not_used_as_one(start: Start, said: bytes) -> None:
    with upstream(answer(said)) as up:
        agent = door(start, up, google().account(up.port))
        got = ask(agent)
    assert got.status == 502
    assert {seen.line.split()[1] for seen in up.seen} == {"/token"}


def test_a_token_that_comes_back_is_taken_out(start: Start) -> None:
    token = "ya29.given-token-00000000"
    cloud = google(text=f"it is {token}.")
    with upstream(cloud) as up:
        agent = door(start, up, cloud.account(up.port))
        got = [ask(agent), ask(agent, stream=True)]
    assert cloud.issued == [token]
    assert [one.status for one in got] == [200, 200]
    assert all(token.encode() not in one.body and b"[redacted]" in one.body for one in got)
    assert all(token.encode() not in call.response for call in agent.records.calls)


@pytest.fixture
def subject() -> Iterator[Path]:
    """A file that the gateway's user can read, as a platform would make it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "subject"
        path.touch(mode=0o644)
        yield path


def test_a_workload_exchanges_its_own_token_each_time_as_it_is_then(start: Start, subject: Path) -> None:
    cloud = google(lives=119)
    subject.write_text(f"{cloud.subject}\n")
    with upstream(cloud) as up:
        agent = door(start, up, cloud.workload(up.port, str(subject)))
        assert ask(agent).status == 200
        cloud.subject = "platform-token-00000002"
        subject.write_text(cloud.subject)
        assert ask(agent).status == 200
    assert cloud.wrong == []
    assert [seen.line.split()[1] for seen in up.seen].count("/sts") == 2


def test_a_workload_may_act_for_a_service_account(start: Start, subject: Path) -> None:
    cloud = google()
    subject.write_text(json.dumps({"token": cloud.subject}))
    source = {"file": str(subject), "format": {"type": "json", "subject_token_field_name": "token"}}
    with upstream(cloud) as up:
        acting = f"http://127.0.0.1:{up.port}/act"
        credential = cloud.workload(
            up.port, str(subject), credential_source=source, service_account_impersonation_url=acting
        )
        agent = door(start, up, credential)
        assert [ask(agent).status, ask(agent).status] == [200, 200]
    assert [seen.line.split()[1] for seen in up.seen[:2]] == ["/sts", "/act"]
    assert {seen.headers["authorization"] for seen in up.seen[2:]} == {f"Bearer {cloud.issued[1]}"}
    assert json.loads(up.seen[1].body)["lifetime"] == "3600s"


def test_a_token_of_another_workload_gets_no_model(start: Start, subject: Path) -> None:
    cloud = google()
    subject.write_text("platform-token-99999999")
    with upstream(cloud) as up:
        agent = door(start, up, cloud.workload(up.port, str(subject)))
        assert ask(agent).status == 502
    assert cloud.issued == []


EC = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
UNUSABLE = {
    "no JSON": "-----BEGIN", "no object": "[]", "another kind": '{"type": "authorized_user"}',
    "no key": '{"type": "service_account", "client_email": "a"}',
    "a key of another kind": json.dumps({"type": "service_account", "client_email": "a", "private_key": EC}),
    "an address to ask": '{"type": "external_account", "credential_source": {"url": "https://meta.example.internal"}}',
    "a program to run": '{"type": "external_account", "credential_source": {"executable": {"command": "/bin/id"}}}',
    "a file that is not there":
        '{"type": "external_account", "audience": "a", "subject_token_type": "b",'
        ' "token_url": "https://sts.example.internal", "credential_source": {"file": "/nonexistent/token"}}',
}  # fmt: skip


@pytest.mark.parametrize("why", UNUSABLE)
def test_a_credential_that_cannot_be_used_starts_no_gateway(start: Start, why: str) -> None:
    config = route(f"http://127.0.0.1:1{BASE}", provider="vertex", credential=Secret(UNUSABLE[why]))
    with pytest.raises(InputError, match="credential of a Vertex route") as failed:
        start(config)
    assert not re.search("BEGIN|MIG", str(failed.value))


def test_a_statement_does_not_cross_a_network_in_clear(start: Start) -> None:
    credential = google().account(1, token_uri="http://tokens.example.internal/token")
    config = route(f"http://127.0.0.1:1{BASE}", provider="vertex", credential=Secret(credential))
    with pytest.raises(InputError, match="in clear"):
        start(config)
