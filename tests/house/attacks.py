"""The page of attacks (docs/attacks.md) against the tests: which files try which attack.

A file tries an attack when the attack's id stands in a docstring or a comment of it, or in the name of one of its
tests (`test_d02_raw_addresses_are_refused`). The id and the words of a row are written by hand, the files are not:

    .venv/bin/python -m tests.house.attacks

writes the column of files of every row again, where it stands, and says what has no row or no test.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "attacks.md"
NOT_HERE = "## Not tested here"
_ID = re.compile(r"\b[A-I]\d\d\b")
_NAMED = re.compile(r"(?<=_)[a-i]\d\d(?=_)")
_ROW = re.compile(r"^\| ([A-I]\d\d) \| ([^|]+) \| ([^|]*) \|$", re.MULTILINE)
_REASON = re.compile(r"^\| ([A-I]\d\d) \| ([^|]+) \|$", re.MULTILINE)


def ids_in(source: str) -> set[str]:
    """The attacks that a test file says it tries."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            found.update(_ID.findall(ast.get_docstring(node) or ""))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found.update(name.upper() for name in _NAMED.findall(node.name))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found.update(_ID.findall(token.string))
    return found


def tried() -> dict[str, list[str]]:
    """Each attack that a test tries, with the files that do."""
    files: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for attack in ids_in(path.read_text("utf-8")):
            files.setdefault(attack, []).append(path.relative_to(ROOT).as_posix())
    return files


def rows(page: str) -> dict[str, list[str]]:
    """Each attack that has a row, with the files that the row names."""
    return {attack: re.findall(r"`([^`]+)`", named) for attack, _, named in _ROW.findall(page.partition(NOT_HERE)[0])}


def reasons(page: str) -> dict[str, str]:
    """Each attack that is not tested, with the reason."""
    return dict(_REASON.findall(page.partition(NOT_HERE)[2]))


def rewritten(page: str, files: Mapping[str, list[str]]) -> str:
    """The page with the column of files of every row as the tests have it."""

    def row(match: "re.Match[str]") -> str:
        named = ", ".join(f"`{path}`" for path in files.get(match[1], ()))
        return f"| {match[1]} | {match[2]} | {named} |"

    shown, heading, rest = page.partition(NOT_HERE)
    return _ROW.sub(row, shown) + heading + rest


def faults(page: str, files: Mapping[str, list[str]]) -> Iterator[str]:
    """What page and tests disagree about, a sentence each."""
    listed, without = rows(page), reasons(page)
    order = [attack for attack, _, _ in _ROW.findall(page.partition(NOT_HERE)[0])]
    yield from (f"{attack} is tried by {', '.join(files[attack])} and has no row" for attack in files.keys() - listed)
    yield from (f"{attack} has a row and no test" for attack in listed.keys() - files)
    yield from (f"{attack} is tested and is said not to be" for attack in listed.keys() & without)
    if order != sorted(set(order)):
        yield "the rows are not in the order of their ids, each once"
    for attack in listed.keys() & files:
        if listed[attack] != files[attack]:
            yield f"{attack}: the row names {listed[attack]}, the tests are {files[attack]}"


def main() -> int:
    """Write the column of files again; 1 when something is left that a person must mend."""
    files = tried()
    page = rewritten(PAGE.read_text("utf-8"), files)
    PAGE.write_text(page, "utf-8")
    left = sorted(faults(page, files))
    print(f"{len(rows(page))} attacks are tested, {len(reasons(page))} are not")
    print(*left, sep="\n", end="\n" if left else "")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
