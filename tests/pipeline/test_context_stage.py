"""Briefs made from real repositories: the demo's, and small ones made for a case."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ringfence.adapters.git import GitObjects
from ringfence.adapters.trackers.folder import FolderTracker
from ringfence.demo_content import boundary_text, write_tree
from ringfence.domain.boundary import Boundary
from ringfence.domain.brief import Briefed, Trust
from ringfence.domain.checks import CheckResult
from ringfence.domain.errors import RunStopped
from ringfence.pipeline.stages.context import ContextSources, assemble

GIT = ("git", "-c", "user.name=Test", "-c", "user.email=test@example.internal", "-c", "init.defaultBranch=main")


def git(place: Path, *argv: str) -> str:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(place), "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run([*GIT, *argv], cwd=place, env=environment, check=True, capture_output=True, text=True).stdout


def commit(tree: Path) -> tuple[Path, str]:
    """The bare repository of a tree, and its one commit."""
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "base")
    return tree / ".git", git(tree, "rev-parse", "HEAD").strip()


def boundary(**limits: int) -> Boundary:
    text = boundary_text(
        location="/srv/ringfence", toolchain="/srv/toolchain", replay="/srv/replay.json", registry="[]", packages="{}"
    )
    parsed = Boundary.model_validate(YAML(typ="safe", pure=True).load(text))
    return parsed.model_copy(update={"limits": parsed.limits.model_copy(update=limits)})


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> ContextSources:
    place = tmp_path_factory.mktemp("demo")
    for name in ("inventory", "handbook", "tickets"):
        write_tree(name, place / name)
    repo, base = commit(place / "inventory")
    handbook, shown = commit(place / "handbook")
    return ContextSources(
        ticket=FolderTracker(place / "tickets").ticket("INV-7"),
        boundary=boundary(),
        repository="demo/inventory",
        commit=base,
        repo=repo,
        objects=GitObjects(),
        context=(("demo/handbook", shown, handbook),),
    )


FAILED = CheckResult(
    name="types",
    kind="types",
    argv=("python3", "-m", "mypy", "src"),
    passed=False,
    exit_code=1,
    stopped=None,
    seconds=1.5,
    output="sha256:00",
    tail="src/inventory/reorder.py:22: error: Incompatible return value type\n",
)


def test_every_part_of_the_demo_brief_names_its_source_and_trust(demo: ContextSources) -> None:
    brief = assemble(demo)
    at = f"demo/inventory@{demo.commit}"
    assert [(part.kind, part.provenance, part.trust) for part in brief.parts] == [
        ("task", "the boundary and the worker", Trust.OPERATOR),
        ("checks", "the boundary", Trust.OPERATOR),
        ("ticket", f"ticket INV-7 {demo.ticket.digest}", Trust.UNTRUSTED),
        ("instructions", f"{at}:AGENTS.md", Trust.BASE),
        ("instructions", f"{at}:CONTRIBUTING.md", Trust.BASE),
        ("file", f"{at}:src/inventory/reorder.py", Trust.BASE),
        ("search", f"{at}:(search)", Trust.BASE),
        ("map", f"{at}:(map)", Trust.BASE),
        ("map", f"demo/handbook@{demo.context[0][1]}:(map)", Trust.BASE),
    ]
    assert brief.left_out == ()
    assert brief.tokens <= demo.boundary.limits.brief_tokens
    assert brief.line == Briefed(brief.digest, brief.tokens, 9, ()).line


def test_the_task_says_what_is_asked_how_it_is_judged_and_what_is_forbidden(demo: ContextSources) -> None:
    text = assemble(demo).text
    for wanted in (
        "- types (types, must pass): `python3 -m mypy src`",
        "Protected paths, which a change may not touch: `pyproject.toml`",
        "20 files, 262144 bytes a file",
        f"- /context/demo/handbook holds demo/handbook at {demo.context[0][1]}, read-only",
        "There is no network",
        f"commit {demo.commit})",
        "bytes): class Item.is_low",
        "tests/test_reorder.py:19: def test_a_started_case_is_ordered_whole() -> None:",
        "arithmetic.md",
    ):
        assert wanted in text


def test_the_same_sources_give_the_same_brief(demo: ContextSources) -> None:
    assert assemble(demo) == assemble(demo)


def test_a_later_attempt_carries_the_failing_checks_as_quoted_text(demo: ContextSources) -> None:
    again = replace(demo, attempt=2, failing=(FAILED,), previous_diff_stat="1 files, +3 -1, commit c0ffee")
    brief = assemble(again)
    repair = [part for part in brief.parts if part.kind == "repair"]
    assert [(part.title, part.trust) for part in repair] == [
        ("Repair: attempt 1 did not pass the check types (exit code 1)", Trust.UNTRUSTED),
        ("What attempt 1 changed", Trust.UNTRUSTED),
    ]
    assert brief.text.startswith("# Brief, attempt 2\n")
    assert "Incompatible return value type" in brief.text
    assert brief.digest != assemble(demo).digest


def test_a_check_that_was_ended_says_why(demo: ContextSources) -> None:
    ended = replace(FAILED, exit_code=None, stopped="timeout", tail="")
    text = assemble(replace(demo, attempt=3, failing=(ended,))).text
    assert "## Repair: attempt 2 did not pass the check types (timeout)" in text
    assert "(no output)" in text


def test_a_small_budget_leaves_the_map_out_and_says_so(demo: ContextSources) -> None:
    brief = assemble(replace(demo, boundary=boundary(brief_tokens=1_800)))
    assert brief.tokens <= 1_800
    assert {"task", "checks", "ticket"} <= {part.kind for part in brief.parts}
    assert any(name.startswith("map: ") for name in brief.left_out)
    assert "## Left out for length" in brief.text


def test_a_budget_too_small_for_the_task_stops_the_run(demo: ContextSources) -> None:
    with pytest.raises(RunStopped) as caught:
        assemble(replace(demo, boundary=boundary(brief_tokens=500)))
    assert caught.value.reason == "brief_budget"


def test_binary_files_and_files_that_are_too_long_do_not_fill_the_brief(demo: ContextSources, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "logo.png").write_bytes(b"\x89PNG\0\0binary")
    (tree / "long.txt").write_text("a line of text\n" * 10_000)
    (tree / "latin.txt").write_bytes(b"caf\xe9\n")
    repo, base = commit(tree)
    ticket = replace(demo.ticket, title="t", body="See logo.png, long.txt and latin.txt.")
    large = boundary(brief_tokens=100_000)
    brief = assemble(replace(demo, boundary=large, repo=repo, commit=base, context=(), ticket=ticket))
    files = {part.title.rpartition(" ")[2]: part.text for part in brief.parts if part.kind == "file"}
    assert set(files) == {"long.txt", "latin.txt"}
    assert files["latin.txt"] == "caf\ufffd\n"
    assert files["long.txt"].endswith("[cut: the file has 150000 bytes]") and len(files["long.txt"]) < 25_000


def test_an_empty_repository_still_makes_a_brief(demo: ContextSources, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "empty")
    base = git(tmp_path, "rev-parse", "HEAD").strip()
    brief = assemble(replace(demo, repo=tmp_path / ".git", commit=base, context=()))
    assert [part.kind for part in brief.parts] == ["task", "checks", "ticket"]
