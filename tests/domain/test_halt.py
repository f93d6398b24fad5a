"""Halts as files: what is meant by a name, and that nothing that cannot be read lets a run go on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.domain.halt import Halt, covering, file_name, from_file, is_halt, to_file

RUN, REPOSITORY = "INV-7-r1", "acme/tiny"


@pytest.mark.parametrize(
    "halt",
    [
        Halt("all", "", "why", "kim", 5.0),
        Halt("run", RUN, "w\n", "k", 1.5),
        Halt("repository", "a/b/c.d", "x", "y", 0.0),
    ],
)
def test_a_halt_is_what_its_file_says(halt: Halt) -> None:
    name = file_name(halt.scope, halt.name)
    assert "/" not in name and is_halt(name)
    assert from_file(name, to_file(halt), 9.0) == halt


def test_each_scope_covers_its_own() -> None:
    assert Halt("all").covers("", "")
    assert Halt("run", RUN).covers(RUN, "") and not Halt("run", RUN).covers("INV-7-r2", REPOSITORY)
    assert Halt("repository", REPOSITORY).covers("", REPOSITORY) and not Halt("repository", REPOSITORY).covers(RUN, "")
    assert covering((Halt("run", "x"), Halt("repository", REPOSITORY)), RUN, REPOSITORY) == Halt(
        "repository", REPOSITORY
    )
    assert covering((), RUN, REPOSITORY) is None


def test_plain_words_are_the_reason() -> None:
    assert from_file("all", b"pull the plug\n", 7.0) == Halt("all", "", "pull the plug", "a file", 7.0)


@given(st.text(min_size=1), st.none() | st.binary(max_size=200), st.floats(0, 1e12))
def test_every_file_that_is_meant_halts_something(name: str, content: bytes | None, when: float) -> None:
    halt = from_file(name, content, when)
    assert halt.reason and halt.by
    assert halt.scope == "all" or file_name(halt.scope, halt.name) == name
    if halt.scope == "all":
        assert halt.covers(RUN, REPOSITORY)
