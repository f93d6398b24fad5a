"""The documents keep step with the code."""

import re
from pathlib import Path

import attacks
import pytest
import typer

from ringfence.cli.main import app
from ringfence.domain import errors

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


def commands() -> set[str]:
    group = typer.main.get_command(app)
    assert hasattr(group, "commands")
    return set(group.commands)


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    named = set(re.findall(r"`(?:ringfence )?([a-z]+)(?: [A-Za-z\[\]\\|-]+)*`", page))
    assert commands() - named == set()


def test_every_command_teaches() -> None:
    group = typer.main.get_command(app)
    silent = [name for name, command in group.commands.items() if len(command.help or "") < 20]  # type: ignore[attr-defined]
    assert silent == []


def test_exit_codes_are_documented() -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    listed = {int(code) for code in re.findall(r"^\| (\d) \|", page, re.MULTILINE)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    raised = {kind.exit_code for kind in kinds if issubclass(kind, errors.RingfenceError)}
    assert raised | {0, 8} <= listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [link for link in links if link and "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_each_threat_has_a_control_a_test_that_is_there_and_what_is_left() -> None:
    page = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    parts = page.split("\n## ")[1:]
    assert [part.split("\n")[0] for part in parts] == [
        "Ticket", "Repository", "Agent and sandbox", "Network", "Models", "Credentials", "Publishing", "Evidence",
        "Operator",
    ]  # fmt: skip
    for part in parts:
        rows = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("| ")][2:]
        assert len(rows) >= 3
        for row in rows:
            threat, control, tests, left = (cell.strip() for cell in row)
            assert threat and control and left
            named = re.findall(r"`([^`]+)`", tests)
            assert named and all((ROOT / path).is_file() for path in named), threat


def test_the_page_of_attacks_names_what_the_tests_try() -> None:
    page = attacks.PAGE.read_text("utf-8")
    assert len(attacks.rows(page)) >= 96
    assert sorted(attacks.faults(page, attacks.tried())) == [], "`python -m tests.house.attacks` writes the files again"
