"""Short-lived tokens of the local code host: what they may do, for how long, and that they end (ATTACKS F01, I06)."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hosting import Hosted, Server, hosted, run_git
from ringfence.adapters.clock import SystemClock
from ringfence.domain.errors import InputError
from ringfence.web.host.creation import NewPrincipal, create_host, create_principal, create_repository
from ringfence.web.host.layout import Layout
from ringfence.web.host.principals import Permission, Principals
from ringfence.web.host.tokens import Minted, Tokens

TOKENS = "/app/installations/self/access_tokens"


@dataclass
class Mint:
    """A minter of one repository on a host."""

    host: Hosted
    count: int = 0

    def ask(self, **body: Any) -> httpx2.Response:
        self.count += 1
        asked = {
            "repositories": [self.host.repository],
            "permissions": {"contents": "read"},
            "reference": f"test-{self.host.repository.split('/')[1]}-{self.count}",
            **body,
        }
        return self.host.api(
            "POST", TOKENS, "minter", {key: value for key, value in asked.items() if value is not None}
        )

    def token(self, **body: Any) -> dict[str, Any]:
        """Mint, and know the token as role `minted`."""
        answer = self.ask(**body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        self.host.tokens["minted"] = found["token"]
        return found

    def write(self, **body: Any) -> dict[str, Any]:
        return self.token(permissions={"contents": "write"}, branch_prefix="ringfence/", **body)


@pytest.fixture
def mint(code_host: Hosted) -> Mint:
    code_host.add("minter", "minter", Permission(write_prefix="ringfence/"))
    return Mint(code_host)


def fetches(host: Hosted, where: Path, role: str = "minted", url: str = "") -> bool:
    return run_git(where, "ls-remote", url or host.git_url, token=host.tokens[role], check=False).returncode == 0


def test_a_read_token_reads_its_repository_and_writes_nothing(mint: Mint, work: Path) -> None:
    host, found = mint.host, mint.token()
    assert found["permissions"] == {"contents": "read"}
    assert [row["full_name"] for row in found["repositories"]] == [host.repository]
    assert fetches(host, work)
    assert host.api("GET", f"/repos/{host.repository}/pulls", "minted").status_code == 200
    commit = host.branch(work, "x", {"src/stock.py": "1\n"})
    pushed = host.push(work, f"{commit}:refs/heads/ringfence/x", by="minted")
    assert pushed.returncode != 0 and "403" in pushed.stderr
    body = {"title": "t", "head": "ringfence/x", "base": "main"}
    assert host.api("POST", f"/repos/{host.repository}/pulls", "minted", body).status_code == 403
    status = host.api("POST", f"/repos/{host.repository}/statuses/{host.tip()}", "minted", {"state": "success"})
    assert status.status_code == 403


def test_a_write_token_publishes_its_branch_only(mint: Mint, work: Path) -> None:
    host = mint.host
    mint.token(permissions={"contents": "write"}, branch_prefix="ringfence/T-1-fix")
    commit = host.branch(work, "x", {"src/stock.py": "1\n"})
    assert host.push(work, f"{commit}:refs/heads/ringfence/T-1-fix", by="minted").returncode == 0
    for other in ("ringfence/T-2-fix", "ringfence/T-1-fixed", "ringfence/T-1"):
        outside = host.push(work, f"{commit}:refs/heads/{other}", by="minted")
        assert outside.returncode != 0 and "[branch-prefix]" in outside.stderr
    body = {"title": "t", "head": "ringfence/T-1-fix", "base": "main", "draft": True}
    opened = host.api("POST", f"/repos/{host.repository}/pulls", "minted", body)
    assert opened.status_code == 201
    assert opened.json()["user"] == {"login": host.names["minter"], "type": "Bot"}
    number = opened.json()["number"]
    mint.write()  # the next run's token: the same author goes on
    assert host.api("PATCH", f"/repos/{host.repository}/pulls/{number}", "minted", {"title": "u"}).status_code == 200
    assert host.api("PUT", f"/repos/{host.repository}/pulls/{number}/merge", "minted", {}).status_code == 403
    review = host.api("POST", f"/repos/{host.repository}/pulls/{number}/reviews", "minted", {"event": "APPROVE"})
    assert review.status_code == 403


def test_a_token_is_nothing_in_a_second_repository(mint: Mint, code_host_server: Server, tmp_path: Path) -> None:
    other = hosted(code_host_server, tmp_path / "other")
    mint.write()
    assert not fetches(mint.host, tmp_path, url=other.git_url)
    assert mint.host.api("GET", f"/repos/{other.repository}", "minted").status_code == 404
    work = other.clone(tmp_path / "clone")
    commit = other.branch(work, "x", {"src/stock.py": "1\n"})
    pushed = run_git(
        work, "push", other.git_url, f"{commit}:refs/heads/ringfence/x", token=mint.host.tokens["minted"], check=False
    )
    assert pushed.returncode != 0
    assert mint.ask(repositories=[other.repository]).status_code == 422


def test_a_token_ends_at_its_time_for_git_and_api(mint: Mint, work: Path) -> None:
    host = mint.host
    mint.write(expires_in=2)
    assert fetches(host, work)
    deadline = time.monotonic() + 10
    while host.api("GET", "/user", "minted").status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert host.api("GET", "/user", "minted").status_code == 401
    assert not fetches(host, work)
    commit = host.branch(work, "x", {"src/stock.py": "1\n"})
    assert host.push(work, f"{commit}:refs/heads/ringfence/x", by="minted").returncode != 0


@pytest.mark.parametrize("by", ["bearer", "reference"])
def test_a_revoked_token_is_out_at_once_for_git_and_api(mint: Mint, work: Path, by: str) -> None:
    host, found = mint.host, mint.write()
    assert fetches(host, work)
    if by == "bearer":
        assert host.api("DELETE", "/installation/token", "minted").status_code == 204
        assert host.api("DELETE", "/installation/token", "minted").status_code == 401
    else:
        answer = host.api("DELETE", f"{TOKENS}/{found['reference']}", "minter")
        assert (answer.status_code, answer.json()["active"]) == (200, False)
    assert host.api("GET", "/user", "minted").status_code == 401
    assert not fetches(host, work)
    commit = host.branch(work, "x", {"src/stock.py": "1\n"})
    assert host.push(work, f"{commit}:refs/heads/ringfence/x", by="minted").returncode != 0
    seen = host.api("GET", f"{TOKENS}/{found['reference']}", "minter").json()
    assert seen["active"] is False and "token" not in seen


def test_a_revocation_that_comes_before_its_mint_wins(mint: Mint) -> None:
    assert mint.host.api("DELETE", f"{TOKENS}/publish-cut-off", "minter").status_code == 200
    assert mint.ask(reference="publish-cut-off").status_code == 409
    assert mint.ask(reference="publish-whole").status_code == 201
    assert mint.ask(reference="publish-whole").status_code == 409, "one reference, one token"


def test_a_minter_can_do_nothing_but_mint(mint: Mint, work: Path) -> None:
    host = mint.host
    for path in ("/user", f"/repos/{host.repository}", f"/repos/{host.repository}/pulls"):
        assert host.api("GET", path, "minter").status_code == 403
    assert not fetches(host, work, "minter")
    commit = host.branch(work, "x", {"src/stock.py": "1\n"})
    assert host.push(work, f"{commit}:refs/heads/ringfence/x", by="minter").returncode != 0


@pytest.mark.parametrize("role", ["reader", "writer", "alice", "minted", None])
def test_nobody_else_mints_or_revokes_by_reference(mint: Mint, role: str | None) -> None:
    found = mint.token()
    body = {"repositories": [mint.host.repository], "permissions": {"contents": "read"}, "reference": "other-one"}
    wanted = 401 if role is None else 403
    assert mint.host.api("POST", TOKENS, role, body).status_code == wanted
    assert mint.host.api("DELETE", f"{TOKENS}/{found['reference']}", role).status_code == wanted
    assert mint.host.api("GET", "/user", "minted").status_code == 200


def test_one_minter_cannot_end_the_tokens_of_another(mint: Mint) -> None:
    found = mint.token()
    mint.host.add("second", "minter", Permission())
    own = mint.host.names["minter"]
    named = f"/app/installations/{own}/access_tokens/{found['reference']}"
    assert mint.host.api("DELETE", named, "second").status_code == 404
    assert mint.host.api("DELETE", f"{TOKENS}/{found['reference']}", "second").status_code == 200
    assert mint.host.api("GET", "/user", "minted").status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"repositories": []}, 422),
        ({"repositories": None}, 422),
        ({"repositories": ["demo/none"]}, 422),
        ({"permissions": None}, 422),
        ({"permissions": {"contents": "admin"}}, 422),
        ({"permissions": {"contents": "read", "administration": "write"}}, 422),
        ({"permissions": {"contents": "write"}, "branch_prefix": ""}, 422),
        ({"permissions": {"contents": "write"}, "branch_prefix": "ring"}, 422),
        ({"permissions": {"contents": "write"}, "branch_prefix": "other/"}, 422),
        ({"branch_prefix": "ringfence/"}, 422),
        ({"expires_in": 3601}, 422),
        ({"expires_in": 0}, 422),
        ({"expires_in": None}, 201),
        ({"reference": None}, 422),
        ({"reference": "../../x"}, 422),
        ({"reference": "short"}, 422),
        ({"everything": True}, 422),
    ],
)
def test_a_token_is_never_broader_than_asked_or_allowed(mint: Mint, body: dict[str, Any], status: int) -> None:
    assert mint.ask(**body).status_code == status


def test_a_minter_with_read_only_mints_no_write(code_host: Hosted) -> None:
    code_host.add("minter", "minter", Permission())
    assert Mint(code_host).ask(permissions={"contents": "write"}).status_code == 422
    assert Mint(code_host, 5).ask(permissions={"contents": "read"}).status_code == 201


def test_a_minter_that_is_cut_back_or_removed_takes_its_tokens_with_it(mint: Mint, work: Path) -> None:
    host = mint.host
    mint.write()
    path = Layout(host.root).principals
    principals = Principals(path, SystemClock())
    commit = host.branch(work, "x", {"src/stock.py": "1\n"})
    rows = json.loads(path.read_text())
    for row in rows:
        if row["name"] == host.names["minter"]:
            row["permissions"][host.repository]["write_prefix"] = None
    path.write_text(json.dumps(rows))
    assert host.push(work, f"{commit}:refs/heads/ringfence/x", by="minted").returncode != 0
    assert fetches(host, work)
    assert principals.remove(host.names["minter"])
    assert not fetches(host, work)
    assert host.api("GET", "/user", "minted").status_code == 401


def test_minted_tokens_are_kept_as_digests(mint: Mint) -> None:
    tokens = [mint.token()["token"], mint.write()["token"]]
    kept = b"".join(path.read_bytes() for path in mint.host.root.rglob("*") if path.is_file())
    assert not any(token.encode() in kept for token in tokens)


def test_a_minter_that_could_do_too_much_is_not_made(tmp_path: Path) -> None:
    create_repository(tmp_path / "root", "demo/a")
    for permission, why in ((Permission(review=True), "never review"), (Permission(write_prefix="x/"), "only below")):
        with pytest.raises(InputError, match=why):
            create_principal(tmp_path / "root", NewPrincipal("m", "minter", {"demo/a": permission}))


# --- the host's clock, and nobody else's, says when a token ends (I06)


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def token(self, size: int) -> str:
        return "0" * (2 * size)


@dataclass
class Timed:
    """Tokens of a host that lives by a set clock."""

    clock: SetClock
    tokens: Tokens
    made: tuple[str, Minted]

    @property
    def taken(self) -> bool:
        return self.tokens.authenticate(self.made[0]) is not None


@pytest.fixture
def timed(tmp_path: Path) -> Timed:
    layout = create_host(tmp_path / "root")
    create_repository(tmp_path / "root", "demo/a")
    create_principal(tmp_path / "root", NewPrincipal("m", "minter", {"demo/a": Permission()}))
    clock = SetClock()
    principals = Principals(layout.principals, clock)
    tokens = Tokens(layout.records, principals, clock)
    minter = principals.find("m")
    assert minter is not None
    made = tokens.mint(minter, "checkout-1", {"demo/a": Permission()}, seconds=600)
    assert made is not None
    return Timed(clock, tokens, made)


def test_a_token_is_taken_until_the_last_moment_and_never_after(timed: Timed) -> None:
    for passed, taken in ((0.0, True), (599.9, True), (600.0, False), (86_400.0, False)):
        timed.clock.time = 1_800_000_000.0 + passed
        assert timed.taken is taken, passed


def test_a_clock_that_is_set_back_lengthens_no_token(timed: Timed) -> None:
    timed.clock.time -= 4.0  # a leap second, a small step
    assert timed.taken
    timed.clock.time -= 3600.0
    assert not timed.taken
    timed.clock.time += 3604.0
    assert timed.taken


def test_revoking_is_kept_when_the_clock_is_set_back(timed: Timed) -> None:
    timed.tokens.revoke("m", "checkout-1")
    assert not timed.taken
    timed.clock.time -= 2.0
    assert not timed.taken
