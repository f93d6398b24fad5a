"""The boundary parser: no text breaks it, and what it takes is what another reader of YAML sees.

Input: text; or, after a byte 1, edits of the smallest example: where, how many characters go, and what comes, a line
each.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from ruamel.yaml import YAML

from ringfence.domain.boundary import Boundary
from ringfence.domain.hosts import name_fault
from ringfence.domain.parse import Problem, digest, parse
from ringfence.domain.parse.tree import MOST_BYTES

MINIMAL = (Path(__file__).parents[2] / "examples" / "boundaries" / "minimal.yaml").read_text("utf-8")
_EDIT = re.compile(rb"([0-9]{1,4}) ([0-9]{1,3}) (.*)")


def text_of(content: bytes) -> str:
    """The document that an input stands for."""
    if content[:1] != b"\x01":
        return content.decode("utf-8", "replace")
    text = MINIMAL
    for line in content[1:].split(b"\n")[:40]:
        edit = _EDIT.fullmatch(line)
        if edit is None:
            continue
        at, count = int(edit[1]) % (len(text) + 1), int(edit[2])
        text = text[:at] + edit[3].decode("utf-8", "replace").replace("\\n", "\n") + text[at + count :]
    return text


def judge(content: bytes) -> None:
    """One document; anything raised but nothing is wrong."""
    text = text_of(content)
    read = parse(text)
    if isinstance(read, Boundary):
        assert read == parse(text), "read twice, it says two things"
        _require_sound(read, text)
        return
    assert read, "neither a boundary nor a problem"
    lines = text.count("\n") + 1
    for problem in read:
        assert isinstance(problem, Problem)
        assert 1 <= problem.line <= lines + 1 and problem.column >= 1, problem
        assert problem.what and problem.mend, problem


def _require_sound(read: Boundary, text: str) -> None:
    """What an accepted document must hold, whoever reads it."""
    assert len(text.encode()) <= MOST_BYTES
    assert digest(text) == digest(text.encode())
    seen = YAML(typ="safe", pure=True).load(text)
    assert isinstance(seen, dict)
    assert set(seen) <= set(Boundary.model_fields), "a key that nobody read"
    assert shape(seen) >= {(name,) for name in Boundary.model_fields if name in seen}
    assert [owner["name"] for owner in seen["owners"]] == [owner.name for owner in read.owners]
    assert [str(one["name"]) for one in seen["repositories"]] == [one.name for one in read.repositories]
    assert seen["branches"]["prefix"] == read.branches.prefix and read.branches.prefix not in ("", "/", "main")
    assert [str(route["endpoint"]) for route in seen["models"]["routes"]] == [
        one.endpoint for one in read.models.routes
    ]
    for phase in ("setup", "agent", "validation"):
        for rule in read.network_rules(phase):
            assert name_fault(rule.host.removeprefix("*.")) is None and rule.host.count("*") <= 1, rule
            assert 0 < rule.port < 65536, rule


def shape(value: Any, steps: tuple[Any, ...] = ()) -> set[tuple[Any, ...]]:
    """Every place of a document."""
    places = {steps}
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        places |= shape(below, (*steps, key))
    return places


def seeds() -> Iterator[bytes]:
    """Where a fuzzer begins."""
    yield b"\x01"
    for find, put in (
        ("pull_request", "branch"),
        ("network:", "network:\\n  setup:\\n    - {host: a.example.internal, port: 443}\\n#"),
        ("version: 1", "version: 2"), ("cleanup: always", "cleanup: &a always"), ("30d", "3w"), ("name:", "nam:"),
        ("prefix: ", "prefix: *"), ("draft", "!!str draft"), ("\n", "\\n\\t"), (": ", ": {"),
    ):  # fmt: skip
        if find in MINIMAL:
            yield b"\x01%d %d %s" % (MINIMAL.index(find), len(find) if len(find) > 1 else 0, put.encode())
    for text in (
        "a: [1, {b: c}]\n",
        "? [a]\n: b\n",
        "%YAML 1.1\n---\n",
        "- &a x\n- *a\n",
        'a: "\\u202e"\n',
        "a: |2-\n   x\n",
    ):
        yield text.encode()


def inputs() -> st.SearchStrategy[bytes]:
    """Inputs for hypothesis: edits at places that mean something, and small documents."""
    starts = [match.start() for match in re.finditer(r"[\w./@-]+|[:\n#\[{]", MINIMAL)]
    word = st.sampled_from(
        ["", "*", "**", "main", "null", "true", "1", "-1", "0x10", "1e3", "~", "&a ", "*a", "!!str ", "- ", "{", "}",
         "[", "]", ": ", "\\n", "\\n  ", "'", '"', "|", ">", "#", "\u202e", "\ufeff", "2026-02-30", "10d", "9" * 30,
         "host", "port",
         "<<: ", "? ", "%", "---", "...", "a.example.internal", "*.example.internal", "443", "0.0.0.0/0"]
    )  # fmt: skip
    edit = st.tuples(st.sampled_from(starts), st.integers(0, 40), st.lists(word, max_size=3).map("".join))
    edits = st.lists(edit, max_size=4).map(
        lambda made: b"\x01" + b"\n".join(f"{at} {count} {put}".encode() for at, count, put in made)
    )
    return edits | st.lists(word, max_size=12).map(lambda made: "".join(made).replace("\\n", "\n").encode())
