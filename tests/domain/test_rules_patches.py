"""The decision point about patches: paths, modes, links and sizes, and that nothing odd gets through."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from team import BOUNDARY, denied_by

from ringfence.domain.decision import Allow, Deny, Reason
from ringfence.domain.patch import FileChange
from ringfence.domain.rules import (
    judge_patch,
)

FILE = FileChange("src/app.py", "M", "100644", "100644", "1" * 40, 10)


def added(path: str, **facts: object) -> FileChange:
    return replace(FILE, path=path, status="A", old_mode="000000", **facts)


def test_an_ordinary_patch_is_allowed():
    changes = (
        FILE,
        added("docs/über uns.md"),
        added("bin/run", new_mode="100755"),
        added("src/link", new_mode="120000", link="../docs/x.md"),
        added("src/.gitignore"),
        replace(FILE, path="old.py", status="D", new_mode="000000", blob="0" * 40, size=0),
    )
    assert judge_patch(BOUNDARY, changes) == Allow("branches.protected_paths")
    assert judge_patch(BOUNDARY, ()) == Allow("branches.protected_paths")


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml", ".GITHUB/workflows/ci.yml", ".github", ".gitlab-ci.yml", "sub/.gitlab-ci.yml",
        ".GitLab-CI.yml", "docs/codeowners", "CODEOWNERS", ".gitmodules", "jenkinsfile", "deploy/x", "infra/a.tf",
        ".circleci/config.yml", ".ｇithub/x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", ["A", "M", "D", "T"])
def test_a_protected_path_is_denied_whatever_happens_to_it(path, status):
    gone = status == "D"
    change = replace(FILE, path=path, status=status, new_mode="000000" if gone else "100644", size=0 if gone else 1)
    decision = judge_patch(BOUNDARY, (FILE, change))
    assert denied_by(decision) == "branches.protected_paths"
    assert decision.reason is Reason.PROTECTED


def test_a_rename_out_of_a_protected_directory_is_denied():
    out = replace(FILE, path=".github/workflows/ci.yml", status="D", new_mode="000000", size=0)
    assert denied_by(judge_patch(BOUNDARY, (added("ci.yml"), out))) == "branches.protected_paths"


GIT_SPELLINGS = [
    ".git", ".GIT", ".Git", ".git ", ".git.", ".git. .", ".git\u200c", ".g\u200dit", "\ufeff.git", ".gi\u206at",
    "git~1", "GIT~1", "git~2", ".git::$INDEX_ALLOCATION", ".git:x", ".git\\config", "．git", ".ｇｉｔ", ".git/",
    "GITMOD~1", "gi7eba~1", ".git\x00", ".git\t", ".git\u00a0",
]  # fmt: skip


@pytest.mark.parametrize("spelling", GIT_SPELLINGS)
@pytest.mark.parametrize("where", ["{}", "{}/config", "a/b/{}", "a/{}/hooks/pre-commit"])
def test_every_spelling_of_gits_own_directory_is_denied(spelling, where):
    decision = judge_patch(BOUNDARY, (added(where.format(spelling)),))
    assert denied_by(decision) == "patch.path"


@given(
    st.lists(st.sampled_from(["", "\u200c", "\u200d", "\u200e", "\u202a", "\u206f", "\ufeff"]), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.text(st.sampled_from(". "), max_size=3),
    st.sampled_from(["", "a/", "a/b/"]),
    st.sampled_from(["", "/x", "/hooks/y"]),
)
def test_no_mixture_of_case_and_ignored_characters_hides_gits_directory(ignored, upper, tail, before, after):
    name = ".git"
    spelled = "".join(i + (c.upper() if u else c) for i, c, u in zip(ignored, name, upper, strict=False)) + ignored[4]
    assert denied_by(judge_patch(BOUNDARY, (added(f"{before}{spelled}{tail}{after}"),))) == "patch.path"


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../../x", "a/./b", "a//b", "a/", "a\\b", "a\nb", "a\x1b[0m", "a\u202eb", "x\udcff",
     "a" * 5000, "con. ", "nul./x"],
)  # fmt: skip
def test_a_path_that_is_not_plain_is_denied(path):
    decision = judge_patch(BOUNDARY, (added(path),))
    assert denied_by(decision) == "patch.path"
    assert decision.detail.isascii()


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"new_mode": "160000"}, "patch.mode"),
        ({"old_mode": "160000"}, "patch.mode"),
        ({"old_mode": "160000", "new_mode": "000000", "status": "D"}, "patch.mode"),
        ({"new_mode": "040000"}, "patch.mode"),
        ({"new_mode": "100664"}, "patch.mode"),
        ({"new_mode": "104755"}, "patch.mode"),
        ({"new_mode": ""}, "patch.mode"),
        ({"status": "R"}, "patch.mode"),
        ({"status": "D"}, "patch.mode"),
        ({"new_mode": "000000"}, "patch.mode"),
        ({"size": -1}, "patch.mode"),
        ({"size": (1 << 20) + 1}, "limits.patch.file"),
        ({"size": "big"}, "branches.protected_paths"),
        ({"path": None}, "branches.protected_paths"),
    ],
)
def test_a_change_of_another_kind_is_denied(facts, rule):
    assert denied_by(judge_patch(BOUNDARY, (replace(FILE, **facts),))) == rule


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("l", "/etc/passwd"), ("l", "../x"), ("a/l", "../../x"), ("a/l", "b/../../../x"), ("a/l", "b/../c"),
        ("l", ".git/config"), ("a/l", "../.git/config"), ("l", "x/GIT~1/config"), ("l", "a\\b"), ("l", ""), ("l", None),
        ("l", ".."), ("l", "x" * 2000), ("l", "a\nb"), ("l", "./../x"), ("l", "//x"), ("l", ".GIT"),
    ],
)  # fmt: skip
def test_a_link_that_leaves_the_tree_is_denied(path, link):
    decision = judge_patch(BOUNDARY, (added(path, new_mode="120000", link=link),))
    assert denied_by(decision) == "patch.link"
    assert decision.reason is Reason.LEAVES_TREE


@pytest.mark.parametrize(
    ("path", "link"), [("l", "x"), ("a/l", "../x"), ("a/b/l", "../../x/y/"), ("l", "./x"), ("a/l", "..")]
)
def test_a_link_inside_the_tree_is_allowed(path, link):
    assert isinstance(judge_patch(BOUNDARY, (added(path, new_mode="120000", link=link),)), Allow)


_LINKS = st.lists(st.sampled_from(["a", "b", "..", ".", "c"]), min_size=1, max_size=5).map("/".join)


@settings(max_examples=150, deadline=None)
@given(links=st.dictionaries(st.sampled_from(["l", "a/m", "a/b/n", "c/o"]), _LINKS, min_size=1))
def test_allowed_links_never_lead_outside_on_a_real_disk(links, tmp_path_factory):
    """However they chain, the kernel resolves allowed links to places inside the tree, or to nowhere."""
    changes = tuple(added(path, new_mode="120000", link=link) for path, link in links.items())
    if isinstance(judge_patch(BOUNDARY, changes), Deny):
        return
    outer = tmp_path_factory.mktemp("links")
    tree = outer / "tree"
    for directory in ("a/b", "c"):
        (tree / directory).mkdir(parents=True)
    for path, link in links.items():
        (tree / path).symlink_to(link)
    for path in links:
        try:
            landed = (tree / path).resolve(strict=True)
        except (OSError, RuntimeError):
            continue
        assert landed == tree or tree in landed.parents


def test_paths_that_collide_where_case_does_not_count_are_denied():
    link = added("A", new_mode="120000", link="x")
    assert denied_by(judge_patch(BOUNDARY, (link, added("a/hooks")))) == "patch.path"
    assert denied_by(judge_patch(BOUNDARY, (added("Readme"), added("README")))) == "patch.path"
    replaced = replace(FILE, path="dir/x", status="D", new_mode="000000", size=0)
    assert isinstance(judge_patch(BOUNDARY, (added("dir", new_mode="120000", link="x"), replaced)), Allow)


def test_a_patch_larger_than_its_limits_is_denied():
    many = tuple(added(f"f{n}") for n in range(61))
    assert denied_by(judge_patch(BOUNDARY, many)) == "limits.patch.files"
    heavy = tuple(added(f"f{n}", size=1 << 20) for n in range(6))
    assert denied_by(judge_patch(BOUNDARY, heavy)) == "limits.patch.total"
    assert isinstance(judge_patch(BOUNDARY, heavy[:5]), Allow)


@settings(deadline=None)
@given(
    st.text(max_size=40),
    st.sampled_from("ADMT"),
    st.sampled_from(["100644", "120000", "160000", "000000"]),
    st.none() | st.text(max_size=20),
)
def test_no_change_makes_judging_fail(path, status, mode, link):
    change = FileChange(path, status, "100644", mode, "0", 1, link)
    assert isinstance(judge_patch(BOUNDARY, (change,)), Allow | Deny)
