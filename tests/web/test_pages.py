"""The review pages: only for humans who logged in, only by our own forms, honest about strangers' text (F04, F06)."""

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest

from hosting import Hosted, run_git
from ringfence.adapters.clock import SystemClock
from ringfence.domain.errors import InputError
from ringfence.web.host.creation import create_login_link
from ringfence.web.host.layout import Layout
from ringfence.web.host.pages.diff import PAGE_LINES
from ringfence.web.host.principals import Principals

HOSTILE = "\x1b]0;pwn\x07\x1b[31mred <script>alert(1)</script> \u202egnp.exe\u202c \u200bzero \U000e0041tag \x9b31m"
BODY = f"""# Title

{HOSTILE}

@alice closes #1, fixes demo/inventory#2

<img src=x onerror=alert(1)> <iframe src="//evil.example.internal"></iframe>
![pixel](https://evil.example.internal/p.png "t") ![ref][r] [![in](https://evil.example.internal/q.png)](https://a.example.internal)
[run](javascript:alert(1)) [data](data:text/html;base64,eA==) <javascript:alert(1)> [file](file:///etc/passwd)
[https://good.example.internal](https://evil.example.internal/x) [rel](/logout) [x](//evil.example.internal)

```unseen
code </code></pre><script>alert(2)</script>
```

| a | b |
| --- | --- |
| <b>1</b> | 2 |

[r]: https://evil.example.internal/r.png
"""


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def values(self, tag: str, name: str) -> list[str]:
        return [str(attributes[name]) for each, attributes in self.tags if each == tag and name in attributes]


Login = Callable[[str], httpx2.Client]


@pytest.fixture
def login(code_host: Hosted) -> Iterator[Login]:
    clients: list[httpx2.Client] = []

    def begin(role: str) -> httpx2.Client:
        client = httpx2.Client(
            base_url=code_host.url, trust_env=False, verify=False, headers={"Origin": code_host.url}, timeout=30
        )
        clients.append(client)
        answer = client.post("/login", data={"token": code_host.tokens[role], "target": "/"})
        assert answer.status_code == 303, answer.text
        return client

    yield begin
    for client in clients:
        client.close()


def path(host: Hosted, number: int = 1) -> str:
    return f"/{host.repository}/pull/{number}"


def act(client: httpx2.Client, host: Hosted, action: str, body: str = "", **changed: str) -> httpx2.Response:
    """Press a button of the page as a browser would, with the form's own values."""
    page = Page(client.get(path(host)).text)
    hidden = {str(a["name"]): str(a["value"]) for tag, a in page.tags if tag == "input" and a.get("type") == "hidden"}
    return client.post(path(host), data={**hidden, "action": action, "body": body, **changed})


def test_a_stranger_sees_only_the_login_page(code_host: Hosted, work: Path) -> None:
    code_host.propose(work)
    with httpx2.Client(base_url=code_host.url, trust_env=False, verify=False) as client:
        for place in ("/", f"/{code_host.repository}", path(code_host), path(code_host) + ".diff", "/none/none"):
            answer = client.get(place)
            assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/login"), place
        bearer = {"Authorization": f"Bearer {code_host.tokens['alice']}"}
        assert client.get("/", headers=bearer).status_code == 303, "a token in a header opens no page"


def test_workers_and_wrong_tokens_do_not_log_in(code_host: Hosted) -> None:
    with httpx2.Client(
        base_url=code_host.url, trust_env=False, verify=False, headers={"Origin": code_host.url}
    ) as client:
        for token in (code_host.tokens["writer"], "rfh_x", ""):
            answer = client.post("/login", data={"token": token})
            assert answer.status_code in (401, 422)
            assert "set-cookie" not in answer.headers


def test_the_cookie_is_kept_from_scripts_and_other_sites(code_host: Hosted) -> None:
    with httpx2.Client(
        base_url=code_host.url, trust_env=False, verify=False, headers={"Origin": code_host.url}
    ) as client:
        answer = client.post("/login", data={"token": code_host.tokens["alice"], "target": "//evil.example.internal/x"})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert answer.headers["location"] == "/", "never to another site"


def test_a_login_link_works_once_and_only_by_itself(code_host: Hosted) -> None:
    link = create_login_link(code_host.root, code_host.names["alice"])
    with httpx2.Client(base_url=code_host.url, trust_env=False, verify=False) as client:
        crossed = client.get(link, headers={"Sec-Fetch-Site": "cross-site"})
        assert crossed.status_code == 403
        first = client.get(f"{link}?next=/{code_host.repository}")
        assert (first.status_code, first.headers["location"]) == (303, f"/{code_host.repository}")
        assert client.get(f"/{code_host.repository}").status_code == 200
    with httpx2.Client(base_url=code_host.url, trust_env=False, verify=False) as other:
        assert other.get(link).status_code == 401
    with pytest.raises(InputError):
        create_login_link(code_host.root, code_host.names["writer"])


def test_a_removed_human_s_session_is_over(code_host: Hosted, login: Login) -> None:
    client = login("alice")
    assert client.get("/").status_code == 200
    Principals(Layout(code_host.root).principals, SystemClock()).remove(code_host.names["alice"])
    assert client.get("/").status_code == 303


def test_logging_out_ends_the_session_at_the_host(code_host: Hosted, login: Login) -> None:
    client = login("alice")
    kept = dict(client.cookies)
    csrf = Page(client.get("/").text).values("input", "value")[0]
    assert client.post("/logout", data={"csrf": csrf}).status_code == 303
    with httpx2.Client(base_url=code_host.url, trust_env=False, verify=False, cookies=kept) as again:
        assert again.get("/").status_code == 303


def test_the_page_shows_all_that_a_reviewer_needs(code_host: Hosted, work: Path, login: Login) -> None:
    sha = code_host.propose(work, body="It was **wrong**.\n\n- one\n- two")["head"]["sha"]
    status = {"state": "failure", "context": "tests", "description": "passed before, fails now"}
    code_host.api("POST", f"/repos/{code_host.repository}/statuses/{sha}", "writer", status)
    comment = {"body": "Look at *this*."}
    code_host.api("POST", f"/repos/{code_host.repository}/issues/1/comments", "writer", comment)
    text = login("alice").get(path(code_host)).text
    for wanted in ("<strong>wrong</strong>", "<em>this</em>", "passed before, fails now", sha[:10], "src/stock.py",
                   "Change it", "0 of 1 approvals", "1 of 1 checks failed"):  # fmt: skip
        assert wanted in text, wanted
    words = Page(text).words
    assert "    return sum(counts) + 13" in words
    listed = login("bob").get(f"/{code_host.repository}").text
    assert "Fix the total" in listed and "ringfence/T-1" in listed
    assert f'href="/{code_host.repository}"' in login("bob").get("/").text
    assert f'href="/{code_host.repository}"' not in login("carol").get("/").text
    assert login("carol").get(path(code_host)).status_code == 404


def test_nothing_hostile_in_any_text_becomes_part_of_the_page(code_host: Hosted, work: Path, login: Login) -> None:
    code_host.branch(work, "x", {"src/stock.py": f"{HOSTILE}\n", "a<b>&\u202e.txt": "x\n"}, f"Subject {HOSTILE}")
    code_host.git(work, "commit", "-q", "--amend", "--no-edit", "--author=a&b;\u202e\x1b[1m <x@example.internal>")
    done = code_host.push(work, "HEAD:refs/heads/ringfence/T-1")
    assert "[path]" in done.stderr, "a name that cannot be seen is not taken at all"
    code_host.git(work, "rm", "-q", "--cached", "a<b>&\u202e.txt")
    code_host.git(work, "commit", "-q", "--amend", "--no-edit")
    sha = code_host.git(work, "rev-parse", "HEAD")
    assert code_host.push(work, "HEAD:refs/heads/ringfence/T-1").returncode == 0
    code_host.propose(work, pushed=True, title=HOSTILE, body=BODY)
    status = {"state": "success", "context": HOSTILE, "description": HOSTILE}
    code_host.api("POST", f"/repos/{code_host.repository}/statuses/{sha}", "writer", status)
    code_host.api("POST", f"/repos/{code_host.repository}/issues/1/comments", "writer", {"body": BODY})
    client = login("alice")
    for place in (path(code_host), f"/{code_host.repository}"):
        text = client.get(place).text
        page = Page(text)
        tags = {tag for tag, _ in page.tags}
        assert not tags & {"script", "img", "iframe", "object", "embed", "svg", "style", "base"}, place
        assert not [
            name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"
        ]
        assert not set(text) & set("\x1b\x07\x9b\u202e\u202c\u200b\U000e0041"), place
        assert "ESC" in page.words and "U+202E" in page.words
    text = client.get(path(code_host)).text
    page = Page(text)
    outside = [link for link in page.values("a", "href") if "example.internal" in link]
    assert set(outside) == {"https://a.example.internal", "https://evil.example.internal/x"}
    rels = [attributes for tag, attributes in page.tags if tag == "a" and "example.internal" in str(attributes["href"])]
    assert all(set(str(each["rel"]).split()) >= {"noopener", "noreferrer"} for each in rels)
    assert not [
        link for link in page.values("a", "href") if link.lower().startswith(("javascript", "data", "file", "//"))
    ]
    assert "https://good.example.internal ↗ evil.example.internal" in page.words, "where a link goes stands behind it"
    assert "/logout" not in page.values("a", "href")
    mentioned = re.findall(r"<a[^>]*>[^<]*@alice|<a[^>]*>[^<]*closes", text)
    assert not mentioned, "a mention and a closing keyword are only words"
    assert code_host.api("GET", f"/repos/{code_host.repository}/pulls/1", "reader").json()["state"] == "open"


def test_the_answer_s_headers_forbid_scripts_and_frames(code_host: Hosted, work: Path, login: Login) -> None:
    code_host.propose(work)
    client = login("alice")
    for place in ("/login", "/", path(code_host), path(code_host) + ".diff", "/static/host.css", "/none"):
        headers = client.get(place).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src" not in policy and "unsafe" not in policy, place
        assert "frame-ancestors 'none'" in policy and "form-action 'self'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert client.get(path(code_host) + ".diff").headers["content-type"].startswith("text/plain")


def test_a_human_marks_ready_approves_and_merges_on_the_page(code_host: Hosted, work: Path, login: Login) -> None:
    sha = code_host.propose(work, draft=True)["head"]["sha"]
    client = login("alice")
    assert act(client, code_host, "merge").status_code == 405
    assert act(client, code_host, "ready").status_code == 303
    assert act(client, code_host, "comment", "Reading.").status_code == 303
    assert act(client, code_host, "approve", "Good.\r\nThanks.").status_code == 303
    assert act(client, code_host, "merge").status_code == 303
    text = client.get(path(code_host)).text
    assert "Merged" in text and "Reading." in text and "merged this" in text
    assert run_git(code_host.bare, "rev-parse", "main^2").stdout.strip() == sha
    assert act(client, code_host, "approve").status_code == 422
    assert act(client, code_host, "comment", "Afterwards.").status_code == 303


def test_asking_for_changes_closing_and_opening_again(code_host: Hosted, work: Path, login: Login) -> None:
    code_host.propose(work)
    client = login("alice")
    assert act(client, code_host, "request-changes").status_code == 422, "without a word it helps nobody"
    assert act(client, code_host, "request-changes", "Tests?").status_code == 303
    assert "asked for changes" in client.get(path(code_host)).text
    assert act(client, code_host, "close").status_code == 303
    assert "Closed" in client.get(path(code_host)).text
    assert act(client, code_host, "reopen").status_code == 303
    assert act(client, code_host, "explode").status_code == 422


def test_what_was_on_the_page_is_what_is_approved(code_host: Hosted, work: Path, login: Login) -> None:
    code_host.propose(work)
    client = login("alice")
    page = Page(client.get(path(code_host)).text)
    hidden = {str(a["name"]): str(a["value"]) for tag, a in page.tags if tag == "input" and a.get("type") == "hidden"}
    code_host.commit(work, {"src/stock.py": "import os\n"})
    code_host.push(work, "HEAD:refs/heads/ringfence/T-1")
    late = client.post(path(code_host), data={**hidden, "action": "approve"})
    assert late.status_code == 422 and "moved" in late.text
    assert client.post(path(code_host), data={**hidden, "action": "merge"}).status_code == 409


def test_a_form_from_elsewhere_does_nothing(code_host: Hosted, work: Path, login: Login) -> None:
    code_host.propose(work)
    client, other = login("alice"), login("bob")
    page = Page(client.get(path(code_host)).text)
    hidden = {str(a["name"]): str(a["value"]) for tag, a in page.tags if tag == "input" and a.get("type") == "hidden"}
    form = {**hidden, "action": "approve"}
    assert client.post(path(code_host), data={**form, "csrf": ""}).status_code == 403
    assert client.post(path(code_host), data={**form, "csrf": "0" * 64}).status_code == 403
    assert other.post(path(code_host), data=form).status_code == 403, "another session's form token"
    for origin in ("http://evil.example.internal", "null", code_host.url.replace("127.0.0.1", "127.0.0.2")):
        assert client.post(path(code_host), data=form, headers={"Origin": origin}).status_code == 421
    del client.headers["Origin"]
    assert client.post(path(code_host), data=form).status_code == 403
    assert client.post(path(code_host), data=form, headers={"Sec-Fetch-Site": "same-site"}).status_code == 403
    assert client.post(path(code_host), data=form, headers={"Host": "evil.example.internal"}).status_code == 421
    assert client.get(path(code_host) + "?action=approve").status_code == 200
    assert code_host.api("GET", f"/repos/{code_host.repository}/pulls/1/reviews", "reader").json() == []


def test_a_large_diff_is_cut_with_a_note_and_whole_as_text(code_host: Hosted, work: Path, login: Login) -> None:
    files: dict[str, str | None] = {f"big/{n}.txt": "".join(f"line {n} {i}\n" for i in range(650)) for n in range(9)}
    files["a-long.txt"] = "x" * 100_000 + "\n"
    files["a.dat"] = "a\0b"
    code_host.branch(work, "x", files)
    code_host.push(work, "HEAD:refs/heads/ringfence/T-1")
    code_host.propose(work, pushed=True)
    client = login("alice")
    text = client.get(path(code_host)).text
    page = Page(text)
    assert "does not show all of the diff" in text
    assert len(page.values("tr", "class")) <= PAGE_LINES
    assert "binary content" in text and "99200 more characters" in text
    assert all(name in page.words for name in files), "every file is named"
    whole = client.get(path(code_host) + ".diff").text
    assert "line 8 649" in whole and "x" * 100_000 in whole


def test_every_kind_of_change_is_shown(code_host: Hosted, work: Path, login: Login) -> None:
    code_host.git(work, "checkout", "-q", "-B", "x", "origin/main")
    (work / "README.md").unlink()
    (work / "README.md").symlink_to("src/stock.py")
    (work / "src/stock.py").chmod(0o755)
    code_host.commit(work, {"docs/old.md": None, "docs/moved.md": "old\n", "no-newline.txt": "end"})
    code_host.push(work, "HEAD:refs/heads/ringfence/T-1")
    code_host.propose(work, pushed=True)
    words = Page(login("alice").get(path(code_host)).text).words
    for wanted in ("mode 100644 → 120000", "mode 100644 → 100755", "docs/old.md → docs/moved.md", "moved as it is",
                   "No newline at end of file", "src/stock.py"):  # fmt: skip
        assert wanted in words, wanted
