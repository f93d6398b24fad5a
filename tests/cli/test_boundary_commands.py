"""`ringfence boundary …` and `ringfence init`: what they print, what they write, and how they end."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ringfence.cli.boundary import app
from ringfence.cli.init import init
from ringfence.domain.boundary import Boundary
from ringfence.domain.errors import InputError
from ringfence.domain.parse import digest, parse

EXAMPLES = Path(__file__).parents[2] / "examples" / "boundaries"
TEAM = EXAMPLES / "team.yaml"
MINIMAL = EXAMPLES / "minimal.yaml"

init_app = typer.Typer()
init_app.command()(init)


def ran(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def test_check_says_that_a_document_holds_and_names_its_bytes():
    assert ran("check", TEAM) == f"{TEAM} holds: {digest(TEAM.read_bytes())}\n"


def test_check_prints_every_problem_and_exits_with_2(tmp_path):
    broken = tmp_path / "b.yaml"
    broken.write_text(TEAM.read_text().replace("prefix: ringfence/", "prefix: /").replace("keep: 30d", "keep: 30"))
    lines = ran("check", broken, code=2).splitlines()
    assert [line.split(":")[1] for line in lines[:2]] == ["33", "55"]
    assert lines[-1] == "2 problems"


def test_check_as_json_is_one_document(tmp_path):
    broken = tmp_path / "b.yaml"
    broken.write_text(TEAM.read_text().replace("prefix: ringfence/", "prefix: /"))
    told = json.loads(ran("check", broken, "--json", code=2))
    assert told["holds"] is False
    assert told["problems"][0]["path"] == "branches.prefix"
    assert json.loads(ran("check", TEAM, "--json")) == {
        "file": str(TEAM), "digest": digest(TEAM.read_bytes()), "holds": True, "problems": []
    }  # fmt: skip


def test_check_refuses_bytes_that_are_not_utf8(tmp_path):
    broken = tmp_path / "b.yaml"
    broken.write_bytes(TEAM.read_bytes().replace(b"Dana", b"D\xe4na"))
    assert "cannot be seen" in ran("check", broken, code=2)


def test_a_file_that_is_not_there_is_an_input_error(tmp_path):
    result = CliRunner().invoke(app, ["check", str(tmp_path / "none.yaml")])
    assert isinstance(result.exception, InputError)
    assert result.exception.exit_code == 2


def test_show_leads_with_what_leaves():
    told = ran("show", TEAM)
    assert told.index("Code leaves the organisation") < told.index("repositories: Which repositories")
    assert "signed by Priya Raman (security, 2026-03-03)" in told


def test_show_answers_the_questions_of_one_reader():
    told = ran("show", TEAM, "--for", "platform")
    assert "Where are repositories on the worker" in told
    assert "Whose tickets become runs?" not in told


def test_show_on_a_terminal_cuts_nothing_off():
    ours, theirs = pty.openpty()
    code = "from ringfence.cli.boundary import app; app()"
    words = [sys.executable, "-c", code, "show", str(TEAM), "--for", "security"]
    environment = {"COLUMNS": "80", "TERM": "xterm", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(words, stdout=theirs, stdin=subprocess.DEVNULL, env=environment) as showing:
        os.close(theirs)
        told = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break  # this is how Linux says that the other end is closed
            if not piece:
                break
            told += piece
    os.close(ours)
    assert showing.returncode == 0
    assert b"https://provider.example.com/v1 (outside the organisation; " in told
    assert told.decode().replace("ringfence/\u2026", "").count("\u2026") == 0


def hostile(tmp_path: Path) -> Path:
    path = tmp_path / "h.yaml"
    path.write_text(
        TEAM.read_text().replace("name: Payments team, pilot", "name: \"<script>alert(1)</script> | [x](y)\"")
    )  # fmt: skip
    return path


def test_show_as_html_is_one_escaped_file_that_loads_nothing(tmp_path):
    page = ran("show", hostile(tmp_path), "--format", "html")
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not any(word in page for word in ("src=", "href=", "url(", "@import"))
    assert "default-src &#x27;none&#x27;" in page


def test_show_as_markdown_escapes_what_the_document_says(tmp_path):
    page = ran("show", hostile(tmp_path), "--format", "markdown")
    assert page.splitlines()[0] == "# Boundary: &lt;script&gt;alert(1)&lt;/script&gt; \\| \\[x\\](y)"
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert len(tables) > 40


def test_show_refuses_a_document_that_does_not_hold(tmp_path):
    broken = tmp_path / "b.yaml"
    broken.write_text("version: 1\n")
    result = CliRunner().invoke(app, ["show", str(broken)])
    assert isinstance(result.exception, InputError)


def test_diff_says_what_became_reachable(tmp_path):
    wider = tmp_path / "wider.yaml"
    wider.write_text(TEAM.read_text().replace("    - deploy/**\n", ""))
    assert ran("diff", TEAM, wider).splitlines()[:2] == [
        "became reachable:",
        "  no longer: path deploy/** may not be touched",
    ]
    assert ran("diff", TEAM, TEAM) == "nothing changed\n"
    assert json.loads(ran("diff", TEAM, wider, "--json"))["closed"] == []


def test_schema_is_json_and_the_reference_is_markdown():
    assert json.loads(ran("schema"))["title"] == "Boundary"
    assert ran("schema", "--markdown").startswith("# The boundary document")


# --- init


def began(directory: Path, *words: object) -> str:
    result = CliRunner().invoke(init_app, [str(directory), *map(str, words)])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def repository(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "repository"


GIT = {
    ".git/HEAD": "ref: refs/heads/topic\n",
    ".git/refs/remotes/origin/HEAD": "ref: refs/remotes/origin/trunk\n",
    ".git/config": '[core]\n\tbare = false\n[remote "origin"]\n\turl = https://x:t0ken@git.example.internal/acme/shop.git\n',
}
KINDS = {
    "python": (
        {"pyproject.toml": "[tool.ruff]\n[tool.mypy]\n[tool.pytest.ini_options]\n", "src/a.py": "",
         "tests/test_a.py": ""},
        ["python3 -m ruff check .", "python3 -m mypy src", "python3 -m pytest -q"],
    ),
    "older python": ({"setup.cfg": "[metadata]\n", "tox.ini": "[testenv]\ndeps = flake8\n"}, ["python3 -m flake8",
     "python3 -m unittest"]),
    "node": ({"package.json": '{"scripts": {"lint": "x", "test": "y", "postinstall": "z"}}'}, ["npm run lint",
     "npm run test"]),
    "rust": ({"Cargo.toml": ""}, ["cargo build --offline", "cargo test --offline"]),
    "go": ({"go.mod": ""}, ["go vet ./...", "go test ./..."]),
    "make": ({"Makefile": "CC := cc\ntest: build\n\t./t\nbuild:\n\tcc\ntestdata:\n"}, ["make test", "make build"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_init_writes_a_boundary_that_holds(tmp_path, kind):
    files, commands = KINDS[kind]
    output = tmp_path / "b.yaml"
    told = began(
        repository(tmp_path, {**files, **GIT}), "-o", output, "--owner", 'Dana "D" O\'Kafor: #1', "--requester", "dana"
    )
    assert "it holds" in told
    boundary = parse(output.read_text())
    assert isinstance(boundary, Boundary)
    (listed,) = boundary.repositories
    assert (listed.name, listed.base, listed.stage, listed.access) == ("acme/shop", "trunk", "observe", "write")
    assert [" ".join(check.run) for check in boundary.commands.repositories["acme/shop"].checks] == commands
    assert boundary.owners[0].name == 'Dana "D" O\'Kafor: #1'
    assert "t0ken" not in output.read_text()


def test_what_init_cannot_know_is_marked_and_refused(tmp_path):
    output = tmp_path / "b.yaml"
    told = began(repository(tmp_path, {"README.md": ""}), "-o", output)
    assert "to fill in" in told
    problems = parse(output.read_text())
    assert not isinstance(problems, Boundary)
    assert {problem.what.partition(" was")[0] for problem in problems} == {
        "'<name of the person who signs>'", "'<owner/name at the code host>'", "'<account name at the tracker>'",
        "'<the command that tests the repository>'",
    }  # fmt: skip


def test_init_sees_a_toolchain_and_a_given_name(tmp_path):
    output = tmp_path / "b.yaml"
    words = ("--owner", "D", "--requester", "d", "--repository", "a/b", "--toolchain", "/opt/toolchains/shop")
    began(repository(tmp_path, {"go.mod": ""}), "-o", output, *words)
    commands = parse(output.read_text()).commands
    assert commands.toolchains["tools"].source == "/opt/toolchains/shop"
    assert commands.repositories["a/b"].path == ("/opt/tools/bin", "/usr/bin")


def test_init_never_replaces_a_document_unless_it_is_told_to(tmp_path):
    output = tmp_path / "b.yaml"
    output.write_text("mine\n")
    result = CliRunner().invoke(init_app, [str(repository(tmp_path, {"go.mod": ""})), "-o", str(output)])
    assert isinstance(result.exception, InputError)
    assert output.read_text() == "mine\n"
    began(tmp_path / "repository", "-o", output, "--force")
    assert output.read_text() != "mine\n"


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": "not = [toml"},
        {"pyproject.toml": "tool = 3\n"},
        {"package.json": "[" * 5000},
        {"package.json": "[]"},
        {"package.json": '{"scripts": ["lint"]}'},
        {".git/HEAD": "ref: refs/heads/$(touch x)\n"},
        {".git/config": '[remote "origin"]\n\turl = "\n'},
        {"Makefile": "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")},
    ],
)
def test_init_survives_files_that_are_not_what_they_seem(tmp_path, files):
    assert "stage observe" in began(repository(tmp_path, files), "-o", tmp_path / "b.yaml")
