"""Texts that are no boundary, and texts made to harm their reader: refused, in time, at a place inside them."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from team import TEAM, problems_of

from ringfence.domain.boundary import Boundary
from ringfence.domain.parse import parse


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the document is empty"),
        ("[]", "the document is a list"),
        ("a: b: c", "not YAML"),
        ("a: {", "not YAML"),
        ("a: 1\n---\nb: 2", "a second document begins here"),
        ("%YAML 1.1\n---\na: 1", "directives are not read"),
        ("? [a]\n: b", "a key must be text"),
        ("a: \u200bx", "the character U+200B cannot be seen"),
        ("\ufeffa: x", "the character U+FEFF cannot be seen"),
        ("a: \ufffd", "the character U+FFFD cannot be seen"),
        ("a: [" * 30, "too many or too deeply nested values"),
        ("a" * 20_001, "a line longer than 20000 characters"),
        ("a: x\n" * 60_000, "longer than 256 KiB"),
        ("- x\n" * 60_000, "too many or too deeply nested values"),
        ('a: "\\U00110000"', "not YAML"),
    ],
)
def test_text_that_is_no_boundary_is_refused(text, what):
    assert any(what in problem.what for problem in problems_of(text)), problems_of(text)


def test_an_alias_bomb_is_refused_before_it_grows():
    bomb = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(500))
    before = time.perf_counter()
    assert any("aliases are not read" in problem.what for problem in problems_of(bomb))
    assert time.perf_counter() - before < 5


@pytest.mark.parametrize(
    "text",
    ["[" * 20_000, "- " * 10_000, "? " * 10_000, "!" * 20_000, "a: {b: " * 2_800, "[\n" * 130_000, "!a\n" * 80_000],
)
def test_a_hostile_text_is_refused_in_time(text):
    before = time.perf_counter()
    assert problems_of(text)
    assert time.perf_counter() - before < 5


_PIECES = st.sampled_from(
    ["version", "name", "owners", "a", "1", "- ", ": ", "{", "}", "[", "]", "&x ", "*x", "!!int ", "|\n", ">", "'", '"',
     "\n", "\n  ", "# ", "%YAML", "---", "...", "\t", "\\", "\r", "\x00", "\u2028", "é", "\ud800", "<<: ", "? ", ", "]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=80), st.lists(_PIECES, max_size=25).map("".join)))
@example("\"'\r")
def test_no_text_makes_parsing_fail_and_every_problem_lies_inside_it(text):
    assert_problems_lie_inside(text)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_boundary_never_makes_parsing_fail(data):
    place = data.draw(st.integers(0, len(TEAM)))
    removed = data.draw(st.integers(0, 40))
    inserted = data.draw(st.one_of(_PIECES, st.text(max_size=6)))
    assert_problems_lie_inside(TEAM[:place] + inserted + TEAM[place + removed :])


def assert_problems_lie_inside(text: str) -> None:
    found = parse(text)
    if isinstance(found, Boundary):
        return
    assert found
    lines = text.split("\n")
    for problem in found:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert "\n" not in str(problem)
