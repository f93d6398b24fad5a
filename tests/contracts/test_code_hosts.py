"""What every code host must do for the worker; the local one as a real server process, with real git."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hosting import Hosted
from ringfence.adapters.code_hosts.local import LocalCodeHost
from ringfence.adapters.git import GitTransport
from ringfence.domain.errors import HostFailed
from ringfence.ports.broker import Grant, Secret
from ringfence.ports.code_host import CodeHost, Proposal

BRANCH = "ringfence/T-1-fix-the-total"
PROPOSAL = Proposal(BRANCH, "main", "Fix the total", "It was **wrong**.", draft=True)


@pytest.fixture
def host(code_host: Hosted) -> CodeHost:
    return LocalCodeHost(code_host.url)


@pytest.fixture
def pushed(code_host: Hosted, work: Path) -> str:
    commit = code_host.branch(work, BRANCH, {"src/stock.py": "total = sum\n"})
    assert code_host.push(work, f"{commit}:refs/heads/{BRANCH}").returncode == 0
    return commit


def test_git_url_is_where_git_finds_the_repository(host: CodeHost, code_host: Hosted, work: Path) -> None:
    url = host.git_url(code_host.repository)
    assert code_host.git(work, "ls-remote", url, "refs/heads/main", by="reader").split()[0] == code_host.tip()
    assert code_host.tokens["reader"] not in url


def test_the_worker_s_own_git_mirrors_and_pushes(host: CodeHost, code_host: Hosted, work: Path, tmp_path: Path) -> None:
    commit = code_host.branch(work, BRANCH, {"src/stock.py": "total = sum\n"})
    transport = GitTransport(tmp_path / "mirrors")
    url, ref = host.git_url(code_host.repository), f"refs/heads/{BRANCH}"
    mirror = transport.refresh_mirror(code_host.repository, url, code_host.grant("reader", "checkout"))
    assert transport.remote_ref(url, "refs/heads/main", code_host.grant("reader")) == code_host.tip()
    assert transport.push(work / ".git", url, commit, ref, code_host.grant("writer")) is True
    assert transport.push(work / ".git", url, commit, ref, code_host.grant("writer")) is False
    assert code_host.tip(BRANCH) == commit
    with pytest.raises(HostFailed, match="refused") as caught:
        transport.push(work / ".git", url, commit, "refs/heads/main", code_host.grant("writer"))
    assert "[protected-branch]" in caught.value.where
    held = b"".join(path.read_bytes() for path in mirror.rglob("*") if path.is_file())
    assert not any(token.encode() in held for token in code_host.tokens.values())


def test_credentials_reach_git_whatever_the_descriptor_s_number(
    host: CodeHost, code_host: Hosted, tmp_path: Path
) -> None:
    # Debian's sh reads `<&12` as a fault: only single digits may stand there.
    with ExitStack() as held:
        for _ in range(20):
            held.enter_context(Path("/dev/null").open())
        transport = GitTransport(tmp_path / "mirrors")
        url = host.git_url(code_host.repository)
        assert transport.remote_ref(url, "refs/heads/main", code_host.grant("reader")) == code_host.tip()


def test_a_branch_without_a_pull_request_has_none(host: CodeHost, code_host: Hosted, pushed: str) -> None:
    assert host.find_pull_request(code_host.grant("writer"), code_host.repository, BRANCH) is None


def test_a_pull_request_is_opened_once_and_adopted_after(host: CodeHost, code_host: Hosted, pushed: str) -> None:
    grant = code_host.grant("writer")
    first, created = host.open_pull_request(grant, code_host.repository, PROPOSAL)
    assert created
    assert (first.branch, first.head, first.state, first.draft) == (BRANCH, pushed, "open", True)
    assert (first.title, first.body) == (PROPOSAL.title, PROPOSAL.body)
    assert first.url == f"{code_host.url}/{code_host.repository}/pull/{first.number}"
    assert host.open_pull_request(grant, code_host.repository, PROPOSAL) == (first, False)
    assert host.find_pull_request(grant, code_host.repository, BRANCH) == first


def test_racing_openers_get_one_pull_request(code_host: Hosted, pushed: str) -> None:
    start = threading.Barrier(6)

    def opened(_: int) -> tuple[int, bool]:
        host = LocalCodeHost(code_host.url)
        start.wait(20)
        pull, created = host.open_pull_request(code_host.grant("writer"), code_host.repository, PROPOSAL)
        return pull.number, created

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(opened, range(6)))
    assert {number for number, _ in results} == {1}
    assert sum(created for _, created in results) == 1


def test_an_update_changes_title_and_body_only(host: CodeHost, code_host: Hosted, pushed: str) -> None:
    grant = code_host.grant("writer")
    first, _ = host.open_pull_request(grant, code_host.repository, PROPOSAL)
    other = Proposal(BRANCH, "main", "Fix the total again", "New body", draft=False)
    after = host.update_pull_request(grant, code_host.repository, first.number, other)
    assert (after.title, after.body) == ("Fix the total again", "New body")
    assert after.draft, "only a human marks a draft as ready"
    assert host.find_pull_request(grant, code_host.repository, BRANCH) == after


def test_the_newest_pull_request_is_found_in_whatever_state(host: CodeHost, code_host: Hosted, pushed: str) -> None:
    grant, path = code_host.grant("writer"), f"/repos/{code_host.repository}/pulls"
    first, _ = host.open_pull_request(grant, code_host.repository, PROPOSAL)
    assert code_host.api("PATCH", f"{path}/{first.number}", "alice", {"state": "closed"}).status_code == 200
    found = host.find_pull_request(grant, code_host.repository, BRANCH)
    assert found is not None and (found.number, found.state) == (first.number, "closed")
    second, created = host.open_pull_request(grant, code_host.repository, PROPOSAL)
    assert created and second.number == first.number + 1
    assert host.find_pull_request(grant, code_host.repository, BRANCH) == second


def test_a_merged_pull_request_is_seen_as_merged(host: CodeHost, code_host: Hosted, pushed: str) -> None:
    ready = Proposal(BRANCH, "main", "Fix", "", draft=False)
    pull, _ = host.open_pull_request(code_host.grant("writer"), code_host.repository, ready)
    path = f"/repos/{code_host.repository}/pulls/{pull.number}"
    assert code_host.api("POST", f"{path}/reviews", "alice", {"event": "APPROVE"}).status_code == 200
    assert code_host.api("PUT", f"{path}/merge", "alice", {"sha": pushed}).status_code == 200
    found = host.find_pull_request(code_host.grant("writer"), code_host.repository, BRANCH)
    assert found is not None and found.state == "merged"


def test_reporting_checks_again_changes_nothing(host: CodeHost, code_host: Hosted, pushed: str) -> None:
    grant = code_host.grant("writer")
    checks = (("tests", True, "passed before, passes now"), ("lint", False, "3 faults\n" + "x" * 300))
    for _ in range(3):
        host.report_checks(grant, code_host.repository, pushed, checks)
    rows = code_host.api("GET", f"/repos/{code_host.repository}/commits/{pushed}/statuses", "reader").json()
    assert [(row["context"], row["state"]) for row in rows] == [("lint", "failure"), ("tests", "success")]
    assert len(rows[0]["description"]) == 140
    host.report_checks(grant, code_host.repository, pushed, (("lint", True, "mended"),))
    newest = code_host.api("GET", f"/repos/{code_host.repository}/commits/{pushed}/status", "reader").json()
    assert {(row["context"], row["state"]) for row in newest["statuses"]} == {("tests", "success"), ("lint", "success")}


@pytest.mark.parametrize("commit", ["main", "0" * 40, "../../../etc/passwd"])
def test_checks_of_a_commit_that_is_not_there_fail(host: CodeHost, code_host: Hosted, commit: str) -> None:
    with pytest.raises(HostFailed):
        host.report_checks(code_host.grant("writer"), code_host.repository, commit, (("tests", True, ""),))


def test_a_read_grant_publishes_nothing(host: CodeHost, code_host: Hosted, pushed: str) -> None:
    with pytest.raises(HostFailed, match="403"):
        host.open_pull_request(code_host.grant("reader"), code_host.repository, PROPOSAL)
    with pytest.raises(HostFailed, match="403"):
        host.report_checks(code_host.grant("reader"), code_host.repository, pushed, (("tests", True, ""),))


@pytest.mark.parametrize("name", ["demo/none", "demo/../x", "a b/c", "", "demo", "demo/x\r\nHost: y"])
def test_a_repository_that_is_not_there_fails_with_a_mend(host: CodeHost, code_host: Hosted, name: str) -> None:
    with pytest.raises(HostFailed) as caught:
        host.find_pull_request(code_host.grant("writer"), name, BRANCH)
    assert caught.value.mend


def test_failures_name_the_mend_and_never_the_secret(code_host: Hosted, pushed: str) -> None:
    bad = Grant("g", "publish", code_host.repository, "worker", Secret("rfh_" + "5" * 64))
    with pytest.raises(HostFailed) as refused:
        LocalCodeHost(code_host.url).find_pull_request(bad, code_host.repository, BRANCH)
    with pytest.raises(HostFailed) as silent:
        LocalCodeHost("http://127.0.0.1:9", timeout=2).find_pull_request(bad, code_host.repository, BRANCH)
    for error in (refused.value, silent.value):
        assert error.mend
        assert "5" * 20 not in str(error) + repr(error) + repr(error.__context__)


class Lying(BaseHTTPRequestHandler):
    """A host that answers nonsense: what is in the path says which."""

    def do_GET(self) -> None:
        answers = {
            "html": b"<html>maintenance</html>",
            "shape": b'[{"number": "x"}]',
            "deep": b"[" * 100_000,
            "huge": b'["' + b"x" * (9 << 20) + b'"]',
            "redirect": b"",
        }
        kind = self.path.split("/")[2]
        self.send_response(302 if kind == "redirect" else 200)
        self.send_header("Location", f"http://{self.headers['Host']}/elsewhere")
        self.send_header("Content-Length", str(len(answers[kind])))
        self.end_headers()
        try:
            self.wfile.write(answers[kind])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def liar() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Lying) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize("kind", ["html", "shape", "deep", "huge", "redirect"])
def test_a_nonsense_answer_is_a_failure_of_the_host(liar: str, kind: str) -> None:
    grant = Grant("g", "publish", "x", "worker", Secret("t"))
    with pytest.raises(HostFailed):
        LocalCodeHost(liar).find_pull_request(grant, f"{kind}/thing", BRANCH)
