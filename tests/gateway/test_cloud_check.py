"""From the boundary to a cloud and back: `ringfence models check` against strict servers, with all that is between."""

import json
import socket
from typing import Any

import pytest
from cloud_upstream import ACCESS, HIDDEN, Google, bedrock, chunk, frames
from model_upstream import Behaviour, Seen, answer, stream, upstream
from speakers import MESSAGES, data, event

from worksite import REPOSITORY, SECRETS, Worksite

CALL = (
    MESSAGES.opening[0],
    event(
        type="content_block_start", index=0,
        content_block={"type": "tool_use", "id": "t1", "name": "report_ready", "input": {}},
    ),
    event(type="content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"word": "ready"}'}),
    *MESSAGES.closing,
)  # fmt: skip
_FUNCTION = {"index": 0, "id": "t1", "type": "function", "function": {"name": "report_ready", "arguments": "{}"}}
CHAT_CALL = (
    data({"choices": [{"index": 0, "delta": {"tool_calls": [_FUNCTION]}, "finish_reason": None}]}),
    data({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
    b"data: [DONE]\n\n",
)


def azure(sock: socket.socket, seen: Seen) -> bool:
    path = "/openai/deployments/some-model/chat/completions?api-version=2024-10-21"
    known = seen.line == f"POST {path} HTTP/1.1" and seen.headers.get("api-key") == "azure-key-00000001"
    return (stream(*CHAT_CALL) if known else answer(b"{}", status=404))(sock, seen)


def cloud(kind: str) -> Behaviour:
    match kind:
        case "azure":
            return azure
        case "bedrock":
            return bedrock(frames(*map(chunk, CALL)))
        case _:
            return Google(stream(*CALL))


def credential(upstream_of: Behaviour, port: int) -> str:
    if isinstance(upstream_of, Google):
        return json.dumps(json.loads(upstream_of.account(port)), indent=2)  # as Google writes it
    if upstream_of is azure:
        return "azure-key-00000001"
    return json.dumps({"Version": 1, "AccessKeyId": ACCESS, "SecretAccessKey": HIDDEN})


ROUTES: dict[str, dict[str, Any]] = {
    "azure": {"endpoint": "/openai", "api_version": "2024-10-21"},
    "bedrock": {"endpoint": "", "region": "eu-west-1"},
    "vertex": {
        "endpoint": "/v1/projects/acme/locations/europe-west1", "region": "europe-west1", "protocols": ["messages"],
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", ROUTES)
def test_a_route_to_a_cloud_is_ready_when_the_cloud_answers(site: Worksite, kind: str) -> None:
    there = cloud(kind)
    with upstream(there) as up:
        key = site.root / "secrets" / "model"
        key.touch(mode=0o600)
        key.write_text(credential(there, up.port) + "\n")
        site.settings_path.write_text(site.settings_path.read_text() + '[secrets.model-key]\nfile = "secrets/model"\n')
        fields = ROUTES[kind]
        route = {
            "name": kind, "provider": kind, **fields, "endpoint": f"http://127.0.0.1:{up.port}{fields['endpoint']}",
            "models": ["some-model"], "credential": "model-key", "repositories": [REPOSITORY],
            "data_classes": ["internal"], "prompts_logged": "nowhere", "outputs_logged": "nowhere",
            "retention": "disabled", "internal": True,
        }  # fmt: skip
        secrets = [*SECRETS, {"name": "model-key", "purpose": "model"}]
        site.boundary({"models.routes": [route], "models.default": f"{kind}/some-model", "secrets": secrets})
        done = site.ringfence("models", "check", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(done.stdout)["routes"]
    assert (row["provider"], row["ready"], row["tool_called"], row["code"]) == (kind, True, True, "")
    secret = HIDDEN if kind == "bedrock" else "PRIVATE KEY" if kind == "vertex" else "azure-key-00000001"
    assert [name for name, content in site.kept() if secret.encode() in content] == []
