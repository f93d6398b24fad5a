"""A worker's whole surroundings in one directory, all real: code host, repository, tickets, boundary, replay.

The repository is small and its checks are quick. What the agent does is a list
of shell commands an attempt, played by the `replay` provider.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from ruamel.yaml import YAML

from hosting import Server, run_git, running_server
from ringfence.domain.events import Event
from ringfence.domain.run import RunView
from ringfence.settings import Settings, load
from ringfence.web.host.creation import NewPrincipal, create_principal, create_repository
from ringfence.web.host.git.policy import RepositoryPolicy
from ringfence.web.host.principals import Permission
from ringfence.wiring import reading
from waiting import until

TICKET = "T-1"
REPOSITORY = "acme/tiny"
TITLE = "The value is wrong"
BRANCH = f"ringfence/{TICKET}-the-value-is-wrong"
FILES = {
    "value.txt": "1\n",
    "check.sh": 'test "$(cat value.txt)" = 2 || { echo "value is $(cat value.txt), wanted 2"; exit 1; }\n',
    "AGENTS.md": "# For agents\n\nThe value stands in value.txt.\n",
}
#: The boundary's secrets: one that mints, and what it mints.
SECRETS: tuple[dict[str, Any], ...] = (
    {"name": "host-mint", "purpose": "mint"},
    {"name": "host-read", "purpose": "checkout", "repositories": [REPOSITORY], "kind": "minted", "minter": "host-mint"},
    {"name": "host-write", "purpose": "publish", "repositories": [REPOSITORY], "kind": "minted", "minter": "host-mint",
     "lifetime": "5m"},
)  # fmt: skip
#: What the two attempts of the story do: the first is wrong, the second right.
STORY = ("echo 3 > value.txt", "echo 2 > value.txt")
PROTECTED = (
    ".github/**", ".gitlab/**", ".gitlab-ci.yml", ".gitea/**", ".forgejo/**", ".circleci/**", ".buildkite/**",
    "azure-pipelines.yml", "bitbucket-pipelines.yml", "Jenkinsfile", "CODEOWNERS", ".gitmodules",
)  # fmt: skip


@dataclass
class Worksite:
    """Everything under `root`; the code host serves as long as the fixture lives."""

    root: Path
    server: Server
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    @property
    def settings_path(self) -> Path:
        return self.root / "ringfence.toml"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def settings(self) -> Settings:
        return load(self.settings_path)

    @property
    def host(self) -> Path:
        """The bare repository at the code host."""
        return self.server.root / "repositories" / f"{REPOSITORY}.git"

    def ticket(self, ticket: str = TICKET, *, title: str = TITLE, body: str = "Make it 2.", **fields: object) -> Path:
        """Write a ticket; `fields` replace those of its front matter."""
        front = {"id": ticket, "title": title, "type": "bug", "repository": REPOSITORY, "requester": "dana", **fields}
        path = self.root / "tickets" / f"{ticket}.md"
        path.write_text(f"---\n{json.dumps(front)[1:-1].replace(', ', chr(10))}\n---\n\n{body}\n")
        return path

    def story(self, *attempts: str) -> None:
        """What the agent does: one shell command an attempt, then it finishes."""
        conversations = [
            {
                "name": f"attempt {number}",
                "when": {"user": [f"# Brief, attempt {number}\n"]},
                "turns": [
                    {"calls": [{"name": "shell", "arguments": {"command": command}}]},
                    {"calls": [{"name": "finish", "arguments": {"summary": f"attempt {number}"}}]},
                ],
            }
            for number, command in enumerate(attempts, 1)
        ]
        script = {"version": 1, "conversations": conversations}
        (self.root / "replay.json").write_text(json.dumps(script))

    def boundary(self, changes: Mapping[str, Any] | None = None) -> Path:
        """Write the boundary; `changes` maps dotted keys (`limits.run.time`) to values."""
        document = _boundary(self.root)
        for dotted, value in (changes or {}).items():
            *parents, last = dotted.split(".")
            place = document
            for key in parents:
                place = place[int(key)] if isinstance(place, list) else place[key]
            place[last] = value
        path = self.root / "boundary.yaml"
        with path.open("w") as handle:
            YAML().dump(document, handle)
        return path

    def command(self, *argv: str) -> list[str]:
        return [sys.executable, "-m", "ringfence.cli.main", *argv]

    def ringfence(self, *argv: str, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            self.command(*argv), capture_output=True, text=True, timeout=timeout, env=self._environment(), check=False
        )

    def start(self, *argv: str) -> "subprocess.Popen[str]":
        """Start a command; the caller ends it, or the site when the test fails before."""
        with (self.root / "commands.log").open("a") as log:
            begun = subprocess.Popen(self.command(*argv), stdout=log, stderr=log, text=True, env=self._environment())
        self.started.append(begun)
        return begun

    def until_at_work(self, running: "subprocess.Popen[str]") -> None:
        """Wait until an agent works, or has worked, in a run that a command has started."""

        def at_work() -> bool:
            assert running.poll() is None, (self.root / "commands.log").read_text()[-3000:]
            return any(view.commit or view.stage == "work" for view in self.views())

        until(at_work)

    def run(self, ticket: str = TICKET) -> tuple[int, RunView]:
        """`ringfence run TICKET`; its exit code and what the log says of the newest run."""
        done = self.ringfence("run", ticket)
        views = self.views()
        assert views, done.stdout + done.stderr
        return done.returncode, views[0]

    def views(self) -> list[RunView]:
        """All runs, the newest first."""
        with reading(self.settings) as look:
            return [look.view(run) for run in look.runs()]

    def events(self, run: str) -> tuple[Event, ...]:
        with reading(self.settings) as look:
            return look.events(run)

    def kept(self) -> Iterator[tuple[str, bytes]]:
        """Every byte that the worker and the code host have on disk, but for the secrets themselves."""
        for path in [*self.state.rglob("*"), *self.server.root.rglob("*")]:
            if path.is_file() and path.name != "evidence.pem":
                yield str(path), path.read_bytes()

    @property
    def mint(self) -> str:
        """The worker's one durable credential."""
        return (self.root / "secrets" / "mint").read_text()

    def token(self, name: str, permission: Permission) -> str:
        """A token of a worker's that the site's own worker does not have."""
        return create_principal(self.server.root, NewPrincipal(name, "worker", {REPOSITORY: permission}))

    def merge(self, number: int) -> None:
        """A human marks the pull request ready, approves and merges it, by the host's API."""
        permissions = {REPOSITORY: Permission(review=True)}
        token = create_principal(self.server.root, NewPrincipal("kim", "human", permissions))
        pull = f"{self.server.url}/repos/{REPOSITORY}/pulls/{number}"
        with httpx2.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:
            client.patch(pull, json={"draft": False}).raise_for_status()
            client.post(f"{pull}/reviews", json={"event": "APPROVE"}).raise_for_status()
            client.put(f"{pull}/merge", json={}).raise_for_status()

    def pull_request(self, number: int) -> str:
        """The text of a pull request, by the host's API."""
        token = create_principal(self.server.root, NewPrincipal("lee", "human", {REPOSITORY: Permission(review=True)}))
        with httpx2.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:
            answer = client.get(f"{self.server.url}/repos/{REPOSITORY}/pulls/{number}").raise_for_status()
        return str(answer.json()["body"])

    def refs(self) -> dict[str, str]:
        """What the code host has."""
        rows = self.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(row.split(" ", 1) for row in rows)

    def git(self, *argv: str) -> str:
        """Git in the code host's bare repository."""
        return run_git(self.root, f"--git-dir={self.host}", *argv).stdout.strip()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "RINGFENCE_SETTINGS": str(self.settings_path)}


@contextmanager
def worksite(root: Path, files: Mapping[str, str] | Path | None = None) -> Iterator[Worksite]:
    """A site with its one ticket and the story of two attempts; the repository is the sample, or what `files` is."""
    for name in ("tickets", "secrets"):
        (root / name).mkdir(parents=True)
    _write_source(root / "source", files or FILES)
    with running_server(root / "host") as server:
        policy = RepositoryPolicy(prefix="ringfence/")
        create_repository(server.root, REPOSITORY, policy=policy, from_directory=root / "source")
        permissions = {REPOSITORY: Permission(write_prefix="ringfence/")}
        token = create_principal(server.root, NewPrincipal("ringfence", "minter", permissions))
        path = root / "secrets" / "mint"
        path.touch(mode=0o600)
        path.write_text(token)
        _settings(root, server.url)
        site = Worksite(root, server)
        site.boundary()
        site.ticket()
        site.story(*STORY)
        try:
            yield site
        finally:
            for begun in site.started:
                begun.kill()
                begun.wait()


def _write_source(source: Path, files: Mapping[str, str] | Path) -> None:
    """The content of the repository: named texts, or a copy of a directory."""
    if isinstance(files, Path):
        shutil.copytree(files, source, symlinks=True)
        return
    source.mkdir()
    for path, text in files.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)


def _settings(root: Path, address: str) -> None:
    (root / "ringfence.toml").write_text(
        f"""[worker]
state = "state"
boundary = "boundary.yaml"
[tracker]
kind = "folder"
path = "tickets"
[code_host]
kind = "local"
url = "{address}"
[secrets.host-mint]
file = "secrets/mint"
"""
    )


def _check(name: str, kind: str, run: Sequence[str]) -> dict[str, Any]:
    return {"name": name, "kind": kind, "run": list(run), "timeout": "30s"}


def _boundary(root: Path) -> dict[str, Any]:
    sections = ["checkout", "repositories", "branches", "commands", "network", "logs", "models", "secrets", "tickets",
                "limits", "approval"]  # fmt: skip
    from datetime import date

    return {
        "version": 1,
        "name": "test site",
        "owners": [{"name": "Kim", "role": "security", "sections": sections, "signed": date(2026, 11, 2)}],
        "checkout": {"location": str(root / "state"), "cache": {"keep": "30d", "size": "5GiB"}, "cleanup": "always"},
        "repositories": [
            {"name": REPOSITORY, "access": "write", "stage": "pull_request", "data_class": "internal"},
        ],
        "branches": {
            "prefix": "ringfence/", "protected": ["main"], "protected_paths": list(PROTECTED),
            "handoff": "pull_request",
        },
        "commands": {
            "toolchains": {"system": {"source": "/usr", "target": "/usr"}},
            "repositories": {
                REPOSITORY: {
                    "toolchains": ["system"],
                    "path": ["/usr/bin"],
                    "checks": [_check("lint", "lint", ["sh", "-c", "! grep -q bad value.txt"]),
                               _check("test", "test", ["sh", "check.sh"])],
                }
            },
        },
        "network": {"setup": [], "agent": [], "validation": []},
        "logs": {"retention": "90d", "readers": ["Kim"], "access": "owner", "exchanges": "full", "redaction": {}},
        "models": {
            "routes": [
                {
                    "name": "recorded", "provider": "replay", "endpoint": str(root / "replay.json"),
                    "models": ["recorded-test"], "repositories": [REPOSITORY], "data_classes": ["internal"],
                    "prompts_logged": "nowhere", "outputs_logged": "nowhere", "retention": "disabled", "internal": True,
                }
            ],
            "default": "recorded/recorded-test",
            "fallback": "none",
        },
        "secrets": list(SECRETS),
        "tickets": {"types": ["bug"], "requesters": ["dana"], "approvers": []},
        "limits": {
            "run": {"time": "5m", "attempts": 3, "turns": 20, "requests": 40, "input_tokens": 1000000,
                    "output_tokens": 100000},
            "sandbox": {"memory": "512MiB", "processes": 64, "cpus": 2, "cpu_time": "60s", "file": "32MiB",
                        "disk": "128MiB", "temporary": "64MiB", "output": "1MiB", "cgroup": "preferred"},
            "patch": {"files": 20, "file": "1MiB", "total": "4MiB"},
            "brief_tokens": 4000,
        },
        "approval": {"pull_request": "draft", "merge": "human", "reviewers": 1},
    }  # fmt: skip
