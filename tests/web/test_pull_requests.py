"""Pull requests over the API: GitHub's shapes, the rules of merging, and what bad input does (nothing)."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hosting import Hosted, run_git
from ringfence.web.host.principals import Permission

SPECIFICATION = Path(__file__).parents[2].parent / "shared" / "specs" / "github" / "github-rest-42ops.json"


def pulls(host: Hosted, number: int | None = None, rest: str = "") -> str:
    return f"/repos/{host.repository}/pulls" + (f"/{number}{rest}" if number else "")


def approve(host: Hosted, number: int, by: str = "alice", event: str = "APPROVE", **more: Any) -> httpx2.Response:
    return host.api("POST", pulls(host, number, "/reviews"), by, {"event": event, "body": "Seen.", **more})


def merge(host: Hosted, number: int, by: str = "alice", **body: Any) -> httpx2.Response:
    return host.api("PUT", pulls(host, number, "/merge"), by, body)


def test_a_second_pull_request_of_a_branch_is_422_as_at_github(code_host: Hosted, work: Path) -> None:
    first = code_host.propose(work)
    again = code_host.api("POST", pulls(code_host), "writer", {"title": "x", "head": "ringfence/T-1", "base": "main"})
    assert again.status_code == 422
    assert again.json()["errors"][0]["message"] == "A pull request already exists for demo:ringfence/T-1."
    listed = code_host.api("GET", pulls(code_host) + "?head=demo:ringfence/T-1&state=all", "reader").json()
    assert [row["number"] for row in listed] == [first["number"]]


def test_lists_are_filtered_and_paged(code_host: Hosted, work: Path) -> None:
    for number in (1, 2, 3):
        code_host.propose(work, f"ringfence/T-{number}")
    code_host.api("PATCH", pulls(code_host, 2), "alice", {"state": "closed"})

    def numbers(query: str) -> list[int]:
        return [row["number"] for row in code_host.api("GET", pulls(code_host) + query, "reader").json()]

    assert numbers("") == [3, 1]
    assert numbers("?state=all") == [3, 2, 1]
    assert numbers("?state=closed") == [2]
    assert numbers("?state=all&per_page=2") == [3, 2]
    assert numbers("?state=all&per_page=2&page=2") == [1]
    assert numbers("?head=demo:ringfence/T-3") == [3]
    assert numbers("?head=other:ringfence/T-3") == []
    assert numbers("?base=release/1") == []


def test_commits_and_files_say_what_it_brings(code_host: Hosted, work: Path) -> None:
    code_host.branch(work, "x", {"docs/old.md": None, "docs/new.md": "old\n"}, "Move it")
    code_host.commit(work, {"a.txt": "1\n2\n", "README.md": "# Inventory\nmore\n"}, "Add it")
    code_host.push(work, "HEAD:refs/heads/ringfence/T-1")
    code_host.propose(work, pushed=True)
    commits = code_host.api("GET", pulls(code_host, 1, "/commits"), "reader").json()
    assert [row["commit"]["message"] for row in commits] == ["Move it", "Add it"]
    files = code_host.api("GET", pulls(code_host, 1, "/files"), "reader").json()
    assert [(row["filename"], row["status"], row["additions"], row["deletions"]) for row in files] == [
        ("README.md", "modified", 1, 0),
        ("a.txt", "added", 2, 0),
        ("docs/new.md", "renamed", 0, 0),
    ]
    assert files[2]["previous_filename"] == "docs/old.md"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"title": 1, "head": "ringfence/T-1", "base": "main"}', 422),
        (b'{"title": "", "head": "ringfence/T-1", "base": "main"}', 422),
        (b'{"title": "\\ud800", "head": "ringfence/T-1", "base": "main"}', 422),
        (b'{"title": "x", "head": "ringfence/none", "base": "main"}', 422),
        (b'{"title": "x", "head": "ringfence/T-1", "base": "none"}', 422),
        (b'{"title": "x", "head": "ringfence/--output=x", "base": "--all"}', 422),
        (b'{"title": "x", "head": "ringfence/T-1", "base": "ringfence/T-1"}', 422),
        (b'{"title": "x", "head": "ringfence/$(id)", "base": "main"}', 422),
        (b'{"title": "x", "head": "main", "base": "ringfence/T-1"}', 403),
        (b'{"title": "' + b"x" * 300 + b'", "head": "ringfence/T-1", "base": "main"}', 422),
        (b'{"title": "x", "head": "ringfence/T-1", "base": "main", "body": "' + b"x" * 70_000 + b'"}', 422),
        (b'{"body": "' + b"x" * 1_100_000 + b'"}', 413),
    ],
)
def test_bad_input_is_answered_and_loses_nothing(code_host: Hosted, work: Path, body: bytes, status: int) -> None:
    code_host.branch(work, "x", {"src/stock.py": "1\n"})
    code_host.push(work, "HEAD:refs/heads/ringfence/T-1")
    headers = {"Content-Type": "application/json"}
    answer = code_host.api("POST", pulls(code_host), "writer", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["message"]
    assert code_host.api("GET", pulls(code_host) + "?state=all", "reader").json() == []


def test_endless_bodies_are_cut_off(code_host: Hosted) -> None:
    def endless() -> Any:
        for _ in range(4000):
            yield b"x" * 65_536

    with pytest.raises((httpx2.HTTPError, AssertionError)):
        answer = code_host.api("POST", pulls(code_host), "writer", content=endless(),
                               headers={"Content-Type": "application/json"})  # fmt: skip
        assert answer.status_code < 400
    assert code_host.api("GET", pulls(code_host), "writer").status_code == 200


@pytest.mark.parametrize("number", ["0", "-1", "99", "1e3", "x", "9" * 40])
def test_numbers_that_are_none_are_4xx(code_host: Hosted, number: str) -> None:
    for path in (f"/pulls/{number}", f"/pulls/{number}/files", f"/issues/{number}/comments"):
        assert code_host.api("GET", f"/repos/{code_host.repository}{path}", "writer").status_code in (404, 422)


def test_a_form_from_another_page_cannot_use_the_api(code_host: Hosted, work: Path) -> None:
    code_host.propose(work)
    body = b'{"body": "hi"}'
    path = f"/repos/{code_host.repository}/issues/1/comments"
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = code_host.api("POST", path, "writer", content=body, headers={"Content-Type": kind})
        assert answer.status_code in (415, 422), kind
    foreign = {"Content-Type": "application/json", "Origin": "http://evil.example.internal"}
    assert code_host.api("POST", path, "writer", content=body, headers=foreign).status_code == 421
    assert code_host.api("GET", path, "writer").json() == []


def test_only_humans_review_and_merge(code_host: Hosted, work: Path) -> None:
    code_host.propose(work)
    for role in ("reader", "writer"):
        assert approve(code_host, 1, role).status_code == 403
        assert approve(code_host, 1, role, event="COMMENT").status_code == 403
        assert merge(code_host, 1, role).status_code == 403
    assert approve(code_host, 1, "carol").status_code == 404
    assert merge(code_host, 1).status_code == 405
    assert code_host.api("GET", pulls(code_host, 1, "/reviews"), "reader").json() == []
    assert code_host.api("GET", pulls(code_host, 1), "reader").json()["merged"] is False


def test_an_approved_pull_request_is_merged_by_the_server(code_host: Hosted, work: Path) -> None:
    proposed, before = code_host.propose(work), code_host.tip()
    assert approve(code_host, 1).status_code == 200
    done = merge(code_host, 1, sha=proposed["head"]["sha"])
    assert done.status_code == 200, done.text
    after = code_host.tip()
    assert done.json()["sha"] == after
    assert run_git(code_host.bare, "rev-parse", f"{after}^@").stdout.split() == [before, proposed["head"]["sha"]]
    message = run_git(code_host.bare, "log", "-1", "--format=%an%n%B", after).stdout
    assert message.startswith(f"{code_host.names['alice']}\nMerge pull request #1 from ringfence/T-1\n")
    assert f"Approved-by: {code_host.names['alice']}" in message
    found = code_host.api("GET", pulls(code_host, 1), "reader").json()
    assert (found["state"], found["merged"], found["merge_commit_sha"]) == ("closed", True, after)
    assert merge(code_host, 1).status_code == 405
    run_git(code_host.bare, "fsck", "--strict")


def test_a_draft_is_marked_ready_by_a_human_before(code_host: Hosted, work: Path) -> None:
    code_host.propose(work, draft=True)
    approve(code_host, 1)
    assert "draft" in merge(code_host, 1).json()["message"]
    assert code_host.api("PATCH", pulls(code_host, 1), "writer", {"draft": False}).status_code == 403
    assert code_host.api("PATCH", pulls(code_host, 1), "alice", {"draft": False}).json()["draft"] is False
    assert merge(code_host, 1).status_code == 200


def test_an_approval_is_of_one_commit(code_host: Hosted, work: Path) -> None:
    """Approve once, push something else (ATTACKS A11): the approval does not come along."""
    first = code_host.propose(work)["head"]["sha"]
    approve(code_host, 1)
    second = code_host.commit(work, {"src/stock.py": "import os\n"})
    code_host.push(work, f"{second}:refs/heads/ringfence/T-1")
    assert "0 of 1 approvals" in merge(code_host, 1).json()["message"]
    assert merge(code_host, 1, sha=first).status_code == 409
    assert approve(code_host, 1, commit_id=first).status_code == 422
    assert approve(code_host, 1, commit_id=second).status_code == 200
    assert merge(code_host, 1, sha=second).status_code == 200


def test_who_asked_for_changes_stands_against_it_until_they_approve(code_host: Hosted, work: Path) -> None:
    code_host.propose(work)
    approve(code_host, 1, "bob", event="REQUEST_CHANGES")
    approve(code_host, 1, "alice")
    assert "asked for changes" in merge(code_host, 1).json()["message"]
    approve(code_host, 1, "bob")
    assert merge(code_host, 1).status_code == 200


def test_one_s_own_work_is_not_one_s_own_to_approve(code_host: Hosted, work: Path) -> None:
    code_host.add("dave", "human", Permission(write_prefix="dave/", review=True))
    code_host.add("erin", "human", Permission(write_prefix="ringfence/", review=True))
    commit = code_host.branch(work, "x", {"src/stock.py": "1\n"})
    assert code_host.push(work, f"{commit}:refs/heads/dave/x", by="dave").returncode == 0
    asked = {"title": "Mine", "head": "dave/x", "base": "main"}
    assert code_host.api("POST", pulls(code_host), "dave", asked).status_code == 201
    assert approve(code_host, 1, "dave").status_code == 422
    code_host.propose(work)
    assert approve(code_host, 2, "erin").status_code == 422, "who can push to a branch does not approve it"


def test_an_approval_counts_no_more_when_its_giver_is_gone(code_host: Hosted, work: Path) -> None:
    from ringfence.adapters.clock import SystemClock
    from ringfence.web.host.layout import Layout
    from ringfence.web.host.principals import Principals

    code_host.propose(work)
    approve(code_host, 1, "bob")
    Principals(Layout(code_host.root).principals, SystemClock()).remove(code_host.names["bob"])
    assert "0 of 1 approvals" in merge(code_host, 1).json()["message"]


def test_conflicts_are_not_merged(code_host: Hosted, work: Path) -> None:
    code_host.propose(work, "ringfence/T-1")
    code_host.propose(work, "ringfence/T-22")
    approve(code_host, 1)
    approve(code_host, 2)
    assert merge(code_host, 1).status_code == 200
    assert "conflicts" in merge(code_host, 2).json()["message"]
    assert code_host.api("GET", pulls(code_host, 2), "reader").json()["mergeable"] is False


def test_many_mergers_make_one_merge(code_host: Hosted, work: Path) -> None:
    code_host.propose(work)
    approve(code_host, 1)
    start = threading.Barrier(5)

    def racing(_: int) -> int:
        start.wait(20)
        return merge(code_host, 1).status_code

    with ThreadPoolExecutor(5) as pool:
        codes = sorted(pool.map(racing, range(5)))
    assert codes[0] == 200 and set(codes[1:]) <= {405, 409}
    merges = run_git(code_host.bare, "log", "--merges", "--format=%H", "main").stdout.split()
    assert len(merges) == 1
    assert code_host.api("GET", pulls(code_host, 1), "reader").json()["merged"] is True


def test_authors_edit_words_and_close_but_do_not_open_again(code_host: Hosted, work: Path) -> None:
    code_host.propose(work)
    assert code_host.api("PATCH", pulls(code_host, 1), "reader", {"title": "x"}).status_code == 403
    edited = code_host.api("PATCH", pulls(code_host, 1), "writer", {"title": "New", "body": "Words"}).json()
    assert (edited["title"], edited["body"]) == ("New", "Words")
    assert code_host.api("PATCH", pulls(code_host, 1), "writer", {"state": "closed"}).json()["state"] == "closed"
    assert code_host.api("PATCH", pulls(code_host, 1), "writer", {"state": "open"}).status_code == 403
    assert code_host.api("PATCH", pulls(code_host, 1), "alice", {"state": "open"}).json()["state"] == "open"


def test_readers_write_nothing(code_host: Hosted, work: Path) -> None:
    sha = code_host.propose(work)["head"]["sha"]
    repository = f"/repos/{code_host.repository}"
    assert code_host.api("POST", f"{repository}/issues/1/comments", "reader", {"body": "x"}).status_code == 403
    assert code_host.api("POST", f"{repository}/statuses/{sha}", "reader", {"state": "success"}).status_code == 403
    assert code_host.api("POST", f"{repository}/statuses/{sha}", "alice", {"state": "success"}).status_code == 403


@pytest.mark.parametrize(
    "body", [{"state": "great"}, {}, {"state": "success", "description": "x" * 141},
             {"state": "success", "target_url": "javascript:alert(1)"}, {"state": "success", "context": ""}]
)  # fmt: skip
def test_odd_statuses_are_refused(code_host: Hosted, work: Path, body: dict[str, str]) -> None:
    sha = code_host.propose(work)["head"]["sha"]
    path = f"/repos/{code_host.repository}/statuses/{sha}"
    assert code_host.api("POST", path, "writer", body).status_code == 422
    assert code_host.api("POST", path.replace(sha, "1" * 40), "writer", {"state": "success"}).status_code == 422


def conforms(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "") -> list[str]:
    """What of a value GitHub's description does not know, or knows as another type; leaving out is allowed."""
    while "$ref" in schema:
        place: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            place = place[step]
        schema = place
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return min((conforms(value, each, root, where) for each in schema[choice]), key=len)
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    if value is None:
        return [] if schema.get("nullable") else [f"{where}: null"]
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        return [f"{where}: {type(value).__name__} is no {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r} is none of {schema['enum']}"]
    if isinstance(value, list):
        return [fault for row in value for fault in conforms(row, schema.get("items", {}), root, f"{where}[]")]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    unknown = [f"{where}.{key}: unknown" for key in value if key not in schema["properties"]]
    known = [(key, each) for key, each in value.items() if key in schema["properties"]]
    faults = [
        fault for key, each in known for fault in conforms(each, schema["properties"][key], root, f"{where}.{key}")
    ]
    return unknown + faults


def test_answers_have_the_shapes_of_github(code_host: Hosted, work: Path) -> None:
    if not SPECIFICATION.is_file():
        pytest.skip("GitHub's REST description is not at hand")
    root = json.loads(SPECIFICATION.read_text())
    sha = code_host.propose(work)["head"]["sha"]
    base = f"/repos/{code_host.repository}"
    code_host.api("POST", f"{base}/pulls/1/reviews", "alice", {"event": "APPROVE"})
    calls = [
        ("get", "/user", "/user", None, "reader"),
        ("get", "/repos/{owner}/{repo}", base, None, "reader"),
        ("get", "/repos/{owner}/{repo}/pulls", f"{base}/pulls", None, "reader"),
        ("get", "/repos/{owner}/{repo}/pulls/{pull_number}", f"{base}/pulls/1", None, "reader"),
        ("patch", "/repos/{owner}/{repo}/pulls/{pull_number}", f"{base}/pulls/1", {"title": "y"}, "writer"),
        ("get", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews", f"{base}/pulls/1/reviews", None, "reader"),
        ("post", "/repos/{owner}/{repo}/statuses/{sha}", f"{base}/statuses/{sha}", {"state": "success"}, "writer"),
        ("get", "/repos/{owner}/{repo}/commits/{ref}/status", f"{base}/commits/{sha}/status", None, "reader"),
        ("post", "/repos/{owner}/{repo}/issues/{issue_number}/comments", f"{base}/issues/1/comments", {"body": "x"},
         "writer"),
        ("get", "/repos/{owner}/{repo}/issues/{issue_number}/comments", f"{base}/issues/1/comments", None, "reader"),
        ("post", "/repos/{owner}/{repo}/pulls", f"{base}/pulls",
         {"title": "x", "head": "ringfence/T-1", "base": "main"}, "writer"),
    ]  # fmt: skip
    for method, described, path, body, by in calls:
        answer = code_host.api(method.upper(), path, by, body)
        responses = root["paths"][described][method]["responses"]
        assert str(answer.status_code) in responses, (described, answer.status_code)
        response = responses[str(answer.status_code)]
        if "$ref" in response:
            response = root["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        schema = response["content"]["application/json"]["schema"]
        assert conforms(answer.json(), schema, root, described) == []
