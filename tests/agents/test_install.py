"""Pins and installed trees: every version is pinned by digests, no registry is named, and a changed tree is seen."""

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from agents.trial import NAMES, require, shelf
from ringfence.adapters.agents.external.install import NODE, Shelf, pins_digest, tree_digest
from ringfence.adapters.agents.external.table import TABLE
from ringfence.domain.errors import ControlMissing
from ringfence.domain.steering import what_steers_agents

PINS = Path(str(files("ringfence.adapters.agents.external"))) / "pins"
TREES = sorted({entry.installed_as for entry in TABLE.values()} | {NODE})


@pytest.mark.parametrize("name", TREES)
def test_pins_name_a_digest_for_everything_and_no_registry(name: str) -> None:
    lock, requirements = PINS / name / "package-lock.json", PINS / name / "requirements.txt"
    assert lock.is_file() != requirements.is_file()
    if lock.is_file():
        packages = json.loads(lock.read_text())["packages"]
        assert all(re.match(r"sha512-", entry["integrity"]) for path, entry in packages.items() if path)
        assert not any("resolved" in entry for entry in packages.values())
        return
    text = requirements.read_text()
    wanted = re.findall(r"^[A-Za-z0-9_.-]+(?:\[[^]]*\])?==[^ ]+", text, re.MULTILINE)
    assert wanted and len(re.split(r"\n(?=[A-Za-z])", text.strip())) == len(wanted)
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[A-Za-z])", text.strip()))
    assert "://" not in text


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_the_version_that_is_pinned(name: str) -> None:
    entry = TABLE[name]
    if entry.source == "npm":
        packages = json.loads((PINS / entry.installed_as / "package-lock.json").read_text())["packages"]
        assert packages[f"node_modules/{entry.package}"]["version"] == entry.version
    else:
        assert f"{entry.package}=={entry.version} " in (PINS / entry.installed_as / "requirements.txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_what_an_agent_is_not_shown_is_said_when_it_is_written(name: str) -> None:
    for pattern in TABLE[name].hidden:
        path = pattern.strip("/").replace("*", "x")
        assert what_steers_agents([path, f"{path}/below"]) == (path, f"{path}/below")


def test_an_agent_that_is_not_installed_stops_the_start_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ControlMissing) as caught:
        Shelf(tmp_path).place(TABLE["pi"])
    assert "agents install pi" in caught.value.mend


def test_an_agent_that_needs_a_newer_python_says_so(tmp_path: Path) -> None:
    with pytest.raises(ControlMissing, match=r"needs Python 3\.12"):
        Shelf(tmp_path).place(TABLE["vibe"])


def test_any_change_of_a_tree_changes_its_digest(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "agent"
    program.write_text("one")
    seen = [tree_digest(tmp_path)]
    program.write_text("two")
    seen.append(tree_digest(tmp_path))
    program.chmod(0o755)
    seen.append(tree_digest(tmp_path))
    (tmp_path / "link").symlink_to("bin/agent")
    seen.append(tree_digest(tmp_path))
    (tmp_path / "empty").mkdir()
    seen.append(tree_digest(tmp_path))
    assert len({digest for digest, _size in seen}) == 5
    assert [size for _digest, size in seen] == [3] * 5


def test_new_pins_are_another_tree() -> None:
    assert len({pins_digest(name) for name in TREES}) == len(TREES)


def test_an_installed_tree_is_whole_and_nobody_may_write_it() -> None:
    require("pi")
    found = shelf().find("pi")
    assert found is not None and shelf().intact(found)
    tree = found.place / "tree"
    assert [path for path in (tree, *tree.rglob("*")) if not path.is_symlink() and path.stat().st_mode & 0o222] == []
