"""What the host refuses to take by a push, whoever holds the worker's token (ATTACKS F02, B14, B15, B16, B18, B19)."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from hosting import Hosted, run_git
from ringfence.web.host.git import gate

OWN = "refs/heads/ringfence/T-1"


def refused(done: "subprocess.CompletedProcess[str]", rule: str) -> None:
    assert done.returncode != 0, done.stderr
    assert f"[{rule}]" in done.stderr, done.stderr


def test_the_worker_creates_and_moves_its_own_branch(code_host: Hosted, work: Path) -> None:
    first = code_host.branch(work, "x", {"src/stock.py": "1\n"})
    assert code_host.push(work, f"{first}:{OWN}").returncode == 0
    second = code_host.commit(work, {"src/stock.py": "2\n"})
    assert code_host.push(work, f"{second}:{OWN}").returncode == 0
    assert code_host.tip("ringfence/T-1") == second


@pytest.mark.parametrize(
    ("ref", "rule"),
    [
        ("refs/heads/main", "protected-branch"),
        ("refs/heads/MAIN", "protected-branch"),
        ("refs/heads/release/1.0", "protected-branch"),
        ("refs/heads/other", "branch-prefix"),
        ("refs/heads/ringfence", "branch-prefix"),
        ("refs/heads/ringfenceX/a", "branch-prefix"),
        ("refs/heads/Ringfence/a", "branch-prefix"),
        ("refs/tags/v1", "ref-namespace"),
        ("refs/pull/1/head", "ref-namespace"),
        ("refs/pull/1/merge", "ref-namespace"),
        ("refs/notes/commits", "ref-namespace"),
        ("refs/replace/" + "1" * 40, "ref-namespace"),
        ("refs/meta/config", "ref-namespace"),
        ("refs/remotes/origin/main", "ref-namespace"),
        ("refs/ringfence/T-1", "ref-namespace"),
        ("refs/heads/ringfence/$(id)", "branch-name"),
        ("refs/heads/ringfence/a\u2003b", "branch-name"),
        ("refs/heads/ringfence/a\u00a0b", "branch-name"),
        ("refs/heads/ringfence/a;b", "branch-name"),
        ("refs/heads/ringfence/`id`", "branch-name"),
        ("refs/heads/ringfence/\u202egpj", "branch-name"),
        ("refs/heads/ringfence/-x", "branch-name"),
    ],
)
def test_no_other_ref_is_taken(code_host: Hosted, work: Path, ref: str, rule: str) -> None:
    before = run_git(code_host.bare, "for-each-ref").stdout
    commit = code_host.branch(work, "x", {"src/stock.py": "1\n"})
    refused(code_host.push(work, f"{commit}:{ref}"), rule)
    assert run_git(code_host.bare, "for-each-ref").stdout == before
    assert run_git(code_host.bare, "cat-file", "-e", commit, check=False).returncode != 0, "its objects are thrown away"


def test_one_refused_ref_refuses_the_whole_push(code_host: Hosted, work: Path) -> None:
    commit = code_host.branch(work, "x", {"src/stock.py": "1\n"})
    refused(code_host.push(work, f"{commit}:{OWN}", f"{commit}:refs/heads/main"), "protected-branch")
    assert "ringfence" not in run_git(code_host.bare, "for-each-ref").stdout


def test_force_and_deletion_are_refused_however_they_are_asked_for(code_host: Hosted, work: Path) -> None:
    first = code_host.branch(work, "x", {"src/stock.py": "1\n"})
    assert code_host.push(work, f"{first}:{OWN}").returncode == 0
    other = code_host.branch(work, "y", {"src/stock.py": "2\n"})
    asked = [
        (f"+{other}:{OWN}",),
        ("--force", f"{other}:{OWN}"),
        (f"--force-with-lease={OWN}:{first}", f"{other}:{OWN}"),
        ("--no-verify", "--force", f"{other}:{OWN}"),
        (f":{OWN}",),
        ("--delete", "ringfence/T-1"),
        ("--mirror",),
        (":refs/heads/main",),
        ("--prune", "refs/heads/none/*:refs/heads/*"),
    ]
    for words in asked:
        # What git sends first may be refused by git's own rules on the host or by the hook; nothing moves either way.
        assert code_host.push(work, *words).returncode != 0 or words[0] == "--prune", words
        assert code_host.tip("ringfence/T-1") == first, words
        assert run_git(code_host.bare, "for-each-ref", "--format=%(refname)").stdout.split() == [
            "refs/heads/main",
            OWN,
        ], words


def test_a_read_token_pushes_nothing(code_host: Hosted, work: Path) -> None:
    commit = code_host.branch(work, "x", {"src/stock.py": "1\n"})
    done = code_host.push(work, f"{commit}:{OWN}", by="reader")
    assert done.returncode != 0 and "403" in done.stderr


@pytest.mark.parametrize(
    "files",
    [
        {".github/workflows/ci.yml": "on: pull_request_target\n"},
        {".github/workflows/new.yml": "on: push\n"},
        {".github/workflows/ci.yml": None},
        {".github/workflows/ci.yml": None, "ci.yml": "on: push\n"},
        {".GitHub/workflows/x.yml": "on: push\n"},
        {"CODEOWNERS": "* @mallory\n"},
        {"CODEOWNERS": None},
        {"docs/CODEOWNERS": "* @mallory\n"},
        {"codeowners": "* @mallory\n"},
    ],
)
def test_protected_paths_are_not_changed_moved_or_removed(
    code_host: Hosted, work: Path, files: dict[str, str | None]
) -> None:
    commit = code_host.branch(work, "x", files)
    refused(code_host.push(work, f"{commit}:{OWN}"), "protected-path")


def test_a_protected_path_touched_and_put_back_in_between_is_seen(code_host: Hosted, work: Path) -> None:
    code_host.branch(work, "x", {"CODEOWNERS": "* @mallory\n"})
    commit = code_host.commit(work, {"CODEOWNERS": "* @alice\n"})
    refused(code_host.push(work, f"{commit}:{OWN}"), "protected-path")


def test_a_protected_path_is_seen_among_thousands(code_host: Hosted, work: Path) -> None:
    files: dict[str, str | None] = {f"many/{number // 100}/{number}.txt": f"{number}\n" for number in range(3300)}
    commit = code_host.branch(work, "x", {**files, "zz/CODEOWNERS": "* @mallory\n"})
    refused(code_host.push(work, f"{commit}:{OWN}"), "protected-path")


def test_a_link_in_the_place_of_a_protected_directory_is_refused(code_host: Hosted, work: Path) -> None:
    code_host.git(work, "checkout", "-q", "-B", "x", "origin/main")
    code_host.git(work, "rm", "-rq", ".github")
    (work / ".github").symlink_to("docs")
    commit = code_host.commit(work, {})
    refused(code_host.push(work, f"{commit}:{OWN}"), "protected-path")


def test_a_merge_that_brings_an_old_protected_file_back_is_refused(code_host: Hosted, work: Path) -> None:
    """Against each parent alone such a merge changes nothing new; merged, it would undo main's change."""
    old = code_host.tip()
    code_host.branch(work, "newer", {"CODEOWNERS": "* @alice @bob\n"})
    run_git(code_host.bare, "fetch", "-q", str(work), "newer:main")
    code_host.git(work, "fetch", "-q", code_host.git_url, "main:refs/remotes/origin/main", by="reader")
    code_host.git(work, "checkout", "-q", "-B", "x", old)
    code_host.commit(work, {"src/stock.py": "1\n"})
    code_host.git(work, "merge", "-q", "-s", "ours", "-m", "Merge main", "origin/main")
    commit = code_host.git(work, "rev-parse", "HEAD")
    refused(code_host.push(work, f"{commit}:{OWN}"), "protected-path")


def test_a_plain_merge_of_main_is_taken_although_main_changed_protected_files(code_host: Hosted, work: Path) -> None:
    code_host.branch(work, "x", {"src/stock.py": "1\n"})
    code_host.branch(work, "newer", {"CODEOWNERS": "* @alice @bob\n"})
    run_git(code_host.bare, "fetch", "-q", str(work), "newer:main")
    code_host.git(work, "checkout", "-q", "x")
    code_host.git(work, "merge", "-q", "-m", "Merge main", "newer")
    assert code_host.push(work, f"HEAD:{OWN}").returncode == 0


def test_a_branch_without_a_common_past_is_refused(code_host: Hosted, work: Path) -> None:
    code_host.git(work, "checkout", "-q", "--orphan", "fresh")
    code_host.git(work, "rm", "-rfq", ".")
    commit = code_host.commit(work, {"a.txt": "a\n"})
    refused(code_host.push(work, f"{commit}:{OWN}"), "unrelated-history")


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../etc/passwd", "..", "docs/../../x", ".git/config", "x/../../y"]
)
def test_links_that_leave_the_tree_are_refused(code_host: Hosted, work: Path, target: str) -> None:
    code_host.git(work, "checkout", "-q", "-B", "x", "origin/main")
    (work / "link").symlink_to(target)
    commit = code_host.commit(work, {})
    refused(code_host.push(work, f"{commit}:{OWN}"), "link-leaves-tree")


def test_a_link_inside_the_tree_is_taken(code_host: Hosted, work: Path) -> None:
    code_host.git(work, "checkout", "-q", "-B", "x", "origin/main")
    (work / "src" / "readme").symlink_to("../README.md")
    code_host.commit(work, {})
    assert code_host.push(work, f"HEAD:{OWN}").returncode == 0


def test_submodules_are_refused(code_host: Hosted, work: Path) -> None:
    code_host.git(work, "checkout", "-q", "-B", "x", "origin/main")
    code_host.git(work, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},lib")
    code_host.git(work, "commit", "-qm", "lib")
    refused(code_host.push(work, f"HEAD:{OWN}"), "submodule")
    commit = code_host.branch(work, "y", {".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = ./x\n'})
    refused(code_host.push(work, f"{commit}:{OWN}"), "submodule")


def test_a_tree_that_holds_a_git_directory_never_gets_in(code_host: Hosted, work: Path) -> None:
    blob = code_host.git(work, "hash-object", "-w", "README.md")
    for name in (".git", ".GIT", "git~1", ".g\u200cit"):
        raw = b"100644 " + name.encode() + b"\0" + bytes.fromhex(blob)
        tree = subprocess.run(
            ["git", "hash-object", "-w", "-t", "tree", "--literally", "--stdin"],
            cwd=work, input=raw, capture_output=True, check=True,
        ).stdout.decode().strip()  # fmt: skip
        commit = code_host.git(work, "commit-tree", tree, "-p", "origin/main", "-m", "x")
        done = code_host.push(work, f"{commit}:{OWN}")
        assert done.returncode != 0
        assert "hasDotgit" in done.stderr or "unpack" in done.stderr, done.stderr


def test_files_that_are_too_big_are_refused(code_host: Hosted, work: Path) -> None:
    code_host.git(work, "checkout", "-q", "-B", "x", "origin/main")
    with (work / "big.bin").open("wb") as handle:
        handle.truncate((20 << 20) + 1)
    commit = code_host.commit(work, {})
    refused(code_host.push(work, f"{commit}:{OWN}"), "file-size")


def test_the_hook_without_the_server_s_word_refuses(code_host: Hosted, work: Path) -> None:
    """Someone with the directory at hand pushes past the server: git finds the same hook, and no policy."""
    commit = code_host.branch(work, "x", {"src/stock.py": "1\n"})
    done = run_git(work, "push", str(code_host.bare), f"{commit}:{OWN}", check=False)
    refused(done, "no-policy")
    assert gate.main(["gate"]) == 1
    assert gate.main(["gate", "{}"]) == 1


def test_pushes_stop_when_the_hook_cannot_run(code_host: Hosted, work: Path) -> None:
    """Git skips a hook that it cannot execute; the host must not."""
    hook = code_host.root / "hooks" / "pre-receive"
    commit = code_host.branch(work, "x", {"src/stock.py": "1\n"})
    kept = hook.read_text()
    try:
        hook.write_text("#!/bin/sh\nexit 0\n")
        done = code_host.push(work, f"{commit}:refs/heads/main")
        assert done.returncode != 0 and "503" in done.stderr
        hook.write_text(kept)
        hook.chmod(stat.S_IRUSR | stat.S_IWUSR)
        assert not os.access(hook, os.X_OK)
        assert code_host.push(work, f"{commit}:refs/heads/main").returncode != 0
        assert code_host.tip() == code_host.git(work, "rev-parse", "origin/main")
    finally:
        hook.write_text(kept)
        hook.chmod(0o755)
    assert code_host.push(work, f"{commit}:{OWN}").returncode == 0


def test_a_human_may_propose_a_protected_path_but_not_push_to_main(code_host: Hosted, work: Path) -> None:
    from ringfence.web.host.principals import Permission

    code_host.add("dave", "human", Permission(write_prefix="dave/"))
    commit = code_host.branch(work, "x", {"CODEOWNERS": "* @alice @dave\n"})
    assert code_host.push(work, f"{commit}:refs/heads/dave/owners", by="dave").returncode == 0
    refused(code_host.push(work, f"{commit}:refs/heads/main", by="dave"), "protected-branch")
    # A worker does not get it in by building on it, either.
    refused(code_host.push(work, f"{commit}:{OWN}"), "protected-path")
