"""The budget of the code itself: printed for a reader, and kept."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "ringfence"
MODULES = sorted(
    path for path in SOURCE.rglob("*.py") if "demo_content" not in path.parts or path.parent.name == "demo_content"
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60
MOST_METHODS = 20
FORBIDDEN_NAMES = {"manager", "helper", "helpers", "util", "utils", "common", "service", "handler", "processor", "misc"}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def named(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_modules_stay_short(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = sorted(((len(path.read_text("utf-8").splitlines()), named(path)) for path in MODULES), reverse=True)
    with capsys.disabled():
        print("\nlongest modules:", *(f"  {count:4d}  {name}" for count, name in lengths[:8]), sep="\n")
    assert [row for row in lengths if row[0] > LONGEST_MODULE] == []


def test_modules_of_tests_stay_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in TESTS}
    assert {name: count for name, count in lengths.items() if count > LONGEST_MODULE} == {}


def test_functions_stay_short(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = sorted(
        (
            ((node.end_lineno or 0) - node.lineno + 1, f"{named(path)}:{node.name}")
            for path in MODULES
            for node in functions(path)
        ),
        reverse=True,
    )
    with capsys.disabled():
        print("\nlongest functions:", *(f"  {count:4d}  {name}" for count, name in lengths[:8]), sep="\n")
    assert [row for row in lengths if row[0] > LONGEST_FUNCTION] == []


def test_classes_have_few_methods() -> None:
    many = [
        f"{named(path)}:{node.name}"
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef)
        and sum(isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) for child in node.body) > MOST_METHODS
    ]
    assert many == []


def test_broad_excepts_are_few_and_known(capsys: pytest.CaptureFixture[str]) -> None:
    broad = [
        f"{named(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")))
        # One that only cleans up and raises again swallows nothing.
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
    ]
    with capsys.disabled():
        print("\nbroad excepts:", *(f"  {place}" for place in broad), sep="\n")
    assert len(broad) <= 5, "each is a place where a denial may become a permission"


def test_only_settings_reads_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    readers = [
        named(path)
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]
    with capsys.disabled():
        print("\nreaders of the environment:", *(f"  {name}" for name in sorted(set(readers))), sep="\n")
    # Programs of their own inside the sandbox, whose whole environment is made for them.
    assert set(readers) <= {
        "settings.py",
        "adapters/agents/builtin_program.py",
        "adapters/agents/external/programs/vibe_program.py",
    }


def test_names_are_words_of_the_field() -> None:
    assert [named(path) for path in MODULES if path.stem in FORBIDDEN_NAMES] == []


def test_no_mocks() -> None:
    words = ("unittest.mock", "MagicMock", "monkeypatch.setattr", "mocker.patch")
    users = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in TESTS
        for word in words
        if word in path.read_text("utf-8") and path != Path(__file__)
    ]
    assert users == []


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of ours that a module names in an import, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(names & set(known) or {node.module})
    return found & set(known)


def test_no_module_imports_itself_by_way_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    known = {
        ".".join(("ringfence", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in MODULES
    }
    graph = {name: imports(path, known) - {name} for name, path in known.items()}
    left = dict(graph)
    while True:  # take away what imports nothing that is left; what remains lies on a cycle or leads to one
        free = [name for name, needs in left.items() if not needs & set(left)]
        if not free:
            break
        for name in free:
            del left[name]
    with capsys.disabled():
        print(f"\nimport cycles: {sorted(left) or 'none'} ({len(graph)} modules)")
    assert sorted(left) == []
