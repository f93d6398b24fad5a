"""What every audit log must do; the SQLite one by real threads, processes, kills and full disks."""

import json
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.domain.chain import GENESIS, first_break
from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.events import CommandRan, RunEnded, StageEnded, StageStarted, TicketRefused

WRITER = """
import sys, pathlib
from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.domain.events import StageStarted
path, run, count, name = sys.argv[1:]
log = SqliteAuditLog(pathlib.Path(path), clock=SystemClock(), redact=str)
for number in range(int(count)):
    record = log.append(run, StageStarted(name, number))
    print(record.sequence, record.hash, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "audit.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteAuditLog]:
    opened = SqliteAuditLog(path, clock=SystemClock(), redact=lambda text: text.replace("hunter2!", "[redacted:known]"))
    yield opened
    opened.close()


def writer(path: Path, run: str, count: int, name: str = "work") -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", WRITER, str(path), run, str(count), name]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_records_are_linked_from_genesis_and_read_back_equal(log: SqliteAuditLog) -> None:
    written = [log.append("run-1", StageStarted("work", n)) for n in range(5)]
    assert log.records("run-1") == written
    assert written[0].previous == GENESIS
    assert first_break(log.records("run-1"), "run-1") is None
    assert log.records("run-1", after=2) == written[3:]


def test_records_survive_closing_and_opening_again(log: SqliteAuditLog, path: Path) -> None:
    written = log.append("run-1", StageEnded("work", 1, 0.1 + 0.2, "déjà vu \u2028"))
    log.close()
    again = SqliteAuditLog(path, clock=SystemClock(), redact=str)
    try:
        assert again.records("run-1") == [written]
        assert first_break(again.records("run-1"), "run-1") is None
    finally:
        again.close()


def test_runs_are_listed_newest_first_and_kept_apart(log: SqliteAuditLog) -> None:
    for run in ("a", "b", "a", "c"):
        log.append(run, StageStarted("work", 1))
    assert log.runs() == ["c", "b", "a"]
    assert [record.sequence for record in log.records("a")] == [0, 1]


def test_same_once_key_gives_the_first_record_again(log: SqliteAuditLog) -> None:
    first = log.append("run-1", StageStarted("work", 1), once="work:1")
    assert log.append("run-1", StageStarted("work", 99), once="work:1") == first
    assert log.records("run-1") == [first]
    log.append("run-2", StageStarted("work", 1), once="work:1")
    assert len(log.records("run-2")) == 1


def test_every_text_of_an_event_is_redacted_before_it_is_stored(log: SqliteAuditLog, path: Path) -> None:
    argv = ("curl", "-u", "me:hunter2!")
    record = log.append("run-1", CommandRan("agent", argv, 0, None, 1.0, 1.0, 1, "sha256:0", 1))
    assert record.event["argv"] == ["curl", "-u", "me:[redacted:known]"]
    log.append("run-1", StageEnded("work", 1, 1.0, "token is hunter2!"))
    held = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"hunter2!" not in held
    assert b"[redacted:known]" in held


def test_redaction_that_fails_keeps_the_event_out(path: Path) -> None:
    def broken(text: str) -> str:
        raise ValueError("no patterns")

    log = SqliteAuditLog(path, clock=SystemClock(), redact=broken)
    try:
        with pytest.raises(EvidenceBroken, match="no patterns"):
            log.append("run-1", StageStarted("work", 1))
        assert log.records("run-1") == []
    finally:
        log.close()


def test_number_that_json_cannot_hold_is_refused(log: SqliteAuditLog) -> None:
    with pytest.raises(EvidenceBroken):
        log.append("run-1", RunEnded("brief", float("nan")))
    assert log.append("run-1", RunEnded("brief", 1.0)).sequence == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET event = '{}'",
        "UPDATE OR IGNORE records SET time = 0",
        "DELETE FROM records",
        "INSERT INTO records (run, sequence, time, event, previous, hash) VALUES ('run-1', 7, 0, '{}', '', '')",
        "INSERT OR REPLACE INTO records (run, sequence, time, event, previous, hash) "
        "VALUES ('run-1', 0, 0, '{}', '', '')",
    ],
)
def test_database_itself_refuses_to_change_history(log: SqliteAuditLog, path: Path, statement: str) -> None:
    before = [log.append("run-1", StageStarted("work", n)) for n in range(2)]
    other = sqlite3.connect(path)
    try:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
    finally:
        other.close()
    assert log.records("run-1") == before


def test_forgetting_removes_one_run_and_leaves_the_guard_up(log: SqliteAuditLog, path: Path) -> None:
    log.append("old", StageStarted("work", 1))
    kept = log.append("new", StageStarted("work", 1))
    log.forget("old")
    assert log.runs() == ["new"]
    assert log.records("new") == [kept]
    other = sqlite3.connect(path)
    try:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute("DELETE FROM records")
    finally:
        other.close()


def test_following_yields_records_as_they_come_until_the_run_ends(log: SqliteAuditLog) -> None:
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.extend(r.event["kind"] for r in log.follow("run-1")))
    reader.start()
    log.append("run-1", StageStarted("work", 1))
    log.append("run-2", RunEnded("brief", 1.0))
    log.append("run-1", RunEnded("brief", 1.0))
    reader.join(timeout=10)
    assert seen == ["stage.started", "run.ended"]


def test_following_ends_with_a_refused_ticket(log: SqliteAuditLog) -> None:
    refused = log.append("run-1", TicketRefused("INV-1", "sha256:0", "tickets.types", "not_listed", ""))
    assert list(log.follow("run-1")) == [refused]


def test_threads_share_one_log_without_a_gap(log: SqliteAuditLog) -> None:
    def write(name: str) -> None:
        for number in range(10):
            log.append("run-1", StageStarted(name, number))

    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.records("run-1")) == 40
    assert first_break(log.records("run-1"), "run-1") is None


def test_processes_that_start_at_once_share_one_log_without_a_gap(path: Path) -> None:
    writers = [writer(path, "run-1", 15, f"p{n}") for n in range(4)]
    assert [process.wait(timeout=60) for process in writers] == [0, 0, 0, 0]
    for process in writers:
        assert process.stdout is not None
        process.stdout.close()
    log = SqliteAuditLog(path, clock=SystemClock(), redact=str)
    try:
        records = log.records("run-1")
        assert len(records) == 60
        assert first_break(records, "run-1") is None
        for name in ("p0", "p1", "p2", "p3"):
            assert [r.event["attempt"] for r in records if r.event["stage"] == name] == list(range(15))
    finally:
        log.close()


def test_killed_writers_leave_a_whole_chain_with_every_record_they_reported(path: Path) -> None:
    reported: list[str] = []
    for delay in (0.0, 0.005, 0.01, 0.02):
        process = writer(path, "run-1", 100_000)
        assert process.stdout is not None
        reported.append(process.stdout.readline())  # at least one record is in
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.wait()
        process.stdout.close()
        reported += [line + "\n" for line in rest.split("\n")[:-1]]
    log = SqliteAuditLog(path, clock=SystemClock(), redact=str)
    try:
        records = log.records("run-1")
        assert first_break(records, "run-1") is None
        held = {f"{record.sequence} {record.hash}\n" for record in records}
        assert set(reported) <= held
        assert log.append("run-1", RunEnded("stopped", 1.0)).sequence == len(records)
    finally:
        log.close()


def test_files_are_for_the_owner_alone(log: SqliteAuditLog, path: Path) -> None:
    log.append("run-1", StageStarted("work", 1))
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {
        "audit.db": 0o600,
        "audit.db-wal": 0o600,
        "audit.db-shm": 0o600,
    }


def test_deleted_log_stops_the_writer(log: SqliteAuditLog, path: Path) -> None:
    log.append("run-1", StageStarted("work", 1))
    path.unlink()
    with pytest.raises(EvidenceBroken):
        log.append("run-1", StageStarted("work", 2))
    path.write_bytes(b"")
    with pytest.raises(EvidenceBroken, match="replaced"):
        log.append("run-1", StageStarted("work", 2))


def test_link_in_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / "audit.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EvidenceBroken):
        SqliteAuditLog(tmp_path / "audit.db", clock=SystemClock(), redact=str)
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "audit.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(EvidenceBroken) as caught:
        SqliteAuditLog(tmp_path / "audit.db", clock=SystemClock(), redact=str)
    assert str(tmp_path / "audit.db") in str(caught.value)


FILLER = """
import json, pathlib, sys
from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.events import StageEnded
log = SqliteAuditLog(pathlib.Path(sys.argv[1]), clock=SystemClock(), redact=str)
written = 0
try:
    while written < 10_000:
        log.append("run-1", StageEnded("work", written, 1.0, "x" * 2_000))
        written += 1
except EvidenceBroken as broken:
    print(json.dumps({"written": written, "said": str(broken)}))
"""


def test_full_disk_is_an_error_and_never_a_lost_record(path: Path) -> None:
    def no_more_than(size: int = 400_000) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    ran = subprocess.run(
        [sys.executable, "-c", FILLER, str(path)],
        preexec_fn=no_more_than,
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(ran.stdout)
    assert "cannot be written" in said["said"]
    assert "where:" in said["said"]
    assert "mend:" in said["said"]
    log = SqliteAuditLog(path, clock=SystemClock(), redact=str)
    try:
        records = log.records("run-1")
        assert len(records) == said["written"]
        assert first_break(records, "run-1") is None
    finally:
        log.close()


def test_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EvidenceBroken, match="cannot be opened"):
        SqliteAuditLog(tmp_path / "file" / "audit.db", clock=SystemClock(), redact=str)
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
