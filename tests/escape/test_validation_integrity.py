"""C23, F09, G01, G03, G08, I01: what a check says is about the published tree, by the command of the boundary."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gitsite import CANARY, GitSite, git_site
from ringfence.domain.boundary import RunLimits
from ringfence.domain.budget import Spent
from ringfence.domain.errors import RunStopped
from ringfence.domain.events import CheckEnded, CommandRan, SandboxDestroyed
from ringfence.pipeline.rooms import Room
from ringfence.pipeline.stages import repair
from worksite import FILES, REPOSITORY


def check(name: str, *run: str, timeout: str = "30s") -> dict[str, Any]:
    return {"name": name, "kind": "test", "run": list(run), "timeout": timeout}


def commands(*checks: Mapping[str, Any], setup: tuple[str, ...] = ()) -> dict[str, Any]:
    place = f"commands.repositories.{REPOSITORY}"
    return {f"{place}.checks": list(checks), **({f"{place}.setup": [list(setup)]} if setup else {})}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GitSite]:
    with git_site(tmp_path / "site") as made:
        yield made


def left_behind(site: GitSite) -> set[int]:
    return {event.processes_left for event in site.events if isinstance(event, SandboxDestroyed)}


def test_c23_a_process_that_the_agent_left_edits_nothing_after_the_agent_s_end(site: GitSite) -> None:
    seen = []

    def later(room: Room) -> None:
        time.sleep(1.5)
        seen.append((room.path / "value.txt").read_text())

    site.rooms.before_removal = later
    stay = "setsid nohup sh -c 'trap \"\" TERM HUP INT; sleep 1; while :; do echo 3 > /workspace/value.txt; done'"
    patch = site.attempt(f"echo 2 > value.txt; ({stay} >/dev/null 2>&1 &) ; ({stay} >/dev/null 2>&1 &)")
    report = site.validate(patch)
    assert seen[0] == "2\n"
    assert report.passed
    assert report.tree == patch.tree == site.objects.tree_of(site.intake, patch.commit)
    assert site.content(site.changes(patch.commit)["value.txt"]) == b"2\n"
    assert left_behind(site) == {0}


def test_c23_a_check_changes_neither_the_next_check_s_tree_nor_the_candidate(tmp_path: Path) -> None:
    second = check("second", "sh", "-c", "cat value.txt; ls -A; ! ls planted && test $(cat value.txt) = 2")
    with git_site(tmp_path / "site", boundary=commands(check("first", "sh", "check.sh"), second)) as site:
        patch = site.attempt(
            "echo 2 > value.txt; echo 'touch planted /tmp/planted; echo 9 > value.txt; git commit -qam x;"
            "(setsid sleep 100 &); exit 0' > check.sh"
        )
        report = site.validate(patch)
        assert [(result.name, result.passed) for result in report.results] == [("first", True), ("second", True)]
        assert site.objects.tree_of(site.intake, patch.commit) == patch.tree
        assert left_behind(site) == {0}


def test_g01_commands_come_from_the_boundary_whatever_the_branch_holds(site: GitSite) -> None:
    """Boundaries, settings, make files, start-up files and tools of the agent's own change no command."""
    true = "printf '#!/bin/sh\\nexit 1\\n' > {0}; chmod +x {0}"
    patch = site.attempt(
        "echo bad > value.txt; sed -i s/x/x/ check.sh;"
        "printf 'commands: {repositories: {acme/tiny: {checks: []}}}\\n' > boundary.yaml;"
        "echo '[worker]' > ringfence.toml;"
        "mkdir .ringfence; cp boundary.yaml .ringfence/; printf 'lint:\\n\\ttrue\\n' > Makefile;"
        f"{true.format('grep')}; {true.format('sh')}; mkdir bin; {true.format('bin/grep')};"
        "echo 'alias grep=false; exit 0' > .profile; cp .profile .bashrc; echo PATH=/workspace/bin > .env"
    )
    report = site.validate(patch)
    ran = [event.argv for event in site.events if isinstance(event, CheckEnded)]
    assert ran == [("sh", "-c", "! grep -q bad value.txt"), ("sh", "check.sh")]
    lint = report.find("lint")
    assert lint is not None
    assert (lint.passed, lint.exit_code) == (False, 1)


def test_g03_a_deleted_check_is_a_failed_one(site: GitSite) -> None:
    report = site.validate(site.attempt("echo 2 > value.txt; rm check.sh"))
    assert [(result.name, result.passed) for result in report.results] == [("lint", True), ("test", False)]
    assert not report.passed


LIES = {
    "says-passed": ("echo 'OK: 100 passed'; exit 1", None),
    "kills-its-shell": ("kill -9 $$", None),
    "is-killed-from-below": ("sh -c 'kill -9 $PPID'; exit 0", None),
    "never-ends": ("trap '' TERM; while :; do :; done", "timeout"),
    "floods": ("yes", "output"),
    "leaves-the-time": ("(setsid sleep 60 &); sleep 60", "timeout"),
}


@pytest.mark.parametrize("lie", LIES)
def test_g01_only_the_exit_of_the_command_itself_is_a_pass(tmp_path: Path, lie: str) -> None:
    line, stopped = LIES[lie]
    with git_site(tmp_path / "site", boundary=commands(check("only", "sh", "check.sh", timeout="2s"))) as site:
        report = site.validate(site.attempt(f"cat > check.sh <<'END'\n{line}\nEND\n"))
        [result] = report.results
        assert (result.passed, result.stopped) == (False, stopped)
        event = site.last(CheckEnded)
        assert (event.passed, event.stopped, event.tree) == (False, stopped, report.tree)
        assert left_behind(site) == {0}


def test_g08_a_check_is_run_once_and_its_first_word_counts(tmp_path: Path) -> None:
    """A flaky check is not repeated until it passes; what came out is on the log, one result for an attempt."""
    flaky = check("flaky", "sh", "-c", "test $(($(od -An -N1 -tu1 /dev/urandom) % 2)) = 0")
    with git_site(tmp_path / "site", boundary=commands(flaky)) as site:
        told = []
        for number in range(1, 5):
            patch = site.attempt(f"echo {number + 1} > value.txt", number=number)
            report = site.validate(patch)
            limits: RunLimits = site.boundary.limits.run
            told.append((report.passed, repair.after(report, number, limits, Spent()).next == "publish"))
        assert [passed for passed, _ in told] == [publish for _, publish in told]
        ended = [event for event in site.events if isinstance(event, CheckEnded)]
        assert [(event.attempt, event.passed) for event in ended] == [
            (number, passed) for number, (passed, _) in enumerate(told, 1)
        ]
        ran = [event for event in site.events if isinstance(event, CommandRan) and event.role == "checks:patch"]
        assert len(ran) == 4


def test_f09_i01_set_up_commands_have_neither_network_nor_secrets_nor_a_way_to_change_a_toolchain(
    tmp_path: Path,
) -> None:
    """What a package's own install script would do when the set-up starts it."""
    steal = (
        "env; cat /proc/*/environ; ls -A / /home /root /mirror; cat {secret}; cat /proc/net/dev;"
        "touch /usr/bin/planted; echo x > /usr/bin/git;"
        "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 1), 1)';"
        "python3 -c 'import socket; socket.getaddrinfo(\"git.example.internal\", 443)'; echo END; exit 0\n"
    )
    secret = tmp_path / "site" / "state" / "secrets" / "token"
    files = {**FILES, "setup.sh": steal.format(secret=secret)}
    with git_site(tmp_path / "site", files, boundary=commands(check("only", "true"), setup=("sh", "setup.sh"))) as site:
        site.attempt("echo 2 > value.txt")
        said = site.said("setup")
        assert said.endswith("END\n")
        assert CANARY not in said
        assert "secrets" not in said.split() and "planted" not in said.split()
        names = {line.partition("=")[0] for line in said.splitlines() if "=" in line and line[:1].isupper()}
        assert names <= {"PATH", "HOME", "LANG", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_"}, names
        assert not [line for line in said.splitlines() if line.strip().startswith(("eth", "wlan", "en"))]
        assert said.count("Read-only file system") >= 2
        assert not Path("/usr/bin/planted").exists()
        site.assert_no_canary()


def test_a_set_up_that_fails_ends_the_run_before_an_agent_starts(tmp_path: Path) -> None:
    files = {**FILES, "setup.sh": "exit 4\n"}
    with git_site(tmp_path / "site", files, boundary=commands(check("only", "true"), setup=("sh", "setup.sh"))) as site:
        with pytest.raises(RunStopped) as stop:
            site.attempt("echo 2 > value.txt")
        assert stop.value.reason == "setup_failed"
        assert not [event for event in site.events if isinstance(event, CommandRan) and event.role == "agent"]
