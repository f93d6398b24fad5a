"""A killed server loses nothing that it confirmed, and takes nothing half."""

import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from hosting import Hosted, hosted, run_git, running_server
from waiting import children_of


@pytest.fixture
def own_host(tmp_path: Path) -> Iterator[Hosted]:
    """A host that a test may kill."""
    with running_server(tmp_path / "root") as server:
        yield hosted(server, tmp_path / "source")


@pytest.fixture
def own_work(own_host: Hosted, tmp_path: Path) -> Path:
    return own_host.clone(tmp_path / "own-work")


def gits_of(host: Hosted, *, at_least: int = 0, at_most: int = 1000) -> list[int]:
    """The server's child processes, as soon as there are so many or few, or after ten seconds."""
    assert host.server.process is not None
    deadline = time.monotonic() + 10
    while True:
        found = children_of(host.server.process.pid)
        if at_least <= len(found) <= at_most or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_what_was_answered_is_there_after_a_kill(own_host: Hosted, own_work: Path) -> None:
    own_host.propose(own_work)
    confirmed: list[str] = []
    stop = threading.Event()

    def writing() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                answer = own_host.api("POST", f"/repos/{own_host.repository}/issues/1/comments", "writer",
                                      {"body": f"comment {number}"})  # fmt: skip
            except httpx2.HTTPError:
                continue
            if answer.status_code == 201:
                confirmed.append(f"comment {number}")

    writer = threading.Thread(target=writing)
    writer.start()
    try:
        for kill in range(3):
            wanted = len(confirmed) + 8
            deadline = time.monotonic() + 20
            while len(confirmed) < wanted and time.monotonic() < deadline:
                time.sleep(0.01)
            assert len(confirmed) >= wanted, kill
            own_host.server.restart(signal.SIGKILL)
    finally:
        stop.set()
        writer.join(40)
    path = f"/repos/{own_host.repository}/issues/1/comments?per_page=100"
    kept = [row["body"] for page in (1, 2, 3) for row in own_host.api("GET", f"{path}&page={page}", "reader").json()]
    assert [body for body in confirmed if body not in kept] == []
    assert len(kept) == len(set(kept))
    assert own_host.api("GET", f"/repos/{own_host.repository}/pulls/1", "reader").json()["state"] == "open"


@pytest.mark.parametrize("moved", [True, False])
def test_a_merge_cut_off_in_the_middle_is_settled_at_the_next_start(
    own_host: Hosted, own_work: Path, moved: bool
) -> None:
    """The two halves of a merge, made by hand as a killed server leaves them: the intent, and then the branch."""
    head = own_host.propose(own_work)["head"]["sha"]
    base = own_host.tip()
    own_host.server.stop(signal.SIGKILL)
    tree = run_git(own_host.bare, "rev-parse", f"{head}^{{tree}}").stdout.strip()
    commit = run_git(own_host.bare, "commit-tree", tree, "-p", base, "-p", head, "-m", "Merge").stdout.strip()
    with sqlite3.connect(own_host.root / "records.sqlite") as records:
        records.execute("INSERT INTO merges VALUES (?, 1, ?, 'alice')", (own_host.repository, commit))
    records.close()
    if moved:
        run_git(own_host.bare, "update-ref", "refs/heads/main", commit, base)
    own_host.server.start()
    found = own_host.api("GET", f"/repos/{own_host.repository}/pulls/1", "reader").json()
    assert (found["merged"], found["merge_commit_sha"]) == ((True, commit) if moved else (False, None))
    if not moved:
        own_host.api("POST", f"/repos/{own_host.repository}/pulls/1/reviews", "alice", {"event": "APPROVE"})
        assert own_host.api("PUT", f"/repos/{own_host.repository}/pulls/1/merge", "alice", {}).status_code == 200


def test_a_push_cut_off_in_the_middle_leaves_nothing(own_host: Hosted, own_work: Path) -> None:
    """Half of a pack, then the server is killed: no ref, no object, and the same push works afterwards."""
    commit = own_host.branch(own_work, "x", {"src/stock.py": "1\n"})
    token = own_host.tokens["writer"]
    name, port = own_host.url.removeprefix("http://").split(":")
    request = (
        f"POST /{own_host.repository}.git/git-receive-pack HTTP/1.1\r\nHost: {name}:{port}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/x-git-receive-pack-request\r\n"
        "Content-Length: 100000\r\n\r\n"
    )
    line = f"{'0' * 40} {commit} refs/heads/ringfence/x\0 report-status"
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        connection.sendall(request.encode() + f"{len(line) + 4:04x}{line}0000PACK".encode())
        backends = gits_of(own_host, at_least=1)
        own_host.server.restart(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in backends) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(is_running(pid) for pid in backends), "git ends with the server that started it"
    assert "ringfence" not in run_git(own_host.bare, "for-each-ref").stdout
    assert run_git(own_host.bare, "cat-file", "-e", commit, check=False).returncode != 0
    assert own_host.push(own_work, f"{commit}:refs/heads/ringfence/x").returncode == 0
    run_git(own_host.bare, "fsck", "--strict")


def test_a_client_that_goes_away_takes_its_git_with_it(own_host: Hosted) -> None:
    name, port = own_host.url.removeprefix("http://").split(":")
    request = (
        f"POST /{own_host.repository}.git/git-upload-pack HTTP/1.1\r\nHost: {name}:{port}\r\n"
        f"Authorization: Bearer {own_host.tokens['reader']}\r\n"
        "Content-Type: application/x-git-upload-pack-request\r\nContent-Length: 9999\r\n\r\n0011command=fetch"
    )
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        connection.sendall(request.encode())
        assert gits_of(own_host, at_least=1)
    assert gits_of(own_host, at_most=0) == []


def test_the_server_ends_well_when_told_to(own_host: Hosted) -> None:
    assert own_host.server.stop(signal.SIGTERM) == 0


def peak_memory(host: Hosted) -> int:
    """The most that the server ever held, in KiB."""
    assert host.server.process is not None
    status = Path(f"/proc/{host.server.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def test_big_packs_pass_without_filling_the_memory(own_host: Hosted, own_work: Path, tmp_path: Path) -> None:
    own_host.git(own_work, "checkout", "-q", "-B", "x", "origin/main")
    with Path("/dev/urandom").open("rb") as chance:
        for number in range(3):
            (own_work / f"{number}.bin").write_bytes(chance.read(8 << 20))
    own_host.commit(own_work, {})
    before = peak_memory(own_host)
    done = run_git(own_work, "push", own_host.git_url, "HEAD:refs/heads/ringfence/big",
                   token=own_host.tokens["writer"], config=("pack.compression=0",), check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    run_git(tmp_path, "clone", "-q", "--bare", "-b", "ringfence/big", own_host.git_url, "copy",
            token=own_host.tokens["reader"])  # fmt: skip
    assert peak_memory(own_host) - before < 10_000, "24 MB went through in either direction"


def test_a_gzipped_question_is_understood(own_host: Hosted, own_work: Path, tmp_path: Path) -> None:
    """A fetch with many haves is compressed by git itself; it goes through the host's stream as it is."""
    mirror = tmp_path / "mirror"
    run_git(tmp_path, "clone", "-q", "--bare", str(own_work), str(mirror))
    tree = run_git(mirror, "rev-parse", "main^{tree}").stdout.strip()
    for number in range(40):  # many tips, so that git has much to say that the host does not know
        commit = run_git(mirror, "commit-tree", tree, "-m", f"{number}").stdout.strip()
        run_git(mirror, "update-ref", f"refs/heads/own/{number}", commit)
    own_host.branch(own_work, "y", {"src/stock.py": "1\n"})
    assert own_host.push(own_work, "HEAD:refs/heads/ringfence/y").returncode == 0
    done = run_git(mirror, "fetch", own_host.git_url, "+refs/heads/ringfence/y:refs/heads/y2",
                   token=own_host.tokens["reader"], trace=True)  # fmt: skip
    assert "Content-Encoding: gzip" in done.stderr
    assert run_git(mirror, "rev-parse", "y2").stdout.strip() == own_host.tip("ringfence/y")
