"""The decision point: what is allowed, what is denied by which rule, and that nothing odd gets through."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.domain.boundary import Boundary
from ringfence.domain.decision import Allow, Deny, Reason, Source
from ringfence.domain.parse import parse
from ringfence.domain.patch import FileChange
from ringfence.domain.rules import (
    admit,
    branch_of,
    judge_patch,
    may_call_model,
    may_read,
    may_write_ref,
    secret_for,
    stage_of,
)
from ringfence.domain.ticket import Ticket

TEAM = (Path(__file__).parents[2] / "examples" / "boundaries" / "team.yaml").read_text()
REPOSITORY = "acme/payments"


def boundary(text: str = TEAM) -> Boundary:
    found = parse(text)
    assert isinstance(found, Boundary), found
    return found


BOUNDARY = boundary()
TICKET = Ticket("PAY-7", "Round to cents", "…", "bug", REPOSITORY, "sofia", approved_by=("dana",))
FILE = FileChange("src/app.py", "M", "100644", "100644", "1" * 40, 10)


def denied_by(decision: object) -> str:
    assert isinstance(decision, Deny), decision
    return decision.rule


def added(path: str, **facts: object) -> FileChange:
    return replace(FILE, path=path, status="A", old_mode="000000", **facts)


# --- admission


def test_an_approved_ticket_of_a_listed_person_is_admitted():
    assert admit(BOUNDARY, TICKET) == Allow("tickets")
    assert stage_of(BOUNDARY, TICKET) == "pull_request"
    assert branch_of(BOUNDARY, TICKET) == "ringfence/PAY-7-round-to-cents"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"id": "../x"}, "tickets.id"),
        ({"id": "PAY 7"}, "tickets.id"),
        ({"id": "PAY-7\n"}, "tickets.id"),
        ({"id": ""}, "tickets.id"),
        ({"id": "-7"}, "tickets.id"),
        ({"id": "A" * 65}, "tickets.id"),
        ({"id": "ＰＡＹ-7"}, "tickets.id"),
        ({"type": "epic"}, "tickets.types"),
        ({"type": "Bug"}, "tickets.types"),
        ({"requester": "eve"}, "tickets.requesters"),
        ({"requester": ""}, "tickets.requesters"),
        ({"requester": "sofia[bot]"}, "tickets.requesters"),
        ({"requester": "Sofia"}, "tickets.requesters"),
        ({"requester": "sofia "}, "tickets.requesters"),
        ({"requester": "sоfia"}, "tickets.requesters"),  # a Cyrillic letter
        ({"repository": "acme/other"}, "repositories.name"),
        ({"repository": "ACME/payments"}, "repositories.name"),
        ({"repository": "acme/payments-api-spec"}, "repositories.access"),
        ({"stage": "deploy"}, "repositories.stage"),
        ({"repository": "acme/iban-tools", "stage": "pull_request"}, "repositories.stage"),
        ({"approved_by": ()}, "tickets.approvers"),
        ({"approved_by": ("eve",)}, "tickets.approvers"),
        ({"approved_by": ("Dana",)}, "tickets.approvers"),
        ({"requester": "mikael", "approved_by": ("mikael",)}, "tickets.approvers"),
    ],
)
def test_a_ticket_outside_the_boundary_is_refused_by_its_rule(changes, rule):
    decision = admit(BOUNDARY, replace(TICKET, **changes))
    assert denied_by(decision) == rule
    assert decision.source is Source.ADMISSION
    assert decision.detail.isascii()


def test_a_bot_is_refused_even_where_the_list_names_it():
    tickets = BOUNDARY.tickets.model_copy(update={"requesters": ("helper[BOT]",)})
    listed = BOUNDARY.model_copy(update={"tickets": tickets})
    assert denied_by(admit(listed, replace(TICKET, requester="helper[BOT]"))) == "tickets.requesters"


def test_a_requester_in_other_case_cannot_approve_for_themselves():
    tickets = BOUNDARY.tickets.model_copy(update={"approvers": ("SOFIA",)})
    listed = BOUNDARY.model_copy(update={"tickets": tickets})
    assert denied_by(admit(listed, replace(TICKET, approved_by=("SOFIA",)))) == "tickets.approvers"


def test_another_approver_beside_the_requester_is_enough():
    assert admit(BOUNDARY, replace(TICKET, requester="mikael", approved_by=("mikael", "dana"))) == Allow("tickets")


def test_a_ticket_may_ask_for_less_but_never_gets_more():
    assert stage_of(BOUNDARY, replace(TICKET, stage="observe")) == "observe"
    assert stage_of(BOUNDARY, replace(TICKET, repository="acme/iban-tools", stage="pull_request")) == "branch"
    assert stage_of(BOUNDARY, replace(TICKET, stage="everything")) == "observe"
    assert stage_of(BOUNDARY, replace(TICKET, repository="acme/other")) == "observe"


@pytest.mark.parametrize("ticket", [None, "PAY-7", replace(TICKET, id=7), replace(TICKET, requester=None)])
def test_what_cannot_be_decided_is_denied(ticket):
    decision = admit(BOUNDARY, ticket)
    assert isinstance(decision, Deny)
    assert decision.reason is Reason.MALFORMED


# --- refs

PLAIN = "refs/heads/ringfence/PAY-7-x"


def test_a_ref_below_the_prefix_may_be_written():
    assert may_write_ref(BOUNDARY, REPOSITORY, PLAIN) == Allow("branches.prefix")


@pytest.mark.parametrize(
    "ref",
    [
        "refs/heads/main", "main", "refs/tags/v1", "refs/pull/1/head", "refs/heads/", "refs/heads/ringfence/", "",
        "refs/heads/ringfenceX", "+" + PLAIN, ":" + PLAIN, PLAIN + ":refs/heads/main", PLAIN + "/..", PLAIN + "..x",
        PLAIN + ".lock", PLAIN + ".LOCK", PLAIN + ".lock/x", PLAIN + "@{1}", PLAIN + "~1", PLAIN + "^", PLAIN + "?",
        PLAIN + "*", PLAIN + "[", PLAIN + "\\", PLAIN + " ", PLAIN + "\u00a0x", PLAIN + "\u2003", PLAIN + "\n",
        PLAIN + "\x7f", PLAIN + "$(id)", PLAIN + ".", PLAIN + "//x", PLAIN + "/", PLAIN + "/.x", PLAIN + "/-x",
        "refs/heads/ringfence/../main", "REFS/HEADS/ringfence/x", "refs/heads/Ringfence/x", PLAIN + "é", PLAIN * 9,
        "refs/heads/refs/heads/ringfence/x", "HEAD", "refs/heads/ringfence/HEAD/@", PLAIN + "\x00",
    ],
)  # fmt: skip
def test_every_other_ref_is_denied(ref):
    assert denied_by(may_write_ref(BOUNDARY, REPOSITORY, ref)) == "branches.prefix"


@pytest.mark.parametrize(
    ("repository", "rule"),
    [
        ("acme/payments-api-spec", "repositories.access"),
        ("acme/other", "repositories.access"),
        (None, "branches"),
    ],
)
def test_a_repository_that_is_not_writable_is_denied(repository, rule):
    assert denied_by(may_write_ref(BOUNDARY, repository, PLAIN)) == rule


def test_nothing_is_written_at_stage_observe():
    observing = boundary(TEAM.replace("stage: pull_request", "stage: observe"))
    assert denied_by(may_write_ref(observing, REPOSITORY, PLAIN)) == "repositories.stage"
    assert denied_by(secret_for(observing, "publish", REPOSITORY)) == "repositories.stage"
    assert denied_by(may_call_model(observing, REPOSITORY, "qwen3-coder")) == "repositories.stage"


def test_a_protected_branch_below_the_prefix_is_denied():
    protected = (*BOUNDARY.branches.protected, "ringfence/PAY-7-*")
    branches = BOUNDARY.branches.model_copy(update={"protected": protected})
    assert (
        denied_by(may_write_ref(BOUNDARY.model_copy(update={"branches": branches}), REPOSITORY, PLAIN))
        == "branches.protected"
    )


@settings(max_examples=40, deadline=None)
@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True), st.text(max_size=80))
def test_the_branch_of_an_admitted_ticket_may_be_written_and_git_agrees(ticket_id, title):
    ticket = replace(TICKET, id=ticket_id, title=title)
    branch = branch_of(BOUNDARY, ticket)
    assert admit(BOUNDARY, ticket) == Allow("tickets")
    assert may_write_ref(BOUNDARY, REPOSITORY, f"refs/heads/{branch}") == Allow("branches.prefix")
    asked = subprocess.run(["git", "check-ref-format", "--branch", branch], capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stdout.strip()) == (0, branch)


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("ab./-_ ~^:@{\\\x7f\u00a0é*?[$"), max_size=12))
def test_a_ref_that_git_refuses_is_never_allowed(tail):
    ref = f"refs/heads/ringfence/{tail}"
    if isinstance(may_write_ref(BOUNDARY, REPOSITORY, ref), Allow):
        assert subprocess.run(["git", "check-ref-format", ref], check=False).returncode == 0


# --- patches


def test_an_ordinary_patch_is_allowed():
    changes = (
        FILE,
        added("docs/über uns.md"),
        added("bin/run", new_mode="100755"),
        added("src/link", new_mode="120000", link="../docs/x.md"),
        added("src/.gitignore"),
        replace(FILE, path="old.py", status="D", new_mode="000000", blob="0" * 40, size=0),
    )
    assert judge_patch(BOUNDARY, changes) == Allow("branches.protected_paths")
    assert judge_patch(BOUNDARY, ()) == Allow("branches.protected_paths")


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml", ".GITHUB/workflows/ci.yml", ".github", ".gitlab-ci.yml", "sub/.gitlab-ci.yml",
        ".GitLab-CI.yml", "docs/codeowners", "CODEOWNERS", ".gitmodules", "jenkinsfile", "deploy/x", "infra/a.tf",
        ".circleci/config.yml", ".ｇithub/x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", ["A", "M", "D", "T"])
def test_a_protected_path_is_denied_whatever_happens_to_it(path, status):
    gone = status == "D"
    change = replace(FILE, path=path, status=status, new_mode="000000" if gone else "100644", size=0 if gone else 1)
    decision = judge_patch(BOUNDARY, (FILE, change))
    assert denied_by(decision) == "branches.protected_paths"
    assert decision.reason is Reason.PROTECTED


def test_a_rename_out_of_a_protected_directory_is_denied():
    out = replace(FILE, path=".github/workflows/ci.yml", status="D", new_mode="000000", size=0)
    assert denied_by(judge_patch(BOUNDARY, (added("ci.yml"), out))) == "branches.protected_paths"


GIT_SPELLINGS = [
    ".git", ".GIT", ".Git", ".git ", ".git.", ".git. .", ".git\u200c", ".g\u200dit", "\ufeff.git", ".gi\u206at",
    "git~1", "GIT~1", "git~2", ".git::$INDEX_ALLOCATION", ".git:x", ".git\\config", "．git", ".ｇｉｔ", ".git/",
    "GITMOD~1", "gi7eba~1", ".git\x00", ".git\t", ".git\u00a0",
]  # fmt: skip


@pytest.mark.parametrize("spelling", GIT_SPELLINGS)
@pytest.mark.parametrize("where", ["{}", "{}/config", "a/b/{}", "a/{}/hooks/pre-commit"])
def test_every_spelling_of_gits_own_directory_is_denied(spelling, where):
    decision = judge_patch(BOUNDARY, (added(where.format(spelling)),))
    assert denied_by(decision) == "patch.path"


@given(
    st.lists(st.sampled_from(["", "\u200c", "\u200d", "\u200e", "\u202a", "\u206f", "\ufeff"]), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.text(st.sampled_from(". "), max_size=3),
    st.sampled_from(["", "a/", "a/b/"]),
    st.sampled_from(["", "/x", "/hooks/y"]),
)
def test_no_mixture_of_case_and_ignored_characters_hides_gits_directory(ignored, upper, tail, before, after):
    name = ".git"
    spelled = "".join(i + (c.upper() if u else c) for i, c, u in zip(ignored, name, upper, strict=False)) + ignored[4]
    assert denied_by(judge_patch(BOUNDARY, (added(f"{before}{spelled}{tail}{after}"),))) == "patch.path"


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../../x", "a/./b", "a//b", "a/", "a\\b", "a\nb", "a\x1b[0m", "a\u202eb", "x\udcff",
     "a" * 5000, "con. ", "nul./x"],
)  # fmt: skip
def test_a_path_that_is_not_plain_is_denied(path):
    decision = judge_patch(BOUNDARY, (added(path),))
    assert denied_by(decision) == "patch.path"
    assert decision.detail.isascii()


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"new_mode": "160000"}, "patch.mode"),
        ({"old_mode": "160000"}, "patch.mode"),
        ({"old_mode": "160000", "new_mode": "000000", "status": "D"}, "patch.mode"),
        ({"new_mode": "040000"}, "patch.mode"),
        ({"new_mode": "100664"}, "patch.mode"),
        ({"new_mode": "104755"}, "patch.mode"),
        ({"new_mode": ""}, "patch.mode"),
        ({"status": "R"}, "patch.mode"),
        ({"status": "D"}, "patch.mode"),
        ({"new_mode": "000000"}, "patch.mode"),
        ({"size": -1}, "patch.mode"),
        ({"size": (1 << 20) + 1}, "limits.patch.file"),
        ({"size": "big"}, "branches.protected_paths"),
        ({"path": None}, "branches.protected_paths"),
    ],
)
def test_a_change_of_another_kind_is_denied(facts, rule):
    assert denied_by(judge_patch(BOUNDARY, (replace(FILE, **facts),))) == rule


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("l", "/etc/passwd"), ("l", "../x"), ("a/l", "../../x"), ("a/l", "b/../../../x"), ("a/l", "b/../c"),
        ("l", ".git/config"), ("a/l", "../.git/config"), ("l", "x/GIT~1/config"), ("l", "a\\b"), ("l", ""), ("l", None),
        ("l", ".."), ("l", "x" * 2000), ("l", "a\nb"), ("l", "./../x"), ("l", "//x"), ("l", ".GIT"),
    ],
)  # fmt: skip
def test_a_link_that_leaves_the_tree_is_denied(path, link):
    decision = judge_patch(BOUNDARY, (added(path, new_mode="120000", link=link),))
    assert denied_by(decision) == "patch.link"
    assert decision.reason is Reason.LEAVES_TREE


@pytest.mark.parametrize(
    ("path", "link"), [("l", "x"), ("a/l", "../x"), ("a/b/l", "../../x/y/"), ("l", "./x"), ("a/l", "..")]
)
def test_a_link_inside_the_tree_is_allowed(path, link):
    assert isinstance(judge_patch(BOUNDARY, (added(path, new_mode="120000", link=link),)), Allow)


_LINKS = st.lists(st.sampled_from(["a", "b", "..", ".", "c"]), min_size=1, max_size=5).map("/".join)


@settings(max_examples=150, deadline=None)
@given(links=st.dictionaries(st.sampled_from(["l", "a/m", "a/b/n", "c/o"]), _LINKS, min_size=1))
def test_allowed_links_never_lead_outside_on_a_real_disk(links, tmp_path_factory):
    """However they chain, the kernel resolves allowed links to places inside the tree, or to nowhere."""
    changes = tuple(added(path, new_mode="120000", link=link) for path, link in links.items())
    if isinstance(judge_patch(BOUNDARY, changes), Deny):
        return
    outer = tmp_path_factory.mktemp("links")
    tree = outer / "tree"
    for directory in ("a/b", "c"):
        (tree / directory).mkdir(parents=True)
    for path, link in links.items():
        (tree / path).symlink_to(link)
    for path in links:
        try:
            landed = (tree / path).resolve(strict=True)
        except (OSError, RuntimeError):
            continue
        assert landed == tree or tree in landed.parents


def test_paths_that_collide_where_case_does_not_count_are_denied():
    link = added("A", new_mode="120000", link="x")
    assert denied_by(judge_patch(BOUNDARY, (link, added("a/hooks")))) == "patch.path"
    assert denied_by(judge_patch(BOUNDARY, (added("Readme"), added("README")))) == "patch.path"
    replaced = replace(FILE, path="dir/x", status="D", new_mode="000000", size=0)
    assert isinstance(judge_patch(BOUNDARY, (added("dir", new_mode="120000", link="x"), replaced)), Allow)


def test_a_patch_larger_than_its_limits_is_denied():
    many = tuple(added(f"f{n}") for n in range(61))
    assert denied_by(judge_patch(BOUNDARY, many)) == "limits.patch.files"
    heavy = tuple(added(f"f{n}", size=1 << 20) for n in range(6))
    assert denied_by(judge_patch(BOUNDARY, heavy)) == "limits.patch.total"
    assert isinstance(judge_patch(BOUNDARY, heavy[:5]), Allow)


@settings(deadline=None)
@given(
    st.text(max_size=40),
    st.sampled_from("ADMT"),
    st.sampled_from(["100644", "120000", "160000", "000000"]),
    st.none() | st.text(max_size=20),
)
def test_no_change_makes_judging_fail(path, status, mode, link):
    change = FileChange(path, status, "100644", mode, "0", 1, link)
    assert isinstance(judge_patch(BOUNDARY, (change,)), Allow | Deny)


# --- reading, models, secrets


def test_only_listed_repositories_may_be_read():
    assert may_read(BOUNDARY, "acme/payments-api-spec") == Allow("repositories.name")
    for name in ("acme/other", "ACME/payments", ""):
        assert denied_by(may_read(BOUNDARY, name)) == "repositories.name"
    assert denied_by(may_read(BOUNDARY, None)) == "repositories"


@pytest.mark.parametrize(
    ("repository", "model", "rule"),
    [
        (REPOSITORY, "large-coder-2", "models.routes.repositories"),
        (REPOSITORY, "other", "models.routes"),
        (REPOSITORY, "QWEN3-coder", "models.routes"),
        (REPOSITORY, "", "models.routes"),
        ("acme/payments-api-spec", "qwen3-coder", "repositories.access"),
        ("acme/other", "qwen3-coder", "repositories.access"),
    ],
)
def test_content_goes_only_where_its_route_allows(repository, model, rule):
    assert denied_by(may_call_model(BOUNDARY, repository, model)) == rule


def test_an_approved_model_may_be_called():
    assert may_call_model(BOUNDARY, REPOSITORY, "qwen3-coder") == Allow("models.routes.house")
    assert may_call_model(BOUNDARY, "acme/iban-tools", "large-coder-2") == Allow("models.routes.outside")


def test_context_that_a_route_may_not_see_denies_the_model():
    routes = BOUNDARY.models.routes
    house = routes[0].model_copy(update={"repositories": (REPOSITORY,)})
    models = BOUNDARY.models.model_copy(update={"routes": (house, routes[1])})
    decision = may_call_model(BOUNDARY.model_copy(update={"models": models}), REPOSITORY, "qwen3-coder")
    assert denied_by(decision) == "models.routes.repositories"
    public = routes[0].model_copy(update={"data_classes": ("public",)})
    models = BOUNDARY.models.model_copy(update={"routes": (public, routes[1])})
    decision = may_call_model(BOUNDARY.model_copy(update={"models": models}), REPOSITORY, "qwen3-coder")
    assert denied_by(decision) == "models.routes.data_classes"


def test_a_model_that_two_routes_offer_is_denied():
    routes = BOUNDARY.models.routes
    double = routes[1].model_copy(update={"models": ("qwen3-coder",)})
    models = BOUNDARY.models.model_copy(update={"routes": (routes[0], double)})
    assert (
        denied_by(may_call_model(BOUNDARY.model_copy(update={"models": models}), REPOSITORY, "qwen3-coder"))
        == "models.routes"
    )


def test_each_purpose_has_its_own_secret():
    assert secret_for(BOUNDARY, "checkout", REPOSITORY) == "code-read"
    assert secret_for(BOUNDARY, "publish", REPOSITORY) == "payments-push"
    assert secret_for(BOUNDARY, "publish", "acme/iban-tools") == "iban-push"
    assert secret_for(BOUNDARY, "model", REPOSITORY) == "house-models"


@pytest.mark.parametrize(
    ("purpose", "repository", "rule"),
    [
        ("publish", "acme/payments-api-spec", "repositories.access"),
        ("publish", "acme/other", "repositories.name"),
        ("checkout", "", "repositories.name"),
        ("registry", REPOSITORY, "secrets.purpose"),
        ("mint", REPOSITORY, "secrets.purpose"),
        ("CHECKOUT", REPOSITORY, "secrets.purpose"),
        (None, REPOSITORY, "secrets"),
    ],
)
def test_no_other_secret_is_given_out(purpose, repository, rule):
    decision = secret_for(BOUNDARY, purpose, repository)
    assert denied_by(decision) == rule
    assert decision.source is Source.BROKER


def test_two_secrets_for_one_use_are_no_choice():
    checkout = next(use for use in BOUNDARY.secrets if use.purpose == "checkout")
    second = checkout.model_copy(update={"name": "second"})
    double = BOUNDARY.model_copy(update={"secrets": (*BOUNDARY.secrets, second)})
    assert denied_by(secret_for(double, "checkout", REPOSITORY)) == "secrets.purpose"
