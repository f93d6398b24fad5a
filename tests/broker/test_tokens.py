"""Minting: a host that gives something else than was asked for gets it back."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest

from ringfence.adapters.token_minters.local import LocalTokenMinter
from ringfence.domain.errors import HostFailed
from ringfence.ports.broker import Secret
from ringfence.ports.token_minter import Wanted
from worksite import REPOSITORY


class Liar(BaseHTTPRequestHandler):
    """A host whose tokens are not what was asked for."""

    change: ClassVar[Callable[[dict[str, Any]], None]]
    asked: ClassVar[list[str]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = {
            "token": "rfm_" + "0" * 64,
            "expires_at": "2099-01-01T00:00:00Z",
            "permissions": body["permissions"],
            "branch_prefixes": [body["branch_prefix"]] if "branch_prefix" in body else [],
            "repositories": [{"full_name": name} for name in body["repositories"]],
        }
        type(self).change(found)
        self.answer(201, found)

    def do_DELETE(self) -> None:
        type(self).asked.append(self.path)
        self.answer(200, {"active": False})

    def answer(self, status: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response_only(status)
        self.send_header("Date", "Thu, 01 Jan 2099 00:00:00 GMT" if status == 200 else "Wed, 31 Dec 2098 23:55:00 GMT")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_words: object) -> None:
        """Quiet."""


@contextmanager
def lying(change: Callable[[dict[str, Any]], None]) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    kind = type("OneLiar", (Liar,), {"change": staticmethod(change), "asked": asked})
    with HTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


WANTED = Wanted("publish-0123", REPOSITORY, "ringfence/", 300)


def test_a_token_as_asked_for_is_taken_by_the_hosts_clock() -> None:
    with lying(lambda found: None) as (url, asked):
        token = LocalTokenMinter(url).mint(Secret("key"), WANTED)
    assert token.seconds == 300
    assert asked == []


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.update(expires_at="2099-01-01T00:01:00Z"),
        lambda found: found.update(expires_at="2098-12-31T23:54:00Z"),
        lambda found: found.update(expires_at="soon"),
        lambda found: found.update(permissions={"contents": "write", "administration": "write"}),
        lambda found: found.update(branch_prefixes=[""]),
        lambda found: found.update(branch_prefixes=["ringfence/", "main"]),
        lambda found: found["repositories"].append({"full_name": "acme/other"}),
        lambda found: found.update(repositories=[]),
        lambda found: found.pop("token"),
        lambda found: found.clear(),
    ],
)
def test_a_token_that_is_broader_or_longer_than_asked_is_revoked_unused(
    change: Callable[[dict[str, Any]], None],
) -> None:
    with lying(change) as (url, asked), pytest.raises(HostFailed, match="another token"):
        LocalTokenMinter(url).mint(Secret("key"), WANTED)
    assert asked == ["/app/installations/self/access_tokens/publish-0123"]
