"""Globs mean what .gitignore taught people, ignore case, and cannot be held up."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.domain.globs import covers, fault, is_broad, matches_branch, protects, reaches_below


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        (".github/**", ".github/workflows/ci.yml", True),
        (".github/**", ".GitHub/Workflows/ci.yml", True),
        (".github/**", ".github", True),  # the directory itself could be made a link
        (".github/**", "docs/.github/x", False),  # holds a slash, so it is anchored
        (".github/**", ".githubx/ci.yml", False),
        (".github/", "sub/.github/ci.yml", True),  # a slash at the end does not anchor
        ("/build", "build/x", True),
        ("/build", "sub/build", False),
        ("CODEOWNERS", "docs/codeowners", True),
        ("CODEOWNERS", "CODEOWNERS.md", False),
        ("*.tf", "infra/net/main.tf", True),
        ("*.tf", "infra/main.tfx", False),
        ("deploy/*/prod.yml", "deploy/eu/prod.yml", True),
        ("deploy/*/prod.yml", "deploy/eu/west/prod.yml", False),
        ("deploy/**/prod.yml", "deploy/prod.yml", True),
        ("deploy/**/prod.yml", "deploy/a/b/c/prod.yml", True),
        ("**/secrets/key", "secrets/key", True),
        ("**/secrets/key", "src/main.py", False),
        ("*/secrets", "main.py", False),
        ("config/prod/**", "config", True),  # a link in the place of its parent leads elsewhere
        ("config/prod/**", "config/test/x", False),
        ("a*b*c", "axxbyyc", True),
        ("a*b*c", "axxbyy", False),
        ("straße", "STRASSE", True),
    ],
)
def test_a_path_is_protected_as_gitignore_would_match_it(pattern, path, expected):
    assert protects(pattern, path) is expected


@pytest.mark.parametrize(
    ("pattern", "branch", "expected"),
    [
        ("main", "main", True),
        ("main", "Main", True),
        ("main", "main/x", False),
        ("release/*", "release/1.0", True),
        ("release/*", "release/1.0/hot", False),
        ("release/**", "release/1.0/hot", True),
        ("**", "anything/at/all", True),
    ],
)
def test_a_branch_pattern_matches_the_whole_name(pattern, branch, expected):
    assert matches_branch(pattern, branch) is expected


@pytest.mark.parametrize(
    ("pattern", "prefix", "expected"),
    [
        ("ringfence/*", "ringfence", True),
        ("**", "ringfence", True),
        ("*/x", "ringfence", True),
        ("*", "ringfence", False),
        ("main", "ringfence", False),
        ("ring*/**", "ringfence", True),
    ],
)
def test_a_pattern_that_reaches_below_a_prefix_is_seen(pattern, prefix, expected):
    assert reaches_below(pattern, prefix) is expected


@pytest.mark.parametrize(
    "pattern", ["", "/", "a//b", "../a", "a/./b", "a**b", "!a", "a?", "[ab]", "a\\b", " a", "a\x07"]
)
def test_a_pattern_with_no_meaning_here_is_named(pattern):
    assert fault(pattern)


@pytest.mark.parametrize("pattern", ["*", "**", "**/*", "*/*/*", "/**"])
def test_nothing_but_stars_is_broad(pattern):
    assert is_broad(pattern)
    assert not fault(pattern) or pattern == "/**"


_PARTS = st.text(st.sampled_from("ab."), min_size=1, max_size=4)
_SHAPES = st.one_of(
    st.just("**"), st.text(st.sampled_from("ab.*"), min_size=1, max_size=4).filter(lambda t: "**" not in t)
)


def _slow(shape, name):
    """The definition itself, exponential and obvious."""
    if not shape:
        return not name
    if shape[0] == "**":
        return _slow(shape[1:], name) or (bool(name) and _slow(shape, name[1:]))
    return bool(name) and _slow_part(shape[0], name[0]) and _slow(shape[1:], name[1:])


def _slow_part(shape, text):
    if not shape:
        return not text
    if shape[0] == "*":
        return _slow_part(shape[1:], text) or (bool(text) and _slow_part(shape, text[1:]))
    return bool(text) and shape[0] == text[0] and _slow_part(shape[1:], text[1:])


@given(st.lists(_SHAPES, min_size=1, max_size=5), st.lists(_PARTS, min_size=1, max_size=6))
def test_matching_agrees_with_its_definition(shape, name):
    assert matches_branch("/".join(shape), "/".join(name)) is _slow(shape, name)


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_makes_matching_fail(pattern, path):
    for question in (protects, covers, matches_branch, reaches_below):
        assert question(pattern, path) in (True, False)
    assert fault(pattern) is None or fault(pattern)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 200 + "b", "a" * 4000),
        ("/".join(["**", "a"] * 100) + "/b", "/".join(["a"] * 2000)),
        ("/".join(["*a*a*a*a"] * 50), "/".join(["a" * 60] * 60)),
    ],
)
def test_a_hostile_name_cannot_hold_matching_up(pattern, path):
    before = time.perf_counter()
    matches_branch(pattern, path)
    assert time.perf_counter() - before < 2
