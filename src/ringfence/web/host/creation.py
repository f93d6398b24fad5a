"""Making a host, its repositories and its principals; what `ringfence host` and the demo call.

Everything is written so that a second call says what is there already instead of changing it.
"""

import json
import os
import secrets
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from ringfence.adapters.clock import SystemClock
from ringfence.adapters.git import environment
from ringfence.adapters.process import run
from ringfence.domain.errors import ControlMissing, HostFailed, InputError
from ringfence.ports.objects import Authorship
from ringfence.web.host.git.policy import HEADS, ZERO, RepositoryPolicy
from ringfence.web.host.git.repository import Bare
from ringfence.web.host.layout import Layout, is_repository_name
from ringfence.web.host.logins import Logins
from ringfence.web.host.principals import Kind, Permission, Principal, Principals, digest_of, write_durably
from ringfence.web.host.records import Records
from ringfence.web.host.tokens import prepare_tokens

#: The first commit of a repository is the same wherever and whenever it is made.
FIRST = Authorship("Code host", "code-host@example.internal", 1_767_225_600)
LOGIN_SECONDS = 15 * 60.0


@dataclass(frozen=True, slots=True)
class NewPrincipal:
    """A principal as the operator asks for it; `expires` in seconds since the epoch."""

    name: str
    kind: Kind
    permissions: dict[str, Permission]
    expires: float | None = None


def create_host(root: Path) -> Layout:
    """Make the directory of a host, or complete it; it never removes anything."""
    layout = Layout(root.absolute())
    layout.root.mkdir(parents=True, exist_ok=True)
    layout.root.chmod(0o700)
    layout.repositories.mkdir(exist_ok=True)
    for path, empty in ((layout.registry, "{}"), (layout.principals, "[]")):
        if not path.exists():
            write_durably(path, empty)
    Records(layout.records).prepare()
    Logins(layout.records).prepare()
    prepare_tokens(layout.records)
    plant_hook(layout)
    return layout


def plant_hook(layout: Layout) -> None:
    """Write the one hook anew, so that it always calls the gate of the program that serves."""
    layout.hooks.mkdir(exist_ok=True)
    hook = layout.hooks / "pre-receive"
    fresh = layout.hooks / f".pre-receive.{os.getpid()}"
    fresh.write_text(hook_text(), "utf-8")
    fresh.chmod(0o755)
    fresh.replace(hook)


def check_hook(layout: Layout) -> None:
    """Errors: `ControlMissing`. Git skips a hook that it cannot execute without a word, so the host looks first."""
    hook = layout.hooks / "pre-receive"
    if not os.access(hook, os.X_OK) or hook.read_text("utf-8") != hook_text():
        raise ControlMissing(
            "the hook that judges pushes cannot run, so no push is taken",
            where=str(hook),
            mend="keep the host on a file system without noexec, and start it again",
        )


def hook_text() -> str:
    """The hook: git's environment goes on to the gate, the server's policy as an argument."""
    gate = f"exec {shlex.quote(sys.executable)} -I -m ringfence.web.host.git.gate"
    return f'#!/bin/sh\n{gate} "$RINGFENCE_PUSH"\n'


def create_repository(
    root: Path, name: str, *, policy: RepositoryPolicy | None = None, from_directory: Path | None = None
) -> Path:
    """Make a bare repository with one commit: the content of a directory, or nothing. Errors: `InputError`."""
    layout, policy = create_host(root), policy or RepositoryPolicy()
    if not is_repository_name(name):
        raise InputError(f"{name!a} is no name for a repository", mend="use owner/name with a-z, 0-9 and . _ -")
    policies = layout.policies()
    path = layout.bare(name)
    if name in policies or path.exists():
        raise InputError(f"there is a repository {name} already", where=str(path))
    path.parent.mkdir(exist_ok=True)
    _git(["init", "-q", "--bare", "--template=", "-b", policy.default_branch, str(path)])
    with (path / "config").open("a", encoding="utf-8") as config:
        config.writelines(_config_line(setting) for setting in server_config(layout, policy))
    commit = Bare(path).commit_tree(_first_tree(path, from_directory), (), "Import\n", FIRST)
    _git([f"--git-dir={path}", "update-ref", f"{HEADS}{policy.default_branch}", commit, ZERO])
    rows = {**policies, name: policy}
    write_durably(layout.registry, json.dumps({key: value.to_json() for key, value in rows.items()}, indent=1))
    return path


def server_config(layout: Layout, policy: RepositoryPolicy) -> tuple[str, ...]:
    """Git's own rules for a repository; they also ride with every request, above the repository's file."""
    return (
        f"core.hooksPath={layout.hooks}",
        "http.getanyfile=false",
        "http.uploadpack=true",
        "transfer.fsckObjects=true",
        "receive.fsckObjects=true",
        "receive.denyNonFastForwards=true",
        "receive.denyDeletes=true",
        f"receive.maxInputSize={policy.max_push_bytes}",
        "receive.autogc=false",
        "receive.advertisePushOptions=false",
        "uploadpack.allowFilter=true",
        "gc.auto=0",
        "core.fsync=committed",
        "core.logAllRefUpdates=true",
    )


def create_principal(root: Path, wanted: NewPrincipal) -> str:
    """Add a principal and give its token, which is kept nowhere. Errors: `InputError`."""
    layout = Layout(root.absolute())
    policies = layout.policies()
    for repository, permission in wanted.permissions.items():
        if repository not in policies:
            raise InputError(
                f"there is no repository {repository}", mend="make it first: ringfence host add-repository"
            )
        prefix = policies[repository].prefix
        outside = permission.write_prefix is not None and not permission.write_prefix.startswith(prefix)
        if wanted.kind != "human" and outside:
            raise InputError(
                f"a {wanted.kind} writes only below {prefix!a} in {repository}", mend="choose a prefix below it"
            )
        if permission.write_prefix == "":
            raise InputError("a write prefix is not empty", mend="leave it out for no write permission")
    token = f"rfh_{secrets.token_hex(32)}"
    principal = Principal(wanted.name, wanted.kind, wanted.permissions, wanted.expires, digest_of(token))
    Principals(layout.principals, SystemClock()).add(principal)
    return token


def keep_token(path: Path, token: str) -> None:
    """Write a token to a file that only its owner reads; an older file is replaced."""
    write_durably(path.absolute(), token)


def create_login_link(root: Path, name: str) -> str:
    """The path of a link that logs a human in once, within a quarter of an hour. Errors: `InputError`."""
    layout, clock = Layout(root.absolute()), SystemClock()
    principal = Principals(layout.principals, clock).find(name)
    if principal is None or not principal.is_human:
        raise InputError(f"there is no human principal {name!a}", where=str(layout.principals))
    code = secrets.token_hex(32)
    Logins(layout.records).add_link(digest_of(code), name, clock.now() + LOGIN_SECONDS)
    return f"/login/{code}"


def _config_line(setting: str) -> str:
    key, value = setting.split("=", 1)
    section, name = key.split(".", 1)
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'[{section}]\n\t{name} = "{quoted}"\n'


def _first_tree(bare: Path, directory: Path | None) -> str:
    index = {"GIT_INDEX_FILE": str(bare / "import.index")}
    if directory is not None:
        where = [f"--git-dir={bare}", f"--work-tree={directory.absolute()}", "-c", "core.bare=false"]
        _git([*where, "-c", "core.excludesFile=/dev/null", "add", "--all", "--force", "."], index, directory)
    tree = _git([f"--git-dir={bare}", "write-tree"], index)
    (bare / "import.index").unlink(missing_ok=True)
    return tree


def _git(argv: list[str], extra: dict[str, str] | None = None, directory: Path | None = None) -> str:
    where = ["-C", str(directory.absolute())] if directory else []
    done = run(["git", *where, *argv], environment={**environment("none"), **(extra or {})})
    if done.exit_code != 0:
        raise HostFailed("git could not make the repository", where=done.stderr.decode("utf-8", "replace")[:300])
    return done.stdout.decode().strip()
