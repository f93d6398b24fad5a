"""The demo's story is true: what its recording does to its sample repository, checked by the real tools.

The built-in agent plays the recording as a real process; only the sandbox around it is missing here.
"""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ringfence.adapters.agents.builtin import BuiltinAgent
from ringfence.adapters.model_providers.replay.provider import ReplayProvider
from ringfence.adapters.trackers.folder import FolderTracker
from ringfence.demo_content import boundary_text, text, write_tree
from ringfence.ports.agent import AgentReport, AgentTask
from ringfence.ports.model_provider import ProviderRequest

CHECKS = {"lint": ("ruff", "check", "."), "types": ("mypy", "src"), "test": ("pytest", "-q")}
#: What pip says when it found no index, or one that lacks what it was asked for.
UNREACHABLE = ("Could not find a version", "No matching distribution", "Connection", "Could not fetch", "Network")
GIT = ("git", "-c", "user.name=Test", "-c", "user.email=test@example.internal", "-c", "init.defaultBranch=main")


class Recording(BaseHTTPRequestHandler):
    """The replay provider behind the smallest possible door."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, kind, content = asyncio.run(self.answer(body))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(content)

    async def answer(self, body: bytes) -> tuple[int, str, bytes]:
        fields = json.loads(body)
        request = ProviderRequest("chat", fields["model"], bool(fields.get("stream")), (), body)
        async with self.server.provider.ask(request) as answer:  # type: ignore[attr-defined]
            pieces = [piece async for piece in answer.pieces()]
            return answer.status, answer.content_type, b"".join(pieces)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def door() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Recording)
    server.provider = ReplayProvider(text("replay.json").encode(), where="replay.json")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Story:
    """The sample repository on disk, and the tools of this environment."""

    place: Path

    @property
    def tree(self) -> Path:
        return self.place / "inventory"

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return {
            "PATH": path,
            "HOME": str(self.place),
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(self.tree / ".packages"),
            "PIP_NO_INDEX": "1",
        }

    def do(self, *argv: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            argv, cwd=self.tree, env=self.environment, capture_output=True, text=True, check=check, timeout=120
        )

    def keep(self, message: str) -> None:
        self.do(*GIT, "add", "-A")
        self.do(*GIT, "commit", "-q", "-m", message)

    def failing(self) -> list[str]:
        return [
            name for name, argv in CHECKS.items() if self.do(sys.executable, "-m", *argv, check=False).returncode != 0
        ]

    def attempt(self, url: str, brief: str) -> AgentReport:
        launch = BuiltinAgent().launch(AgentTask(brief, "recorded-demo", url, 30, 120.0))
        argv = list(launch.argv)
        for path, content in launch.files.items():
            (self.place / Path(path).name).write_bytes(content)
            argv = [word.replace(path, str(self.place / Path(path).name)) for word in argv]
        done = subprocess.run(argv, cwd=self.tree, env=self.environment, capture_output=True, check=False, timeout=150)
        return BuiltinAgent().report(done.stdout)


def install(tree: Path) -> None:
    """The sample's dependency as the boundary's set-up installs it, by this machine's own pip."""
    pip = (sys.executable, "-m", "pip", "install", "-q", "--only-binary", ":all:", "--require-hashes")
    done = subprocess.run(
        (*pip, "--target", ".packages", "-r", "requirements.txt"),
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    if any(sign in done.stderr for sign in UNREACHABLE):
        pytest.skip(f"no package index has the sample's dependency: {done.stderr.strip().splitlines()[-1][:200]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def story(tmp_path: Path) -> Story:
    found = Story(tmp_path)
    write_tree("inventory", found.tree)
    install(found.tree)
    found.do(*GIT, "init", "-q")
    found.keep("base")
    return found


FIRST = "# Brief, attempt 1\n\n## Ticket INV-7\n"
SECOND = "# Brief, attempt 2\n\n## Ticket INV-7\n\n## Repair: attempt 1 did not pass the check types (exit code 1)\n"


def test_the_first_attempt_breaks_the_types_and_the_second_mends_them(story: Story) -> None:
    assert story.failing() == ["test"], "the base commit holds the reported bug and nothing else"
    with door() as url:
        assert story.attempt(url, FIRST).outcome == "finished"
        assert story.failing() == ["types"]
        assert story.do("git", "status", "--short").stdout == " M src/inventory/reorder.py\n"
        story.keep("attempt 1")
        assert story.attempt(url, SECOND).outcome == "finished"
    assert story.failing() == []
    changed = story.do("git", "diff", "--stat", "HEAD~1").stdout
    assert "src/inventory/reorder.py" in changed and "tests/test_reorder.py" in changed
    assert "test_half_a_case_is_ordered_whole" in story.do("git", "diff").stdout


def test_the_recording_is_not_played_for_another_ticket(story: Story) -> None:
    with door() as url:
        report = story.attempt(url, FIRST.replace("INV-7", "INV-9"))
    assert report.outcome == "crashed"
    assert "no conversation for this brief" in report.message


def test_the_sample_tickets_are_one_of_each_kind(tmp_path: Path) -> None:
    write_tree("tickets", tmp_path)
    tickets = FolderTracker(tmp_path).approved()
    assert [(ticket.id, ticket.type, ticket.stage) for ticket in tickets] == [
        ("INV-7", "bug", None),
        ("INV-8", "rewrite", None),
        ("INV-9", "task", "observe"),
    ]


def test_every_placeholder_of_the_boundary_must_be_given() -> None:
    paths = {"location": "/srv/ringfence", "toolchain": "/srv/toolchain", "replay": "/srv/replay.json"}
    values = {**paths, "registry": "[]", "packages": "{}"}
    filled = boundary_text(**values)
    assert "{{" not in filled and all(f'"{value}"' in filled for value in paths.values())
    with pytest.raises(KeyError, match="replay"):
        boundary_text(**{name: value for name, value in values.items() if name != "replay"})
    with pytest.raises(KeyError, match="no placeholder colour"):
        boundary_text(**values, colour="red")


def test_the_package_carries_the_whole_sample() -> None:
    """Files that the wheel would leave out: everything here ends in .txt, which package data must include."""
    import ringfence.demo_content

    place = Path(ringfence.demo_content.__file__).parent
    names = [path.name for path in place.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert [name for name in names if not name.endswith(".txt")] == ["__init__.py"]
    assert not [name for name in names if name.startswith(".")]
    json.loads(text("replay.json"))
