"""B08, B10 and the rows about objects: what comes out of a sandbox is checked, and nothing else can be reached by it.

The sandbox's side is played by an agent who has taken it over: it serves a repository that it wrote by hand.
"""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from gitsite import CANARY, RUN, GitSite, all_objects, git_site
from hosting import run_git
from ringfence.adapters.git import GitIntake
from ringfence.domain.errors import HostFailed
from ringfence.domain.events import CommandRan, PatchRefused

#: Writes objects without git, which would not make most of these.
FORGE = """
import hashlib, os, shutil, subprocess, zlib
def put(kind, body, name=None):
    raw = kind + b" %d\\0" % len(body) + body
    name = name or hashlib.sha1(raw).hexdigest()
    path = f".git/objects/{name[:2]}/{name[2:]}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "wb").write(zlib.compress(raw))
    return name
def tree(*entries):
    return put(b"tree", b"".join(mode + b" " + name + b"\\0" + bytes.fromhex(id) for mode, name, id in entries))
def commit(tree, extra=b""):
    who = b"a <a@example.internal> 1700000000 +0000"
    lines = b"tree " + tree.encode() + b"\\n" + extra + b"author " + who + b"\\ncommitter " + who + b"\\n\\nx\\n"
    return put(b"commit", lines)
def agent(name):
    os.makedirs(".git/refs/heads", exist_ok=True)
    open(".git/refs/heads/agent", "w").write(name + "\\n")
FILE, LINK, DIR, SUB = b"100644", b"120000", b"40000", b"160000"
blob = put(b"blob", b"hostile")
inner = tree((FILE, b"config", blob))
"""
HOSTILE = {
    "git-directory": "agent(commit(tree((DIR, b'.git', inner))))",
    "git-directory-in-capitals": "agent(commit(tree((DIR, b'.GIT', inner))))",
    "git-directory-for-hfs": "agent(commit(tree((DIR, '.g\\u200cit'.encode(), inner))))",
    "git-directory-for-ntfs": "agent(commit(tree((DIR, b'git~1', inner))))",
    "git-directory-below": "agent(commit(tree((DIR, b'sub', tree((DIR, b'.git', inner))))))",
    "gitfile": "agent(commit(tree((FILE, b'.git', blob))))",
    "parent-directory": "agent(commit(tree((DIR, b'..', inner))))",
    "own-directory": "agent(commit(tree((DIR, b'.', inner))))",
    "empty-name": "agent(commit(tree((FILE, b'', blob))))",
    "name-with-slash": "agent(commit(tree((FILE, b'../../etc/cron.d/x', blob))))",
    "the-same-name-twice": "agent(commit(tree((LINK, b'a', blob), (DIR, b'a', inner))))",
    "wrong-order": "agent(commit(tree((FILE, b'b', blob), (FILE, b'a', blob))))",
    "gitmodules-link": "agent(commit(tree((LINK, b'.gitmodules', blob))))",
    "gitmodules-option": "agent(commit(tree((FILE, b'.gitmodules', put(b'blob', "
    "b'[submodule \"a\"]\\npath = -x\\nurl = --upload-pack=x\\n')))))",
    "gitmodules-newline": "agent(commit(tree((FILE, b'.gitmodules', put(b'blob', "
    'b\'[submodule "a"]\\npath = a\\nurl = "https://git.example.internal/%0ahost=b"\\n\')))))',
    "gitmodules-climbing-name": "agent(commit(tree((FILE, b'.gitmodules', put(b'blob', "
    "b'[submodule \"../../hooks\"]\\npath = a\\nurl = ./a\\n')))))",
    "missing-blob": "agent(commit(tree((FILE, b'a', '12' * 20))))",
    "missing-tree": "agent(commit('12' * 20))",
    "null-id": "agent(commit(tree((FILE, b'a', '00' * 20))))",
    "a-blob-for-a-tree": "agent(commit(blob))",
    "another-content-than-its-id": "put(b'blob', b'other', blob); agent(commit(tree((FILE, b'a', blob))))",
    "no-such-branch": "shutil.rmtree('.git/refs/heads')",
    "commit-without-author": "agent(put(b'commit', b'tree ' + inner.encode() + b'\\n\\nx\\n'))",
    "unborn-parent": "agent(commit(inner, b'parent ' + b'12' * 20 + b'\\n'))",
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GitSite]:
    with git_site(tmp_path / "site") as made:
        yield made


def serve(site: GitSite, argv: tuple[str, ...], timeout: float = 30.0) -> Exception | None:
    """Take in what a command in the agent's sandbox serves; why it was not taken."""
    room = site.rooms.make("agent-1", site.source)
    spec = replace(site.rooms.spec("collect", argv, room, timeout), run=RUN)
    ours, theirs = socket.socketpair()

    def fetch() -> None:
        try:
            GitIntake().fetch_from_sandbox(site.intake, ours.fileno(), ours.fileno(), "refs/quarantine/1")
        finally:
            ours.shutdown(socket.SHUT_RDWR)

    with ours, theirs, ThreadPoolExecutor(1) as fetching:
        with site.sandboxes.hold(spec, stdin=theirs.fileno(), stdout=theirs.fileno()) as held:
            theirs.close()
            fetched = fetching.submit(fetch)
            outcome = held.run()
        fault = fetched.exception()
    assert outcome.processes_left == 0
    assert fault is None or isinstance(fault, Exception)
    return fault


def forge(deed: str) -> tuple[str, ...]:
    script = f"{FORGE}\n{deed}\nos.execvp('git', ['git', 'upload-pack', '--strict', '.git'])\n"
    return ("/usr/bin/python3", "-I", "-c", script)


def state(site: GitSite) -> tuple[str, bytes]:
    """The refs and the objects of the intake. What a broken transfer leaves behind is neither."""
    return run_git(site.root, f"--git-dir={site.intake}", "for-each-ref").stdout, all_objects(site.intake)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_objects_are_not_taken(site: GitSite, name: str) -> None:
    before = state(site)
    fault = serve(site, forge(HOSTILE[name]))
    assert isinstance(fault, HostFailed)
    assert fault.where, "git says why"
    assert state(site) == before, "nothing of it is kept"


def test_the_forger_s_tools_make_objects_that_are_taken_when_they_are_clean(site: GitSite) -> None:
    assert serve(site, forge("agent(commit(tree((FILE, b'a', blob))))")) is None
    assert set(site.changes("refs/quarantine/1")) >= {"a"}


def test_only_the_tree_counts_whatever_the_branch_is_made_of(site: GitSite) -> None:
    assert serve(site, forge("agent(inner)")) is None
    tree = site.objects.tree_of(site.intake, "refs/quarantine/1")
    assert [change.path for change in site.objects.changes(site.intake, site.base, tree) if change.status == "A"] == [
        "config"
    ]


def test_modes_that_git_does_not_write_are_refused_or_read_as_plain_files(site: GitSite) -> None:
    assert serve(site, forge("agent(commit(tree((b'100777', b'a', blob), (b'104755', b'b', blob))))")) is None
    modes = {path: change.new_mode for path, change in site.changes("refs/quarantine/1").items()}
    assert {modes["a"], modes["b"]} == {"100755"}


@pytest.mark.parametrize(
    "line",
    [
        "cat /dev/zero",
        "yes 0032want 1111111111111111111111111111111111111111",
        "head -c 65536 /dev/urandom; sleep 60",
        "printf '000eversion 2\\n0000'; exec sleep 60",
        "printf 'ffff'",
        "printf '\\033[2J0000'",
        "exit 3",
        "true",
    ],
)
def test_nonsense_instead_of_a_repository_is_a_fault_and_not_a_hang(site: GitSite, line: str) -> None:
    before = state(site)
    assert isinstance(serve(site, ("/bin/sh", "-c", line), timeout=3.0), HostFailed)
    assert state(site) == before


def test_alternates_to_another_repository_bring_nothing_out(site: GitSite) -> None:
    """The row of the table that leaks: the agent borrows the objects of a repository that only the host can read."""
    other = site.root / "other"
    other.mkdir()
    (other / "secret.txt").write_text(CANARY)
    run_git(other, "init", "-q")
    run_git(other, "add", "-A")
    run_git(other, "commit", "-qm", "secret")
    wanted = run_git(other, "rev-parse", "HEAD").stdout.strip()
    borrowed = f"echo {other}/.git/objects >> .git/objects/info/alternates; mkdir -p .git/refs/heads; " + (
        f"echo {wanted} > .git/refs/heads/agent; echo {wanted} > .git/refs/heads/work; echo 2 > value.txt"
    )
    leaked = site.root / "leaked"
    run_git(site.root, "init", "-q", "--bare", str(leaked))

    def careless(_room: object) -> None:
        serving = "--upload-pack=git -c safe.directory=* upload-pack"
        site.naive(leaked, "fetch", serving, str(site.tree()), "+refs/heads/agent:refs/heads/leaked")

    site.rooms.before_removal = careless
    patch = site.attempt(borrowed)
    assert CANARY.encode() in all_objects(leaked), "the way is none: git on the host did not leak it either"
    assert set(site.changes(patch.commit)) == {"value.txt"}
    site.assert_no_canary()


def test_alternates_inside_the_serving_sandbox_reach_nothing_of_the_host(site: GitSite) -> None:
    other = site.root / "other"
    other.mkdir()
    (other / "secret.txt").write_text(CANARY)
    run_git(other, "init", "-q")
    run_git(other, "add", "-A")
    run_git(other, "commit", "-qm", "secret")
    wanted = run_git(other, "rev-parse", "HEAD").stdout.strip()
    deed = f"open('.git/objects/info/alternates', 'w').write('{other}/.git/objects\\n'); agent('{wanted}')"
    assert isinstance(serve(site, forge(deed)), HostFailed)
    site.assert_no_canary()


@pytest.mark.parametrize(
    "link",
    ["/etc/passwd", "../../../../etc/passwd", "{secret}", "sub/../../x", "..", "/proc/self/environ", ".git/config", ""],
)
def test_symlinks_out_of_the_tree_are_refused(site: GitSite, link: str) -> None:
    secret = site.root / "state" / "secrets" / "token"
    target = link.format(secret=secret) or "x" * 2000
    script = f"echo 2 > value.txt; mkdir -p sub; python3 -c \"import os; os.symlink('{target}', 'link')\""
    read = []
    site.rooms.before_removal = lambda room: read.append((room.path / "link").is_symlink())
    refusal = site.refused(script)
    assert (refusal.rule, read) == ("patch.link", [True])
    assert refusal.reason in ("leaves_tree", "protected", "malformed")
    site.assert_no_canary()


def test_b10_the_mirror_cannot_be_written_and_shares_no_file_with_a_tree(site: GitSite) -> None:
    def everything() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(site.mirror.rglob("*")) if path.is_file()}

    before = everything()
    room = site.rooms.make("agent-1", site.source)
    said = site.inside(
        room,
        "for f in $(find /mirror -type f); do chmod u+w $f; echo x > $f; rm -f $f; ln -f $f ./hard;"
        "done 2>/dev/null; touch /mirror/objects/new /mirror/new; mount -o remount,rw /mirror/objects;"
        "find . -name '*.pack' -o -type f -links +1 | head; ls; echo DONE",
    )
    assert "DONE" in said and "hard" not in said.split()
    assert "./" not in said, f"the tree has objects or hard links of its own: {said}"
    assert everything() == before
    linked = [path for path in site.mirror.rglob("*") if path.is_file() and path.stat().st_nlink != 1]
    assert linked == []


def test_b10_the_sandbox_sees_objects_of_the_mirror_and_no_configuration_hooks_or_refs(site: GitSite) -> None:
    room = site.rooms.make("agent-1", site.source)
    assert site.inside(room, "ls -A /mirror; ls /ringfence 2>/dev/null; true").split() == ["objects"]
    assert [event.role for event in site.events if isinstance(event, CommandRan)] == ["checkout", "agent"]
    assert not [event for event in site.events if isinstance(event, PatchRefused)]
