"""`ringfence verify` as a person or a script meets it: a real process, real files, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evidence_run import BOUNDARY_TEXT, Key, bundle, chain_of, whole_run
from ringfence.adapters.signers.local_key import LocalKey
from ringfence.domain import events as e
from ringfence.domain.evidence import Sources, bundle_of

PROGRAM = """
import sys, typer
from ringfence.cli.screen import show_error
from ringfence.cli.verify import verify
from ringfence.domain.errors import RingfenceError
try:
    typer.run(verify)
except RingfenceError as error:
    show_error(error)
    sys.exit(error.exit_code)
"""


@pytest.fixture(scope="module")
def key() -> Key:
    return Key()


@pytest.fixture
def place(tmp_path: Path, key: Key) -> Path:
    (tmp_path / "INV-7-r1.bundle.tar").write_bytes(bundle(key, whole_run(key)))
    (tmp_path / "trusted.pub").write_bytes(key.public)
    return tmp_path


def ran(place: Path, *argv: str, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *argv], cwd=place, capture_output=True, text=True, check=False,
        env=environment or {"PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def test_whole_bundle_prints_a_line_for_each_check_and_ends_well(place: Path) -> None:
    done = ran(place, "INV-7-r1.bundle.tar", "--key", "trusted.pub")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[-1] == "verified: INV-7-r1.bundle.tar"
    assert [line.split()[:2] for line in lines[:4]] == [
        ["ok", "bundle"],
        ["ok", "key"],
        ["ok", "chain"],
        ["ok", "closing"],
    ]
    assert "BROKEN" not in done.stdout


def test_broken_bundle_says_what_broke_and_exits_with_5(place: Path) -> None:
    content = (place / "INV-7-r1.bundle.tar").read_bytes()
    (place / "bad.tar").write_bytes(content.replace(b'"requester":"kim"', b'"requester":"eve"'))
    done = ran(place, "bad.tar", "--key", "trusted.pub")
    assert done.returncode == 5
    assert "BROKEN  chain      record 0: content was changed" in done.stdout
    assert done.stdout.splitlines()[-1] == "BROKEN: chain, closing, contents: record 0: content was changed"
    assert "verified:" not in done.stdout


def test_other_key_is_not_believed_although_the_bundle_carries_its_own(place: Path) -> None:
    (place / "other.pub").write_bytes(Key().public)
    done = ran(place, "INV-7-r1.bundle.tar", "--key", "other.pub")
    assert done.returncode == 5
    assert "BROKEN  key" in done.stdout


def test_without_a_key_it_says_where_to_get_one(place: Path) -> None:
    done = ran(place, "INV-7-r1.bundle.tar")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no key to verify with" in done.stderr
    assert "--key" in done.stderr


def test_json_says_the_same_for_scripts(place: Path) -> None:
    done = ran(place, "INV-7-r1.bundle.tar", "--key", "trusted.pub", "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["verified"], said["bundle"]) == (0, True, "INV-7-r1.bundle.tar")
    assert all(finding["ok"] for finding in said["findings"])
    (place / "bad.tar").write_bytes(b"")
    done = ran(place, "bad.tar", "--key", "trusted.pub", "--json")
    assert (done.returncode, json.loads(done.stdout)["verified"]) == (5, False)


@pytest.mark.parametrize(
    "argv",
    [
        ("gone.tar", "--key", "trusted.pub"),
        ("INV-7-r1.bundle.tar", "--key", "gone.pub"),
        ("INV-7-r1.bundle.tar", "--key", "INV-7-r1.bundle.tar"),
        (".", "--key", "trusted.pub"),
    ],
)
def test_file_that_cannot_be_used_is_an_input_error(place: Path, argv: tuple[str, ...]) -> None:
    done = ran(place, *argv)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "where:" in done.stderr


def test_terminal_escapes_in_a_log_do_not_reach_the_terminal(place: Path, key: Key) -> None:
    records = chain_of([e.RunStopped("\x1b]0;owned\x07\u202e", ""), e.RunEnded("stopped", 1.0)])
    (place / "odd.tar").write_bytes(bundle(key, records, commit=None))
    done = ran(place, "odd.tar", "--key", "trusted.pub")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "\\x1b]0;owned" in done.stdout


def test_on_the_worker_its_own_key_is_taken(place: Path) -> None:
    state = place / "state"
    signer = LocalKey(state / "keys")
    records = chain_of([e.RunStopped("budget", ""), e.RunEnded("stopped", 1.0)])
    sources = Sources(signer.sign, signer.public_key, BOUNDARY_TEXT, None, {}.get)
    (place / "own.tar").write_bytes(bundle_of(records, sources))
    (place / "ringfence.toml").write_text(
        f'[worker]\nstate = "{state}"\nboundary = "boundary.yaml"\n'
        '[tracker]\nkind = "folder"\npath = "tickets"\n'
        '[code_host]\nkind = "local"\nurl = "http://127.0.0.1:1"\n'
    )
    assert ran(place, "own.tar").returncode == 0
    assert ran(place, "INV-7-r1.bundle.tar").returncode == 5
    assert ran(place.parent, str(place / "own.tar"), "--settings", str(place / "ringfence.toml")).returncode == 0
