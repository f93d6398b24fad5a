"""A real local code host for tests: a server process on loopback, repositories, tokens, and git with credentials.

Credentials reach git through a pipe that its credential helper reads; they stand in no argument.
"""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from ringfence.ports.broker import Grant, Secret
from ringfence.web.host.creation import NewPrincipal, create_host, create_principal, create_repository
from ringfence.web.host.git.policy import RepositoryPolicy
from ringfence.web.host.principals import Permission

FILES = {
    "README.md": "# Inventory\n",
    "src/stock.py": "def total(counts):\n    return sum(counts)\n",
    ".github/workflows/ci.yml": "on: push\n",
    "CODEOWNERS": "* @alice\n",
    "docs/old.md": "old\n",
}
_numbers = itertools.count(1)


@dataclass
class Server:
    """A host's server process."""

    root: Path
    process: "subprocess.Popen[str] | None" = None
    url: str = ""

    def start(self, port: int = 0) -> None:
        command = [sys.executable, "-m", "ringfence.web.host", str(self.root), str(port)]
        log = (self.root / "server.log").open("a")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        log.close()
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, (self.root / "server.log").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(number)
        self.process.stdout.close()
        return self.process.wait(20)

    def restart(self, number: int = signal.SIGKILL) -> None:
        """End it and start it again at the same address."""
        port = int(self.url.rsplit(":", 1)[1])
        self.stop(number)
        self.start(port)


@dataclass
class Hosted:
    """One repository on a server, with tokens: workers reader and writer, reviewers alice and bob, carol a stranger."""

    server: Server
    repository: str
    tokens: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def root(self) -> Path:
        return self.server.root

    @property
    def bare(self) -> Path:
        return self.root / "repositories" / f"{self.repository}.git"

    @property
    def git_url(self) -> str:
        return f"{self.url}/{self.repository}.git"

    def add(self, role: str, kind: str, permission: Permission | None, expires: float | None = None) -> str:
        self.names[role] = f"{role}-{self.repository.split('/')[1]}"
        permissions = {self.repository: permission} if permission else {}
        wanted = NewPrincipal(self.names[role], kind, permissions, expires)  # type: ignore[arg-type]
        self.tokens[role] = create_principal(self.root, wanted)
        return self.tokens[role]

    def grant(self, role: str, purpose: str = "publish") -> Grant:
        return Grant("g1", purpose, self.repository, self.names[role], Secret(self.tokens[role]))

    def git(self, where: Path, *argv: str, by: str | None = None, config: tuple[str, ...] = ()) -> str:
        """Run git and give its output. Errors: CalledProcessError, whose `stderr` says what the host said."""
        return run_git(where, *argv, token=self.tokens[by] if by else None, config=config).stdout.strip()

    def clone(self, where: Path) -> Path:
        """A clone from the host's directory, which is quicker than over HTTP and is not what is tested."""
        self.git(where.parent, "clone", "-q", str(self.bare), str(where))
        return where

    def push(self, where: Path, *refspecs: str, by: str = "writer") -> "subprocess.CompletedProcess[str]":
        return run_git(where, "push", self.git_url, *refspecs, token=self.tokens[by], check=False)

    def branch(self, where: Path, name: str, files: Mapping[str, str | None], message: str = "Change it") -> str:
        """A commit on a new branch of a clone, from the host's main; None removes a file. Gives the commit."""
        self.git(where, "checkout", "-q", "-B", name, "origin/main")
        return self.commit(where, files, message)

    def commit(self, where: Path, files: Mapping[str, str | None], message: str = "Change it") -> str:
        for path, text in files.items():
            (where / path).parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                (where / path).unlink()
            else:
                (where / path).write_text(text)
        self.git(where, "add", "-A")
        self.git(where, "commit", "-q", "-m", message)
        return self.git(where, "rev-parse", "HEAD")

    def api(self, method: str, path: str, by: str | None = None, json: Any = None, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.tokens[by]}"} if by else {}
        headers |= more.pop("headers", {})
        # Plain HTTP on loopback: without `verify=False` each client would read the machine's certificates first.
        with httpx2.Client(base_url=self.url, trust_env=False, verify=False, timeout=30) as client:
            return client.request(method, path, headers=headers, json=json, **more)

    def propose(self, where: Path, name: str = "ringfence/T-1", **body: Any) -> dict[str, Any]:
        """Push a small change and open a pull request of it."""
        if not body.pop("pushed", False):
            self.branch(where, name, {"src/stock.py": f"def total(counts):\n    return sum(counts) + {len(name)}\n"})
            assert self.push(where, f"HEAD:refs/heads/{name}").returncode == 0
        asked = {"title": "Fix the total", "head": name, "base": "main", "body": "Because.", "draft": False, **body}
        answer = self.api("POST", f"/repos/{self.repository}/pulls", "writer", asked)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def tip(self, branch: str = "main") -> str:
        return run_git(self.bare, "rev-parse", f"refs/heads/{branch}").stdout.strip()


def run_git(
    where: Path,
    *argv: str,
    token: str | None = None,
    config: tuple[str, ...] = (),
    check: bool = True,
    trace: bool = False,
) -> "subprocess.CompletedProcess[str]":
    """Git with nothing of this machine's configuration; a token goes in by a pipe."""
    settings = ["user.name=Worker", "user.email=worker@example.internal", "init.defaultBranch=main", *config]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
    }
    if trace:
        environment |= {"GIT_TRACE_CURL": "1"}
    descriptors: tuple[int, ...] = ()
    if token is not None:
        reading, writing = os.pipe()
        os.write(writing, f"username=x\npassword={token}\n".encode())
        os.close(writing)
        descriptors = (reading,)
        settings.append(f'credential.helper=!f() {{ test "$1" = get && cat /dev/fd/{reading}; }}; f')
    try:
        return subprocess.run(
            ["git", *(word for setting in settings for word in ("-c", setting)), *argv],
            cwd=where,
            env=environment,
            pass_fds=descriptors,
            capture_output=True,
            text=True,
            check=check,
            timeout=120,
        )
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@contextmanager
def running_server(root: Path) -> Iterator[Server]:
    """A server over a fresh root, ended with the block."""
    create_host(root)
    server = Server(root)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


def hosted(server: Server, source: Path, **policy: Any) -> Hosted:
    """A fresh repository with all its principals."""
    for path, text in FILES.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)
    found = Hosted(server, f"demo/inventory{next(_numbers)}")
    rules = {"protected_branches": ("main", "release/*"), **policy}
    create_repository(server.root, found.repository, policy=RepositoryPolicy(**rules), from_directory=source)
    found.add("reader", "worker", Permission())
    found.add("writer", "worker", Permission(write_prefix="ringfence/"))
    found.add("alice", "human", Permission(review=True))
    found.add("bob", "human", Permission(review=True))
    found.add("carol", "human", None)
    return found
