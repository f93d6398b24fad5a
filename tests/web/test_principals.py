"""Who gets in: tokens, their ends and their borders (ATTACKS F01)."""

import base64
import json
import stat
import time
from pathlib import Path

import httpx2
import pytest

from hosting import Hosted, Server, hosted, run_git
from ringfence.adapters.clock import SystemClock
from ringfence.domain.errors import ControlMissing, InputError
from ringfence.web.host.creation import NewPrincipal, create_principal, create_repository
from ringfence.web.host.git.policy import RepositoryPolicy
from ringfence.web.host.layout import Layout
from ringfence.web.host.principals import Permission, Principals


def status(host: Hosted, path: str, authorization: str | None) -> int:
    headers = {"Authorization": authorization} if authorization is not None else {}
    return host.api("GET", path, headers=headers).status_code


def test_without_a_token_git_is_asked_for_one(code_host: Hosted) -> None:
    answer = code_host.api("GET", f"/{code_host.repository}.git/info/refs?service=git-upload-pack")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")


def test_basic_with_any_user_name_and_bearer_are_both_taken(code_host: Hosted) -> None:
    token, path = code_host.tokens["reader"], f"/repos/{code_host.repository}/pulls"
    for user in ("x", "", "worker", "a b"):
        assert status(code_host, path, "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()) == 200
    assert status(code_host, path, f"Bearer {token}") == 200
    assert status(code_host, path, f"token {token}") == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer x",
        "Basic !!!",
        "Basic eA==",
        "Digest x",
        "Bearer rfh_" + "0" * 64,
        "Basic /w==",
        "",
    ],
)
def test_anything_else_is_nobody(code_host: Hosted, authorization: str) -> None:
    assert status(code_host, f"/repos/{code_host.repository}/pulls", authorization) == 401


def test_a_digest_is_no_token(code_host: Hosted) -> None:
    rows = json.loads((code_host.root / "principals.json").read_text())
    assert all(status(code_host, "/user", f"Bearer {row['digest']}") == 401 for row in rows)


def test_another_repository_looks_like_none_at_all(code_host: Hosted, code_host_server: Server, tmp_path: Path) -> None:
    other = hosted(code_host_server, tmp_path / "other")
    for role in ("reader", "writer", "alice"):
        seen = [
            code_host.api("GET", f"/repos/{name}{rest}", role)
            for rest in ("", "/pulls", "/pulls/1", "/commits/" + "0" * 40 + "/status")
            for name in (other.repository, "demo/none", "none/none")
        ]
        assert {answer.status_code for answer in seen} == {404}
        assert len({answer.text for answer in seen}) == 1
    done = run_git(tmp_path, "ls-remote", other.git_url, token=code_host.tokens["writer"], check=False)
    gone = run_git(tmp_path, "ls-remote", f"{other.url}/demo/none.git", token=code_host.tokens["writer"], check=False)
    assert done.returncode == gone.returncode == 128
    assert done.stderr.replace(other.repository, "demo/none") == gone.stderr


def test_a_token_ends_at_its_time(code_host: Hosted) -> None:
    code_host.add("brief", "worker", Permission(), expires=time.time() + 1.2)
    path = f"/repos/{code_host.repository}/pulls"
    assert code_host.api("GET", path, "brief").status_code == 200
    deadline = time.monotonic() + 10
    while code_host.api("GET", path, "brief").status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert code_host.api("GET", path, "brief").status_code == 401


def test_a_removed_principal_is_out_at_once(code_host: Hosted, work: Path) -> None:
    commit = code_host.branch(work, "x", {"src/stock.py": "1\n"})
    assert Principals(Layout(code_host.root).principals, SystemClock()).remove(code_host.names["writer"])
    assert code_host.api("GET", "/user", "writer").status_code == 401
    assert code_host.push(work, f"{commit}:refs/heads/ringfence/x").returncode == 128


def test_tokens_are_kept_as_digests_in_files_of_the_owner_only(code_host: Hosted) -> None:
    kept = b"".join(path.read_bytes() for path in code_host.root.rglob("*") if path.is_file())
    assert not any(token.encode() in kept for token in code_host.tokens.values())
    for name in ("principals.json", "host.json", "records.sqlite"):
        assert stat.S_IMODE((code_host.root / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(code_host.root.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (NewPrincipal("w2", "worker", {"demo/a": Permission(review=True)}), "workers never review"),
        (NewPrincipal("w2", "worker", {"demo/a": Permission(write_prefix="")}), "only below"),
        (NewPrincipal("w2", "worker", {"demo/a": Permission(write_prefix="other/")}), "only below"),
        (NewPrincipal("h2", "human", {"demo/a": Permission(write_prefix="")}), "not empty"),
        (NewPrincipal("w2", "worker", {"demo/none": Permission()}), "no repository"),
        (NewPrincipal("../w", "worker", {}), "no name"),
        (NewPrincipal("first", "human", {}), "already"),
    ],
)
def test_a_principal_that_could_do_too_much_is_not_made(tmp_path: Path, wanted: NewPrincipal, why: str) -> None:
    create_repository(tmp_path / "root", "demo/a")
    create_principal(tmp_path / "root", NewPrincipal("first", "worker", {}))
    with pytest.raises(InputError, match=why):
        create_principal(tmp_path / "root", wanted)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({"prefix": ""}, "prefix"),
        ({"prefix": "a b/"}, "prefix"),
        ({"approvals": 0}, "approvals"),
        ({"protected_branches": ()}, "default branch"),
        ({"protected_paths": ("[a-z]",)}, "no meaning"),
        ({"default_branch": "-x"}, "default_branch"),
    ],
)
def test_a_policy_without_teeth_is_refused(policy: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        RepositoryPolicy(**policy)  # type: ignore[arg-type]


def test_the_first_commit_is_the_same_everywhere(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_text("a\n")
    (source / ".gitignore").write_text("*.txt\n")
    one = create_repository(tmp_path / "one", "demo/a", from_directory=source)
    two = create_repository(tmp_path / "two", "demo/b", from_directory=source)
    tips = {run_git(path, "rev-parse", "main").stdout for path in (one, two)}
    assert len(tips) == 1
    assert run_git(one, "ls-tree", "--name-only", "main").stdout.split() == [".gitignore", "a.txt"]
    with pytest.raises(InputError, match="already"):
        create_repository(tmp_path / "one", "demo/a")
    with pytest.raises(InputError, match="no name"):
        create_repository(tmp_path / "one", "repos/a")


def test_a_broken_principals_file_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "principals.json"
    for text in ("", "{", "[{}]", '[{"kind": "root"}]', "null"):
        path.write_text(text)
        with pytest.raises(ControlMissing):
            Principals(path, SystemClock()).authenticate("x")


@pytest.mark.parametrize(
    "path",
    [
        "/{}.git/HEAD",
        "/{}.git/config",
        "/{}.git/objects/info/packs",
        "/{}.git/info/refs",
        "/{}.git/info/refs?service=git-upload-archive",
        "/{}.git/../../principals.json",
        "/{}.git/%2e%2e/%2e%2e/principals.json",
        "/{}.git/git-upload-pack",
    ],
)
def test_nothing_of_a_repository_is_served_but_the_smart_protocol(code_host: Hosted, path: str) -> None:
    answer = code_host.api("GET", path.format(code_host.repository), "writer")
    assert answer.status_code == 404


def test_another_host_name_is_refused_before_all_else(code_host: Hosted) -> None:
    for host in ("evil.example.internal", "127.0.0.1", "127.0.0.1:1", ""):
        with httpx2.Client(trust_env=False, verify=False) as client:
            answer = client.get(f"{code_host.url}/login", headers={"Host": host})
            assert answer.status_code in (400, 421), host
