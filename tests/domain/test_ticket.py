"""Tickets as snapshots."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.domain.ticket import TICKET_ID, Ticket

TICKET = Ticket("INV-7", "Too few cases", "Please.", "bug", "demo/inventory", "dana", ("kim",), "branch", "x")


@pytest.mark.parametrize("name", [field.name for field in fields(Ticket)])
def test_every_field_counts_for_the_digest(name: str) -> None:
    changed = replace(TICKET, **{name: ("lee",) if name == "approved_by" else "other"})
    assert changed.digest != TICKET.digest
    assert replace(TICKET).digest == TICKET.digest


@given(st.text(), st.text())
def test_any_text_has_a_digest_and_a_slug_that_can_be_a_branch(title: str, body: str) -> None:
    ticket = replace(TICKET, title=title, body=body)
    assert ticket.digest.startswith("sha256:") and len(ticket.digest) == 71
    assert 0 < len(ticket.slug) <= 40
    assert set(ticket.slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not ticket.slug.startswith("-") and not ticket.slug.endswith("-")


def test_a_title_without_letters_still_has_a_slug() -> None:
    assert replace(TICKET, title="!!!").slug == "change"
    assert TICKET.slug == "too-few-cases"


@pytest.mark.parametrize("text", ["", "-a", "a/b", "a b", "INV-7\n", "a" * 65, "..", "é"])
def test_an_id_that_could_not_be_part_of_a_branch_is_no_id(text: str) -> None:
    assert TICKET_ID.match(text) is None


def test_usual_ids_are_ids() -> None:
    assert all(TICKET_ID.match(text) for text in ("INV-7", "7", "a" * 64, "A_b-c"))
