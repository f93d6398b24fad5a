"""The pull request's text: it says what the log says, and nothing that others wrote can act at the host."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from evidence_run import BOUNDARY_TEXT, COMMIT, ID, TREE, Key, called, check, digest, whole_run, work
from ringfence.domain import events as e
from ringfence.domain.facts import gather
from ringfence.domain.inert import code, title_words
from ringfence.domain.money import UNIT
from ringfence.domain.patch import FileChange
from ringfence.domain.redaction import Redactor
from ringfence.domain.summary import Summary, pull_request_body, pull_request_title

#: On a busy machine a slow example is no finding.
CALM = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

KEY = Key()
HISTORY = [e.from_json(record.event) for record in whole_run(KEY)]
CHANGES = (
    FileChange("src/total.py", "M", "100644", "100644", "a" * 40, 100),
    FileChange("tests/test_total.py", "A", "000000", "100644", "b" * 40, 80),
)
HOSTILE = [
    "@kim please merge", "fixes #1", "Closes https://github.com/a/b/issues/1", "resolves a/b#2", "GH-3", "close !4",
    "![x](https://tracker.example.internal/p.gif)", "[click](javascript:alert(1))", "<img src=x onerror=alert(1)>",
    "<!-- hidden -->", "</details>", "a\n\n## Checked\n\nall passed", "a\r\n/close", "`` ` ``` `", "``", "`",
    "| a | b |", "a|b", "\\|", "\\", "``` \n@kim\n```", "\u202egnp.exe", "a\u200bb", "\u2028@kim", "\x1b[31m",
    "&#64;kim", "*bold* _it_ ~~x~~",
    "[x]: https://x.example.internal", "https://x.example.internal/?q=1", "- [ ] task", "> quote",
    "x" * 5000, "", " ", "\udc80", "1. @kim", "$(id)", "---", "\t@kim", "`@kim", "@kim`", "`|`", "\\`@kim\\`",
]  # fmt: skip


def summary(history: list[e.Event] | None = None, **parts: object) -> Summary:
    given = Summary(gather(ID, HISTORY if history is None else history), "Fix the total", CHANGES,
                    ("tests/test_total.py",), "main", True)  # fmt: skip
    return replace(given, **parts)


def flat(text: str) -> list[Token]:
    """Every token of the Markdown as a host would parse it, HTML and all."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    return [inner for token in tokens for inner in (token, *(token.children or ()))]


def words(text: str) -> str:
    """What is not in code: where a host acts on words."""
    return "\n".join(token.content for token in flat(text) if token.type == "text")


def shape(text: str) -> list[str]:
    return [token.type for token in flat(text) if token.type not in ("text", "softbreak")]


@pytest.mark.parametrize(
    "path",
    ["package-lock.json", "web/yarn.lock", "requirements.txt", "Requirements-dev.txt", "sub/Cargo.lock", ".npmrc",
     "pyproject.toml", "go.sum", "gradle/libs.versions.toml", "Dockerfile.prod", "src/App.csproj", "poetry.lock"],
)  # fmt: skip
def test_a_change_of_what_is_installed_is_said(path: str) -> None:
    changed = FileChange(path, "M", "100644", "100644", "c" * 40, 10)
    said = f"The agent changed what is installed: {path}"
    body = pull_request_body(summary(changes=(*CHANGES, changed)))
    assert said in body.replace("`", "").replace("**", "")
    assert "what is installed" not in pull_request_body(summary())


@pytest.mark.parametrize(
    "path",
    [".claude/settings.json", "web/CLAUDE.md", "AGENTS.md", ".env", ".github/hooks/x.json", ".MCP.json",
     "opencode.json", "packages/one/.codex/config.toml", ".vscode/mcp.json"],
)  # fmt: skip
def test_a_change_of_what_agents_obey_is_said(path: str) -> None:
    changed = FileChange(path, "A", "000000", "100644", "c" * 40, 10)
    said = f"Agent configuration changed: review: {path}"
    body = pull_request_body(summary(changes=(*CHANGES, changed)))
    assert said in body.replace("`", "").replace("**", "")
    assert "Agent configuration" not in pull_request_body(summary())


def test_first_screen_says_everything_a_reviewer_needs() -> None:
    body = pull_request_body(summary())
    sealed = gather(ID, HISTORY).sealed
    assert sealed is not None
    for part in (
        "`INV-7`", "`kim`", "`Fix the total`", "2 files, +5 −1", COMMIT, "`tests/test_total.py`", "touched tests",
        "| `test` | `make test` | failed | passed | failed before, passes now | 0 | 1.5 |",
        "| `lint` | `make lint` | passed | passed | passed before, passes now | 0 | 1.5 |",
        TREE, "Attempt 1 did not pass `test`", "`bubblewrap`", "`seccomp`", "route `local`", "2 requests",
        "about 1800 tokens out", "REPLAY: a recorded script", "Network: none", digest(BOUNDARY_TEXT), sealed.digest,
        "Not checked", f"ringfence verify {ID}.bundle.tar --key", "This is a draft", "never merged by Ringfence",
    ):  # fmt: skip
        assert part in body, part
    assert len(body.splitlines()) < 60


def test_many_hidden_files_are_counted_and_only_what_was_compared_is_vouched_for() -> None:
    names = tuple(f"{'a' * 40} .claude/{number}.md" for number in range(50))
    hidden = e.ConfigurationHidden(2, "claude", COMMIT, names, 120, ("x/.mcp.json",), 1)
    body = pull_request_body(summary([*HISTORY, hidden, e.ConfigurationRechecked(2, TREE, 50, 50, (), 0)]))
    assert "`.claude/19.md` and 100 more, and 1 file that set-up had made." in body
    assert "Of 50 compared, 50 came out as they were." in body
    made = replace(hidden, files=(), count=0)
    body = pull_request_body(summary([*HISTORY, made, e.ConfigurationRechecked(2, TREE, 0, 0, (), 0)]))
    assert "which would obey it: none, and 1 file that set-up had made." in body and "compared" not in body
    earlier = replace(hidden, attempt=1)
    assert "Hidden from" not in pull_request_body(summary([*HISTORY, earlier])), "another attempt made the patch"


def test_a_cost_that_nobody_knows_is_not_said_to_be_nothing() -> None:
    priced = replace(called(replayed=False), cost=UNIT, currency="EUR", as_of="2026-11-01")
    free = replace(priced, cost=0, currency="", model="unnamed")
    body = pull_request_body(summary([*HISTORY, priced, free]))
    assert "about 1.0000 EUR, an estimate by the prices of 2026-11-01" in body
    assert body.count("cost unknown: the prices of 2026-11-01 do not name it") == 1
    without_table = replace(free, as_of="")
    assert "cost" not in pull_request_body(summary([*HISTORY, without_table]))


def test_replay_is_said_before_anything_else() -> None:
    assert "REPLAY" in pull_request_body(summary()).splitlines()[2]
    honest = [replace(one, replayed=False) if isinstance(one, e.ModelCalled) else one for one in HISTORY]
    assert "REPLAY" not in pull_request_body(summary(honest))


def test_every_verdict_is_said_and_the_bad_ones_are_loud() -> None:
    history = [
        *work()[:5],
        check("base", 0, "", "fixed", False), check("base", 0, "", "kept", True), check("base", 0, "", "broken", True),
        check("base", 0, "", "old", False), check("base", 0, "", "gone", True),
        *work()[15:16],
        check("patch", 2, TREE, "fixed", True), check("patch", 2, TREE, "kept", True),
        check("patch", 2, TREE, "broken", False), check("patch", 2, TREE, "old", False, required=False),
        check("patch", 2, TREE, "new", True), check("patch", 2, TREE, "bad", False),
        replace(check("patch", 2, TREE, "slow", False), exit_code=None, stopped="timeout"),
        check("patch", 3, TREE, "kept", False), check("patch", 4, TREE, "kept", True),
    ]  # fmt: skip
    rows = [line for line in pull_request_body(summary(history)).splitlines() if line.startswith("| `")]
    assert [row.split(" | ")[4] for row in rows] == [
        "failed before, passes now",
        "**passed before, passes now; passed 2 of 3 times on the same tree**",
        "**passed before, fails now**",
        "**was already failing**",
        "**not run on the change**",
        "not run before, passes now",
        "**not run before, fails now**",
        "**not run before, fails now**",
    ]
    assert "(not required)" in rows[3]
    assert "failed (`timeout`) |" in rows[7]
    assert rows[7].split(" | ")[5] == "none"


def test_what_left_and_what_tried_to_is_listed() -> None:
    denied = e.EgressDecided(
        "agent",
        "192.0.2.1:443",
        "deny",
        "network.agent",
        "not_listed",
    )
    body = pull_request_body(
        summary([*HISTORY, denied, called(decision="deny"), e.RunStarted("w", "1", "bubblewrap", True)])
    )
    assert "- Network: `deny` `192.0.2.1:443` by rule `network.agent`" in body
    assert "1 denied" in body
    assert "taken up again 1 time." in body
    assert "Network: none" not in body


def test_run_without_parts_says_so() -> None:
    body = pull_request_body(summary([], changes=(), tests=(), draft=False))
    for part in ("**Nothing was checked.**", "Nothing.", "none was recorded", "Models: none", "No evidence was sealed"):
        assert part in body, part
    assert "draft" not in body
    assert "agent touched no tests" in pull_request_body(summary(tests=()))


@pytest.mark.parametrize("text", HOSTILE)
def test_f04_title_of_a_ticket_starts_nothing(text: str) -> None:
    plain, hostile = pull_request_body(summary()), pull_request_body(summary(ticket_title=text))
    assert shape(hostile) == shape(plain)
    for sign in ("@", "#1", "#2", "GH-", "https://", "/close"):
        assert sign not in words(hostile)


@pytest.mark.parametrize("text", HOSTILE)
def test_f04_nothing_that_others_wrote_starts_anything(text: str) -> None:
    """Paths, names, commands, models, rules: all of it hostile at once."""
    history: list[e.Event] = []
    for event in HISTORY:
        match event:
            case e.CheckEnded():
                event = replace(event, name=f"{event.name}{text}", argv=(text, *event.argv), stopped=text or None)
            case e.ModelCalled():
                event = replace(event, model=text, route=text, provider=text)
            case e.TicketAdmitted():
                event = replace(event, ticket=text, requester=text)
            case e.SandboxStarted():
                event = replace(event, level=text, controls=(text,))
            case e.RepairRequested():
                event = replace(event, failing=(text,))
            case _:
                pass
        history.append(event)
    history.append(e.EgressDecided("agent", text, text, text, text))
    history.append(e.PatchRefused(1, text, text, text))
    history.append(e.TestsReplaced(2, TREE, "", (text,), 0, text))
    history.append(e.ConfigurationHidden(2, text, COMMIT, (f"{'a' * 40} {text}",), 1, (text,), 1))
    history.append(e.ConfigurationRechecked(2, TREE, 1, 0, (text,), 1))
    changes = (replace(CHANGES[0], path=text), replace(CHANGES[1], path=text))
    body = pull_request_body(summary(history, ticket_title=text, changes=changes, tests=(text,), base=text))
    allowed = {"heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "code_inline", "hr",
               "strong_open", "strong_close", "blockquote_open", "blockquote_close", "bullet_list_open",
               "bullet_list_close", "list_item_open", "list_item_close", "table_open", "table_close", "thead_open",
               "thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close", "th_open", "th_close", "td_open",
               "td_close"}  # fmt: skip
    assert set(shape(body)) <= allowed
    rows = [token for token in flat(body) if token.type == "tr_open"]
    assert len(rows) == 3
    assert len([token for token in flat(body) if token.type == "td_open"]) == 14
    assert len([token for token in flat(body) if token.type == "heading_open"]) == 7
    for sign in ("@", "#1", "#2", "GH-", "https://", "/close"):
        assert sign not in words(body)


@CALM
@given(st.text(max_size=80))
def test_any_text_stays_one_code_span(text: str) -> None:
    tokens = [
        token
        for token in flat(f"a {code(text)} b")
        if token.type not in ("inline", "paragraph_open", "paragraph_close")
    ]
    assert [token.type for token in tokens] == ["text", "code_inline", "text"]
    cells = flat(f"| h | h |\n| - | - |\n| {code(text, in_table=True)} | x |\n")
    assert [token.type for token in cells].count("code_inline") == 1
    assert [token.content for token in cells if token.type == "text"] == ["h", "h", "x"]


@CALM
@given(st.text(max_size=200))
def test_any_title_is_one_line_of_words(text: str) -> None:
    title = pull_request_title("INV-7", text)
    assert title.isprintable()
    assert len(title) < 120
    for sign in "@#`<>[]":
        assert sign not in title


def test_titles_keep_their_words() -> None:
    assert title_words("Fix  the\ttotal of @kim, see #12 and GH-3") == "Fix the total of ＠kim, see ＃12 and GH 3"
    assert title_words("closes https://x.example.internal/1") == "closes https:／／x.example.internal/1"
    assert title_words("x" * 100) == "x" * 69 + "..."


def test_huge_runs_stay_within_what_hosts_take() -> None:
    many = tuple(replace(CHANGES[0], path=f"src/{number}.py") for number in range(5000))
    checks = [check("patch", 2, TREE, f"check-{number}" * 4, True) for number in range(2000)]
    body = pull_request_body(summary([*HISTORY, *checks], changes=many, tests=tuple(one.path for one in many)))
    assert len(body) < 65_536
    assert "and 4980 more" in body
    assert "Cut here for length" in body


def test_body_holds_nothing_that_redaction_would_take() -> None:
    body = pull_request_body(summary())
    assert Redactor().redact_text(body) == body
