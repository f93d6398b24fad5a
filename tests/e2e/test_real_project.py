"""A real public project: its source distribution with its own tests, a bug seeded into it, a ticket about the bug.

The distribution and pytest come through the Python package index, by the machine's own pip, pinned. Where no
index can be reached these tests are skipped; anything else that goes wrong is a failure.
"""

import fcntl
import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from hosting import run_git
from ringfence.domain import events as e
from ringfence.web.host.principals import Permission
from ringfence.wiring import reading
from worksite import BRANCH, REPOSITORY, TICKET, TITLE, Worksite, worksite

pytestmark = pytest.mark.registry

PROJECT = "pathspec-0.12.1"
SDIST = "pathspec==0.12.1 --hash=sha256:a482d51503a1ab33b1c67a6c3813a26953dbdc71c31dacaef9a838c4e29f5712"
TOOLS = ("pytest==9.2.0", "iniconfig==2.3.1", "packaging==26.3", "pluggy==1.7.0", "pygments==2.21.0")
#: What pip says when it found no index, or one that lacks what it was asked for.
UNREACHABLE = ("Could not find a version", "No matching distribution", "Connection", "Could not fetch", "Network")
FILE = "pathspec/patterns/gitwildmatch.py"
#: The bug has two parts, as the project has it and as it is seeded: the first attempt mends only one of them.
SEEDS = (
    ("output.append('(?:/.+)?')", "output.append('(?:/.+)')"),
    ("include = False", "include = True"),
)
TICKET_TEXT = f"""Since the last change `**` between two slashes no longer matches when there is no directory there,
and patterns that begin with `!` include files instead of excluding them. Both are decided by
`GitWildMatchPattern.pattern_to_regex()` in `{FILE}`. The tests of this repository show it."""


@dataclass(frozen=True)
class Downloads:
    """What came from the index: the project as it was published, and an environment with pytest."""

    project: Path
    toolchain: Path


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Downloads:
    """Fetched once for all processes of a session of tests."""
    place = tmp_path_factory.getbasetemp()
    root = (place if worker_id == "master" else place.parent) / "real-project"
    root.mkdir(exist_ok=True)
    found = Downloads(root / PROJECT, root / "toolchain")
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "complete").exists():
            _fetch(root, found)
            (root / "complete").touch()
    return found


@pytest.fixture
def real_site(downloads: Downloads, tmp_path: Path) -> Iterator[Worksite]:
    """A site whose repository is the real project with the seeded bug, checked by the project's own tests."""
    shutil.copytree(downloads.project, tmp_path / "seeded")
    source = tmp_path / "seeded" / FILE
    for right, wrong in SEEDS:
        text = source.read_text()
        assert text.count(right) == 1, f"the bug does not apply to {FILE}: {right}"
        source.write_text(text.replace(right, wrong))
    with worksite(tmp_path / "site", tmp_path / "seeded") as site:
        site.ticket(body=TICKET_TEXT)
        site.boundary(_boundary(downloads.toolchain))
        site.story(*(_mend(right, wrong) for right, wrong in SEEDS))
        yield site


def test_a_bug_in_a_real_project_is_undone_and_proved(real_site: Worksite, downloads: Downloads) -> None:
    code, view = real_site.run()
    assert (code, view.outcome, view.reason) == (0, "pull_request", ""), view
    ended = [event for event in real_site.events(view.id) if isinstance(event, e.CheckEnded)]
    assert [(c.side, c.attempt, c.passed, c.exit_code) for c in ended] == [
        ("base", 0, False, 1),
        ("patch", 1, False, 1),
        ("patch", 2, True, 0),
    ]
    assert [_result_line(real_site, c) for c in ended] == ["34 failed, 85 passed", "33 failed, 86 passed", "119 passed"]
    # The bug is undone, and neither caches nor toolchain came along: the tree is the published one to the byte.
    assert any(b"left a cache: yes" in content for _path, content in real_site.kept()), "the agent's tests left nothing"
    assert ended[-1].tree == real_site.git("rev-parse", f"{BRANCH}^{{tree}}") == _tree_of(downloads.project)
    assert real_site.git("diff", "--name-only", f"main..{BRANCH}").splitlines() == [FILE]
    bundle = real_site.state / "bundles" / f"{view.id}.bundle.tar"
    verified = real_site.ringfence("verify", str(bundle))
    assert verified.returncode == 0, verified.stdout
    _page_says_what_happened(real_site, view.pull_request)
    assert list((real_site.state / "runs").iterdir()) == []


def test_the_brief_holds_the_real_file_that_the_ticket_names(real_site: Worksite) -> None:
    done = real_site.ringfence("context", TICKET, "--json")
    assert done.returncode == 0, done.stderr
    parts = {part["kind"]: part for part in json.loads(done.stdout)["parts"]}
    assert parts["file"]["title"] == f"File named in the ticket: {FILE}"
    assert "def pattern_to_regex(" in done.stdout
    assert "tests/test_02_gitwildmatch.py" in json.loads(done.stdout)["text"], "the map names the tests"


def _boundary(toolchain: Path) -> dict[str, object]:
    """The project's own test command with its own toolchain, in place of the sample's checks."""
    place = f"commands.repositories.{REPOSITORY}"
    return {
        "commands.toolchains.python": {"source": str(toolchain), "target": "/opt/toolchains/python"},
        f"{place}.toolchains": ["system", "python"],
        f"{place}.path": ["/opt/toolchains/python/bin", "/usr/bin"],
        # A source distribution has no .gitignore, so that byte code must not be written into the tree.
        f"{place}.environment": {"PYTHONDONTWRITEBYTECODE": "1"},
        f"{place}.checks": [
            {"name": "test", "kind": "test", "run": ["python3", "-m", "pytest", "-q"], "timeout": "2m"}
        ],
        "limits.brief_tokens": 12000,
    }


def _mend(right: str, wrong: str) -> str:
    """What the agent types: put one line right, then run the tests, which leave their cache behind."""
    program = (
        f"import pathlib; p = pathlib.Path({FILE!r}); t = p.read_text(); "
        f"assert t.count({wrong!r}) >= 1; p.write_text(t.replace({wrong!r}, {right!r}, 1))"
    )
    tests = "python3 -m pytest -q; test -s .pytest_cache/CACHEDIR.TAG && echo 'left a cache:' yes"
    return f"python3 -c {shlex.quote(program)} && {tests}"


def _result_line(site: Worksite, check: e.CheckEnded) -> str:
    """The end of what pytest printed, from the content store."""
    with reading(site.settings) as look:
        printed = look.artifacts.get(check.output).decode()
    return printed.strip().splitlines()[-1].partition(" in ")[0].strip("= ")


def _tree_of(directory: Path) -> str:
    """The id that git gives to the content of a directory."""
    place = directory.parent / "plain.git"
    shutil.rmtree(place, ignore_errors=True)
    run_git(directory.parent, "init", "-q", "--bare", str(place))
    where = (f"--git-dir={place}", f"--work-tree={directory}")
    run_git(directory, *where, "-c", "core.bare=false", "add", "--all", "--force", ".")
    return run_git(directory, *where, "write-tree").stdout.strip()


def _page_says_what_happened(site: Worksite, url: str) -> None:
    token = site.token("looker", Permission())
    number = url.rstrip("/").rsplit("/", 1)[1]
    with httpx2.Client(base_url=site.server.url, trust_env=False, timeout=30) as client:
        answer = client.get(f"/repos/{REPOSITORY}/pulls/{number}", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    pull = answer.json()
    assert pull["title"] == f"{TICKET}: {TITLE}"
    assert "failed before, passes now" in pull["body"], pull["body"]
    assert "python3 -m pytest -q" in pull["body"]


def _fetch(root: Path, wanted: Downloads) -> None:
    """The toolchain first: its pip is the one that every Debian with python3-venv can make."""
    shutil.rmtree(wanted.toolchain, ignore_errors=True)
    _run("/usr/bin/python3", "-m", "venv", str(wanted.toolchain))
    (root / "sdist.txt").write_text(f"{SDIST}\n")
    plain = ("-q", "--disable-pip-version-check", "--no-input")
    pip = (str(wanted.toolchain / "bin" / "python3"), "-m", "pip")
    _run(*pip, "install", *plain, "--no-deps", *TOOLS)
    _run(*pip, "download", *plain, "--no-deps", "--no-binary", ":all:", "--require-hashes",
         "-r", str(root / "sdist.txt"), "-d", str(root))  # fmt: skip
    _run("tar", "-xzf", str(root / f"{PROJECT}.tar.gz"), "-C", str(root), "--no-same-owner")
    assert (wanted.project / FILE).is_file()


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False)
    said = done.stderr + done.stdout
    if done.returncode != 0 and any(sign in said for sign in UNREACHABLE):
        pytest.skip(f"no package index has what this test needs: {said.strip().splitlines()[-1][:200]}")
    assert done.returncode == 0, said
