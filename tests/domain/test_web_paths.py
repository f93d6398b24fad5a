"""Paths of requests: what a pattern covers, and what is too ambiguous to be looked at."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.domain.decision import Deny
from ringfence.domain.hosts import HostRule, judge_request
from ringfence.domain.web_paths import Ambiguous, covered, pattern_fault, readings

HOST = "packages.example.internal"


@pytest.mark.parametrize(
    ("pattern", "target", "expected"),
    [
        ("/simple/**", "/simple/pkg/", True),
        ("/simple/**", "/simple/", True),
        ("/simple/**", "/simple/a/b/c?x=1", True),
        ("/simple/**", "/simple", True),
        ("/simple/**", "/simpler/a", False),
        ("/simple/**", "/SIMPLE/a", False),
        ("/simple/*", "/simple/a/b", False),
        ("/files/*.whl", "/files/a.whl", True),
        ("/files/*.whl", "/files/a.tar.gz", False),
        ("/a/**/info", "/a/b/c/info", True),
        ("/a", "/a", True),
        ("/a", "/a/", False),
        ("/", "/", True),
        ("/", "/a", False),
        ("/~user/*", "/%7Euser/x", True),
        ("/a%20b", "/a%20b", True),
        ("/@scope/*", "/@scope%2fname", False),  # its other reading is one component
        ("/@scope**/*", "/@other%2fname", False),
        ("/*", "/@scope%2fname", False),  # its other reading lies deeper
        ("/**", "/@scope%2fname", True),
    ],
)
def test_a_pattern_covers_a_path_in_every_reading(pattern: str, target: str, expected: bool) -> None:
    assert covered((pattern,), readings(target)) is expected


@pytest.mark.parametrize(
    "target",
    [
        "/a/../b", "/a/./b", "/..", "/.", "/a/..", "/%2e%2e/b", "/.%2e/b", "/a/%2E", "/a/..;/b", "/a/..;x=1/b",
        "/..%2fb", "/a%2f..%2fb", "/a%2f%2fb", "//a", "/a//b", "/a\\b", "/a%5cb", "/a%5Cb", "/%252e", "/%25", "/a%00b",
        "/a%0ab", "/%7f", "/%", "/%4", "/%zz", "/a b", "/a\tb",
        "/é", "/a#b", "a/b", "", "*", "?a", "http://host/a", "/a?\x00",
    ],
)  # fmt: skip
def test_a_path_with_two_readings_is_refused(target: str) -> None:
    with pytest.raises(Ambiguous):
        readings(target)


def test_an_escaped_slash_is_covered_when_both_its_readings_are() -> None:
    assert covered(("/@scope/*", "/@scope*"), readings("/@scope%2fname"))
    assert not covered(("/@scope/*", "/@scope*"), readings("/@other%2fname"))


@given(
    st.lists(
        st.sampled_from(["/", ".", "..", "%2e", "%2f", "%5c", "%25", ";", "a", "admin", "%61", "\\", "//"]), max_size=9
    )
)
def test_nothing_below_admin_is_read_as_something_else(parts: list[str]) -> None:
    """Whatever one decoding more, or the removal of dot segments, makes of a path: a covered one stays covered."""
    target = "/open/" + "".join(parts)
    try:
        read = readings(target)
    except Ambiguous:
        return
    if covered(("/open/**",), read):
        once = unquote(target)
        assert once == unquote(once)
        resolved: list[str] = []
        for part in once.replace("\\", "/").split("/"):
            if part == "..":
                resolved = resolved[:-1]
            elif part != ".":
                resolved.append(part)
        assert resolved[:2] == ["", "open"]


@pytest.mark.parametrize(
    "pattern", ["simple", "", "/a/../b", "/a//b", "/a?b", "/a b", "/a**", "/[a]", "/%2e", "/a%2fb", "/%41%"]
)
def test_patterns_that_never_match_are_said(pattern: str) -> None:
    assert pattern_fault(pattern)


@pytest.mark.parametrize("pattern", ["/", "/a", "/a/**", "/**/b", "/*.whl", "/@scope/*"])
def test_patterns_that_can_be_used(pattern: str) -> None:
    assert pattern_fault(pattern) is None


def _rule(name: str, host: str, **more: object) -> HostRule:
    return HostRule(name, host, 443, **more)  # type: ignore[arg-type]


def test_the_narrowest_name_decides_and_nothing_lets_pass_unread_what_another_rule_reads() -> None:
    rules = (
        _rule("wild", "*.example.internal"),
        _rule("open", HOST),
        _rule("read", HOST, inspect=True, methods=("GET",), paths=("/a/**",)),
    )
    assert judge_request(rules, "setup", HOST, 443, asked=("GET", "/a/b")) == rules[2]
    assert isinstance(judge_request(rules, "setup", HOST, 443, asked=("GET", "/b")), Deny)
    assert isinstance(judge_request(rules, "setup", HOST, 443, asked=("PUT", "/a/b")), Deny)


def test_the_first_rule_that_covers_a_request_is_its_rule() -> None:
    rules = (
        _rule("one", HOST, inspect=True, methods=("GET",), paths=("/a/**",)),
        _rule("two", HOST, inspect=True, methods=("POST",)),
        _rule("three", HOST, inspect=True),
    )
    for asked, name in (("GET", "one"), ("POST", "two"), ("DELETE", "three")):
        judged = judge_request(rules, "setup", HOST, 443, asked=(asked, "/a/b"))
        assert isinstance(judged, HostRule)
        assert judged.name == name


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "get", "", "GET ", "PROPFIND", "LINK"])
def test_methods_that_nobody_lists_are_refused(method: str) -> None:
    rules = (_rule("all", HOST, inspect=True),)
    assert isinstance(judge_request(rules, "setup", HOST, 443, asked=(method, "/a")), Deny)
