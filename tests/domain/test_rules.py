"""The decision point: what is allowed, what is denied by which rule, and that nothing odd gets through."""

import subprocess
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from team import BOUNDARY, REPOSITORY, TEAM, boundary, denied_by

from ringfence.domain.decision import Allow, Deny, Reason, Source
from ringfence.domain.rules import (
    admit,
    branch_of,
    may_call_model,
    may_read,
    may_write_ref,
    secret_for,
    stage_of,
)
from ringfence.domain.ticket import Ticket

TICKET = Ticket("PAY-7", "Round to cents", "…", "bug", REPOSITORY, "sofia", approved_by=("dana",))


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
