"""B14, B15, B16, F07 and the limits: what may not be in a patch is refused by a named rule; nothing of it goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gitsite import CANARY, GitSite, git_site
from ringfence.domain.events import CheckEnded, PatchProduced, PatchRefused
from worksite import FILES
from worksite import PROTECTED as PROTECTED_PATHS

GUARDED = {
    **FILES,
    ".github/workflows/ci.yml": "on: push\n",
    ".gitlab-ci.yml": "test: {}\n",
    "CODEOWNERS": "* @alice\n",
    "docs/CODEOWNERS": "* @bob\n",
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GitSite]:
    with git_site(tmp_path / "site", GUARDED) as made:
        yield made


PROTECTED = {
    "b14-rename-out": "git mv .github/workflows/ci.yml ci.yml",
    "b14-rename-out-and-edit": "mv .github/workflows/ci.yml ci.yml; echo more >> ci.yml",
    "b14-rename-the-directory": "mv .github hub",
    "b14-rename-in": "mv value.txt .github/value.txt",
    "b15-edit-code-owners": "echo '* @mallory' > CODEOWNERS",
    "b15-remove-code-owners": "rm CODEOWNERS",
    "b15-link-code-owners": "rm CODEOWNERS; ln -s value.txt CODEOWNERS",
    "b15-code-owners-elsewhere": "echo '* @mallory' > docs/CODEOWNERS",
    "b15-code-owners-of-a-folder": "mkdir -p .github; echo '* @mallory' > .github/CODEOWNERS",
    "b15-code-owners-in-other-letters": "echo '* @mallory' > codeowners",
    "b16-edit-a-workflow": "echo 'on: pull_request_target' > .github/workflows/ci.yml",
    "b16-new-workflow": "echo 'on: push' > .github/workflows/new.yml",
    "b16-new-action": "mkdir -p .github/actions/x; echo x > .github/actions/x/action.yml",
    "b16-other-letters": "mkdir -p .GitHub/workflows; echo 'on: push' > .GitHub/workflows/x.yml",
    "b16-other-host": "echo 'x: {}' > .gitlab-ci.yml",
    "b16-mode-only": "chmod +x .github/workflows/ci.yml",
    "b16-link-for-the-directory": "rm -r .github; mkdir hub; ln -s hub .github",
    "b16-file-for-the-directory": "rm -r .github; echo x > .github",
    "b16-modules": "printf '[submodule \"a\"]\\n path = a\\n url = https://git.example.internal/a\\n' > .gitmodules",
}


@pytest.mark.parametrize("name", PROTECTED)
def test_protected_paths_are_neither_changed_nor_left(site: GitSite, name: str) -> None:
    refusal = site.refused(f"set -e; echo 2 > value.txt; {PROTECTED[name]}")
    assert (refusal.rule, refusal.reason) == ("branches.protected_paths", "protected")
    assert not [event for event in site.events if isinstance(event, PatchProduced | CheckEnded)]


def test_b14_a_protected_path_is_seen_behind_thousands_of_others(tmp_path: Path) -> None:
    """More changed files than any host lists, and the one that matters sorts last."""
    limits = {"limits.patch.files": 5000, "branches.protected_paths": [*PROTECTED_PATHS, "zz/**"]}
    with git_site(tmp_path / "site", {**FILES, "zz/last.txt": "1\n"}, boundary=limits) as site:
        write = "import pathlib; [pathlib.Path(f'f{n}').write_text('x') for n in range(3001)]"
        refusal = site.refused(f'python3 -c "{write}"; echo 2 > zz/last.txt')
        assert (refusal.rule, "zz/last.txt" in refusal.detail) == ("branches.protected_paths", True)


LIMITS = {
    "limits.patch.files": "for n in $(seq 21); do echo $n > f$n; done",
    "limits.patch.file": "head -c 1048577 /dev/zero > big",
    "limits.patch.total": "for n in 1 2 3 4 5; do head -c 1000000 /dev/zero > f$n; echo $n >> f$n; done",
}


@pytest.mark.parametrize("rule", LIMITS)
def test_too_much_is_refused_by_the_limit_s_own_name(site: GitSite, rule: str) -> None:
    refusal = site.refused(LIMITS[rule])
    assert (refusal.rule, refusal.reason) == (rule, "too_large")


def test_what_fits_exactly_is_taken(site: GitSite) -> None:
    fits = "for n in $(seq 17); do echo $n > f$n; done; for n in 1 2 3; do head -c 1048576 /dev/zero > g$n; done"
    assert site.attempt(fits).files == 20


PLACES = {
    "content": "echo 'key = {secret}' > config.ini",
    "a-binary-file": "printf '\\000\\001{secret}\\377' > blob.bin",
    "base64": "printf '{secret}' | base64 > note.txt",
    "hexadecimal": "printf '{secret}' | od -An -tx1 -v | tr -d ' \\n' > note.txt",
    "the-end-of-a-long-line": "head -c 900000 /dev/zero | tr '\\0' a > long.txt; printf '{secret}' >> long.txt",
    "a-link-s-target": "ln -s {secret} link",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_in_a_patch_is_named_by_its_place_and_not_by_its_value(site: GitSite, place: str) -> None:
    stop = site.stopped(f"echo 2 > value.txt; {PLACES[place].format(secret=CANARY)}")
    refusal = site.last(PatchRefused)
    assert (stop.reason, refusal.rule, refusal.reason) == ("patch_refused", "secrets.patch", "secret_found")
    assert refusal.detail.startswith("known-value in ")
    assert CANARY not in str(stop)
    assert_kept_nowhere(site)


@pytest.mark.parametrize("path", ["{secret}", "{secret}/x", "a/{secret}.txt"])
def test_a_secret_in_a_file_name_is_refused(site: GitSite, path: str) -> None:
    name = path.format(secret=CANARY)
    stop = site.stopped(f"mkdir -p $(dirname {name}); echo 2 > {name}")
    refusal = site.last(PatchRefused)
    assert (stop.reason, refusal.rule, refusal.reason) == ("patch_refused", "secrets.patch", "secret_found")
    assert "known-value in a file name" in refusal.detail
    assert_kept_nowhere(site)


def assert_kept_nowhere(site: GitSite) -> None:
    """Refused objects stay in the intake until the run is swept, moments later; records and content store are clean."""
    for path in (site.root / "state").rglob("*"):
        if path.is_file() and path.parent.name != "secrets" and not path.is_relative_to(site.intake):
            assert CANARY.encode() not in path.read_bytes(), path


NAMES = {
    "control": "printf x > \"$(printf 'a\\033[2Jb')\"",
    "line-end": "printf x > \"$(printf 'a\\nb')\"",
    "invisible": "printf x > \"$(printf 'a\\342\\200\\213b')\"",
    "right-to-left": "printf x > \"$(printf 'a\\342\\200\\256txt.exe')\"",
    "not-utf-8": "printf x > \"$(printf 'a\\377b')\"",
    "backslash": "printf x > 'a\\b'",
    "trailing-dot": "printf x > 'value.txt.'",
    "trailing-space": "printf x > 'value.txt '",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_read_otherwise_elsewhere_are_refused(site: GitSite, name: str) -> None:
    refusal = site.refused(NAMES[name])
    assert (refusal.rule, refusal.reason) == ("patch.path", "malformed")
    assert refusal.detail.isascii() and refusal.detail.isprintable()


def test_names_that_are_one_where_case_does_not_count_are_refused(site: GitSite) -> None:
    assert site.refused("mkdir d; echo x > d/f; ln -s d D").rule == "patch.path"


def test_an_empty_patch_ends_the_run_with_its_reason(site: GitSite) -> None:
    assert site.stopped("touch value.txt; mkdir empty; git commit -q --allow-empty -m x || true").reason == "no_changes"


def test_what_the_agent_committed_does_not_matter_only_its_tree_does(site: GitSite) -> None:
    """History with a secret, another parent, forged names and trailers: none of it leaves the sandbox."""
    who = "export GIT_AUTHOR_NAME='Alice Admin' GIT_COMMITTER_NAME=a EMAIL=alice@example.internal"
    patch = site.attempt(
        f"{who}; echo {CANARY} > secret.txt; git add -A; git commit -qm 'Ringfence-Run: X {CANARY}';"
        "git rm -q secret.txt; git commit -qm y; git checkout -q --orphan z; git commit -qm z; git tag v1;"
        "git update-ref refs/heads/main HEAD; git replace -f HEAD HEAD^{tree} 2>/dev/null;"
        "echo 2 > value.txt; git commit -qam w"
    )
    commit = site.objects.raw(site.intake, "commit", patch.commit).decode()
    assert f"parent {site.base}\n" in commit
    assert commit.count("parent ") == 1
    assert "author Ringfence <ringfence@localhost>" in commit and "Alice" not in commit
    assert commit.endswith("\n\nChange\n\nRingfence-Ticket: T-1\n")
    assert set(site.changes(patch.commit)) == {"value.txt"}
    site.assert_no_canary()


def test_f07_an_attempt_that_was_refused_leaves_no_candidate_behind(site: GitSite) -> None:
    good = site.attempt("echo 2 > value.txt")
    site.refused("echo 2 > value.txt; echo '* @mallory' > CODEOWNERS")
    assert site.objects.resolve(site.intake, "refs/ringfence/candidate/1") == good.commit
    produced = [event.commit for event in site.events if isinstance(event, PatchProduced)]
    assert produced == [good.commit]
