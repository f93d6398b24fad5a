"""Host-side git, by real repositories."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from ringfence.adapters.git import GitIntake, GitObjects, GitTransport
from ringfence.domain.errors import HostFailed
from ringfence.ports.broker import Grant, Secret
from ringfence.ports.objects import Authorship

SECRET = "rf-canary-token-41b7"


def git(where: Path, *argv: str) -> str:
    fixed = ["-c", "user.name=t", "-c", "user.email=t@example.internal", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *fixed, *argv], cwd=where, check=True, capture_output=True, text=True, env={**os.environ, "HOME": "/"}
    ).stdout.strip()


@pytest.fixture
def grant() -> Grant:
    return Grant("g1", "publish", "demo/thing", "worker", Secret(SECRET))


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    path = tmp_path / "origin"
    path.mkdir()
    git(path, "init", "-q")
    (path / "a.txt").write_text("one\n")
    (path / "sub").mkdir()
    (path / "sub" / "odd : name\t\n.py").write_text("needle = 1\n")
    (path / "link").symlink_to("a.txt")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "one")
    return path


@pytest.fixture
def transport(tmp_path: Path) -> GitTransport:
    return GitTransport(tmp_path / "mirrors", protocols="file")


@pytest.fixture
def intake(tmp_path: Path, origin: Path, transport: GitTransport, grant: Grant) -> Path:
    mirror = transport.refresh_mirror("demo/thing", f"file://{origin}", grant)
    return transport.make_intake(tmp_path / "run" / "intake.git", mirror, git(origin, "rev-parse", "HEAD"))


def take_in(intake: Path, agent: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = theirs.fileno()
        served = subprocess.Popen(["git", "upload-pack", "--strict", str(agent / ".git")], stdin=wire, stdout=wire)
        theirs.close()
        try:
            GitIntake().fetch_from_sandbox(intake, ours.fileno(), ours.fileno(), "refs/quarantine/1")
        finally:
            ours.close()
            served.wait(30)


def test_mirror_follows_the_host_and_drops_what_is_gone(
    origin: Path, transport: GitTransport, grant: Grant, tmp_path: Path
) -> None:
    git(origin, "branch", "old")
    mirror = transport.refresh_mirror("demo/thing", f"file://{origin}", grant)
    git(origin, "branch", "-D", "old")
    (origin / "a.txt").write_text("two\n")
    git(origin, "commit", "-qam", "two")
    assert transport.refresh_mirror("demo/thing", f"file://{origin}", grant) == mirror
    assert GitObjects().resolve(mirror, "refs/heads/main") == git(origin, "rev-parse", "HEAD")
    assert GitObjects().resolve(mirror, "refs/heads/old") is None


def test_objects_are_read_whatever_the_names_are(origin: Path, intake: Path) -> None:
    objects, head = GitObjects(), git(origin, "rev-parse", "HEAD")
    paths = [entry.path for entry in objects.entries(intake, head)]
    assert paths == ["a.txt", "link", "sub/odd : name\t\n.py"]
    assert objects.read(intake, head, "a.txt", 2) == b"on"
    assert objects.read(intake, head, "link", 100) is None, "a link is not a file"
    assert objects.read(intake, head, "*.txt", 100) is None, "a path is not a pattern"
    assert objects.resolve(intake, "--all") is None


def test_search_finds_fixed_strings(origin: Path, intake: Path) -> None:
    (origin / "b.py").write_text("x = 'needle.*'\n")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "two")
    take_in_main = git(origin, "rev-parse", "HEAD")
    git(origin, "branch", "agent")
    take_in(intake, origin)
    assert GitObjects().search(intake, take_in_main, ("needle.*",), 5) == (("b.py", 1, "x = 'needle.*'"),)
    assert GitObjects().search(intake, take_in_main, (), 5) == ()


def test_changes_show_modes_sizes_and_links(origin: Path, intake: Path) -> None:
    base = git(origin, "rev-parse", "HEAD")
    git(origin, "checkout", "-qb", "agent")
    (origin / "a.txt").unlink()
    (origin / "run.sh").write_text("#!/bin/sh\n")
    (origin / "run.sh").chmod(0o755)
    (origin / "out").symlink_to("../../etc/passwd")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "two")
    take_in(intake, origin)
    found = {change.path: change for change in GitObjects().changes(intake, base, "refs/quarantine/1")}
    assert {path: (c.status, c.old_mode, c.new_mode, c.size, c.link) for path, c in found.items()} == {
        "a.txt": ("D", "100644", "000000", 0, None),
        "out": ("A", "000000", "120000", 16, "../../etc/passwd"),
        "run.sh": ("A", "000000", "100755", 10, None),
    }
    assert list(GitObjects().blobs(intake, [found["run.sh"].blob])) == [b"#!/bin/sh\n"]


def test_a_commit_is_a_function_of_its_arguments(origin: Path, intake: Path) -> None:
    objects, base = GitObjects(), git(origin, "rev-parse", "HEAD")
    by = Authorship("Ringfence", "ringfence@example.internal", 1_700_000_000)
    made = [objects.commit_tree(intake, objects.tree_of(intake, base), base, "m\n", by) for _ in range(2)]
    assert made[0] == made[1]
    assert objects.raw(intake, "commit", made[0]).startswith(b"tree ")


def test_a_pack_brings_a_candidate_into_another_repository(origin: Path, intake: Path, tmp_path: Path) -> None:
    objects, base = GitObjects(), git(origin, "rev-parse", "HEAD")
    (origin / "a.txt").write_text("two\n")
    git(origin, "checkout", "-qb", "agent")
    git(origin, "commit", "-qam", "two")
    take_in(intake, origin)
    by = Authorship("Ringfence", "ringfence@example.internal", 1_700_000_000)
    made = objects.commit_tree(intake, objects.tree_of(intake, "refs/quarantine/1"), base, "m\n", by)
    pack = GitIntake().pack(intake, made, base)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--no-local", f"{origin}", str(clone)], check=True)
    git(clone, "reset", "-q", "--hard", base)
    subprocess.run(
        ["git", "index-pack", "--stdin", "--fix-thin"], cwd=clone, input=pack, check=True, capture_output=True
    )
    git(clone, "checkout", "-q", made)
    assert (clone / "a.txt").read_text() == "two\n"


def test_push_is_exact_once_and_never_by_force(
    origin: Path, intake: Path, transport: GitTransport, grant: Grant, tmp_path: Path
) -> None:
    host = tmp_path / "host.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(origin), str(host)], check=True)
    url, ref, base = f"file://{host}", "refs/heads/ringfence/T-1-x", git(origin, "rev-parse", "HEAD")
    objects = GitObjects()
    by = Authorship("Ringfence", "ringfence@example.internal", 1_700_000_000)
    first = objects.commit_tree(intake, objects.tree_of(intake, base), base, "first\n", by)
    other = objects.commit_tree(intake, objects.tree_of(intake, base), base, "other\n", by)
    assert transport.remote_ref(url, ref, grant) is None
    assert transport.push(intake, url, first, ref, grant) is True
    assert transport.push(intake, url, first, ref, grant) is False
    assert transport.remote_ref(url, ref, grant) == first
    with pytest.raises(HostFailed):
        transport.push(intake, url, other, ref, grant)
    assert transport.remote_ref(url, ref, grant) == first


def test_a_protocol_that_was_not_asked_for_is_refused(tmp_path: Path, origin: Path, grant: Grant) -> None:
    with pytest.raises(HostFailed, match="refused or failed"):
        GitTransport(tmp_path / "m").refresh_mirror("demo/thing", f"file://{origin}", grant)


def test_the_secret_stands_in_no_argument_and_no_environment(tmp_path: Path, grant: Grant, origin: Path) -> None:
    """A transport command of ours writes down what every git process above it was started with."""
    seen, shim = tmp_path / "seen", tmp_path / "transport"
    shim.write_text(
        f"""#!/bin/sh
p=$PPID
for _ in 1 2 3; do
    tr '\\0' '\\n' < /proc/$p/cmdline >> {seen}
    tr '\\0' '\\n' < /proc/$p/environ >> {seen}
    p=$(awk '/^PPid:/ {{print $2}}' /proc/$p/status)
done
exit 1
"""
    )
    shim.chmod(0o755)
    # ext:: is allowed here only, so that a command of ours stands where git's own transport would.
    with pytest.raises(HostFailed):
        GitTransport(tmp_path / "mirrors", protocols="ext").refresh_mirror("demo/thing", f"ext::{shim}", grant)
    assert "credential.helper=!f()" in seen.read_text()
    assert SECRET not in seen.read_text()
    for path in (tmp_path / "mirrors").rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()
