"""The data-flow statement says what the rules allow, and never more than is known."""

from pathlib import Path

import pytest

from ringfence.domain.boundary import Boundary
from ringfence.domain.dataflow import flows, sent, statement
from ringfence.domain.describe import READERS, describe
from ringfence.domain.parse import parse
from ringfence.domain.reach import difference

EXAMPLES = Path(__file__).parents[2] / "examples" / "boundaries"
TEAM = (EXAMPLES / "team.yaml").read_text()
MINIMAL = (EXAMPLES / "minimal.yaml").read_text()
OUTSIDE = TEAM[TEAM.index("    - name: outside") : TEAM.index("  default: house")]
PRICE = TEAM[TEAM.index("      - { model: outside/") : TEAM.index("  first_byte_timeout")]
INSIDE_ONLY = TEAM.replace(OUTSIDE, "").replace(PRICE, "").replace("  - { name: outside-models, purpose: model }\n", "")


def boundary(text: str) -> Boundary:
    found = parse(text)
    assert isinstance(found, Boundary), found
    return found


def test_code_that_leaves_is_said_first_with_address_and_class():
    first = statement(boundary(TEAM))[0]
    assert first == (
        "Code leaves the organisation: content of acme/iban-tools (public) may be sent to "
        "https://provider.example.com/v1 (the provider's data centres in the EU, by the same contract) "
        "by route outside."
    )


def test_no_code_leaves_is_said_only_of_internal_routes_and_with_its_condition():
    sentences = statement(boundary(INSIDE_ONLY))
    assert sentences[0] == "No code leaves the organisation by way of a model: every route is internal or a replay."
    assert "https://models.example.internal/v1" in sentences[1]
    assert "does not verify" in sentences[1]


def test_a_route_that_is_not_declared_internal_counts_as_outside():
    text = INSIDE_ONLY.replace("      internal: true\n", "      region: EU\n").replace(
        "sections: [models]\n    signed: 2026-03-04\n  - name: Ines",
        "sections: [models]\n    signed: 2026-03-04\n  - name: Ines",
    )
    assert statement(boundary(text))[0].startswith("Code leaves the organisation: content of acme/payments,")


def test_at_stage_observe_no_model_is_called():
    assert statement(boundary(MINIMAL))[0].startswith("No model is called")
    observing = boundary(
        TEAM.replace("stage: pull_request", "stage: observe").replace("stage: branch", "stage: observe")
    )
    assert statement(observing)[0].startswith("No model is called")
    assert flows(observing) == ()


def test_context_travels_with_the_repository_that_uses_it():
    team = boundary(TEAM)
    assert sent(team, team.models.routes[0]) == ("acme/payments", "acme/payments-api-spec", "acme/iban-tools")
    assert sent(team, team.models.routes[1]) == ("acme/iban-tools",)
    assert [flow.leaves for flow in flows(team)] == [False, True, False]


@pytest.mark.parametrize("reader", [None, *READERS])
def test_every_reader_gets_the_statement_and_signed_sections(reader):
    page = describe(boundary(TEAM), "sha256:0", reader=reader)
    assert page.statement == statement(boundary(TEAM))
    assert all(part.signed and part.rows for part in page.parts)
    assert all(len(row) == len(part.headings) for part in page.parts for row in part.rows)
    assert (len(page.parts) == 11) is (reader is None)


def test_every_section_is_read_by_someone():
    read = {part.name for reader in READERS for part in describe(boundary(TEAM), "", reader=reader).parts}
    assert len(read) == 11


def test_no_difference_is_empty():
    assert difference(boundary(TEAM), boundary(TEAM)).empty


@pytest.mark.parametrize(
    ("old", "new", "opened", "closed"),
    [
        ("stage: branch", "stage: pull_request", "pull requests may be opened in acme/iban-tools", None),
        ("    - deploy/**\n", "", "no longer: path deploy/** may not be touched", None),
        ("hotfix/**]", "hotfix/**, beta]", None, "from now on: branch beta is protected"),
        ("requesters: [mikael, sofia,", "requesters: [mikael, nina,", "tickets of nina are taken",
         "tickets of sofia are taken"),
        ("run: { time: 2h,", "run: { time: 3h,", "limits.run.time: 2h before, 3h now", None),
        (", money: 12.00 }", " }", "limits.run.money: 12.0 before, nothing now", None),
        ("money: 150.00", "money: 50.00", None, "limits.day.money: 150.0 before, 50.0 now"),
        ("memory: 4GiB", "memory: 1GiB", None, "limits.sandbox.memory: 4GiB before, 1GiB now"),
        ("approvers: [mikael, dana]", "approvers: []",
         "no longer: a ticket needs the approval of one of dana, mikael", None),
        ("cgroup: required", "cgroup: preferred", "no longer: no sandbox runs without a cgroup", None),
        ("[mypy, src], timeout", "[mypy, lib], timeout", "the worker runs for acme/payments: mypy lib",
         "the worker runs for acme/payments: mypy src"),
    ],
)  # fmt: skip
def test_a_change_is_said_in_words_and_in_its_direction(old, new, opened, closed):
    assert TEAM.count(old) == 1
    found = difference(boundary(TEAM), boundary(TEAM.replace(old, new)))
    assert found.opened == ((opened,) if opened else ())
    assert found.closed == ((closed,) if closed else ())
    assert len(found.changed) == 1


def test_a_change_with_no_direction_is_said_too():
    found = difference(boundary(TEAM), boundary(TEAM.replace("contract 2026-17", "contract 2027-1")))
    assert (found.opened, found.closed) == ((), ())
    assert found.changed == (
        "models.routes.outside.retention: contract 2026-17 restricts it to 30 days, no training → "
        "contract 2027-1 restricts it to 30 days, no training",
    )


def test_named_things_are_compared_by_name_also_with_none_before():
    found = difference(boundary(MINIMAL), boundary(TEAM))
    assert "models.routes.house: added" in found.changed
    assert "repositories.acme/shop: removed" in found.changed
    assert not any("{" in line for line in found.changed)


def test_one_person_who_signs_twice_is_compared_all_the_same():
    twice = TEAM.replace("name: Tom Engel", "name: Ines Costa")
    assert difference(boundary(TEAM), boundary(twice)).changed
    assert difference(boundary(twice), boundary(twice)).empty


def test_another_order_of_checks_is_a_change():
    first, second = (line for line in TEAM.splitlines(keepends=True) if "name: lint," in line or "name: types," in line)
    swapped = TEAM.replace(first + second, second + first)
    assert swapped != TEAM
    assert difference(boundary(TEAM), boundary(swapped)).changed == (
        "commands.repositories.acme/payments.checks: in another order",
    )


def test_what_is_translated_is_said_where_a_route_is_described() -> None:
    spoken = "protocols: [chat]\n      translate: [messages, responses]"
    found = boundary(TEAM.replace("protocols: [chat, responses]", spoken))
    house = next(flow for flow in flows(found) if "models.example.internal" in flow.to)
    assert house.terms.endswith("translated on the way: messages to chat, responses to chat")
    assert "messages (translated to chat)" in str(describe(found, "sha256:0").parts)
    assert "translated" not in "".join(flow.terms for flow in flows(boundary(TEAM)))
