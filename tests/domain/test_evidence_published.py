"""Bundles and their verification: what was validated is what was pushed, and runs that published nothing."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from bundles import KEY, RECORDS, WHOLE, broken, changed, said

from evidence_run import (
    BOUNDARY_TEXT,
    RAW,
    STORE,
    TREE,
    Key,
    bundle,
    chain_of,
    check,
    commit_object,
    digest,
    object_id,
    publication,
    whole_run,
    work,
)
from ringfence.domain import events as e
from ringfence.domain.attestation import statement
from ringfence.domain.bundle import read_bundle
from ringfence.domain.checks import BASE_TESTS
from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.evidence import Sources, bundle_of


def run_with(change: Callable[[list[e.Event]], list[e.Event]], commit: bytes | None = RAW) -> bytes:
    return bundle(KEY, whole_run(KEY, before=change(work())), commit)


def test_commit_that_was_published_is_the_one_that_was_sealed() -> None:
    after = [replace(one, commit="9" * 40) if isinstance(one, e.BranchPushed) else one for one in publication()]
    assert broken(bundle(KEY, whole_run(KEY, after=after))) == ["commit"]


def test_other_commit_object_is_found() -> None:
    assert broken(changed(commit=RAW.replace(b"Fix the total", b"Fix the fotal"))) == ["commit"]
    assert broken(changed(commit=None)) == ["commit"]


def test_commit_of_a_tree_that_was_not_validated_is_found() -> None:
    raw = commit_object(tree="9" * 40)
    content = run_with(
        lambda h: [replace(x, commit=object_id(raw)) if isinstance(x, e.PatchProduced) else x for x in h], raw
    )
    assert "tree" in broken(content)


def test_checks_on_another_tree_than_the_sealed_one_are_found() -> None:
    content = run_with(lambda h: [*h[:-2], check("patch", 2, "9" * 40, "test", True)])
    assert broken(content) == ["checks"]


def test_failed_required_check_is_found_and_an_optional_one_is_not_held_against_the_run() -> None:
    assert broken(run_with(lambda h: [*h[:-1], check("patch", 2, TREE, "test", False)])) == ["checks"]
    assert broken(run_with(lambda h: [*h, check("patch", 2, TREE, "style", False, required=False)])) == []


def test_commit_on_another_parent_is_found() -> None:
    raw = commit_object(parent="9" * 40)
    content = run_with(
        lambda h: [replace(x, commit=object_id(raw)) if isinstance(x, e.PatchProduced) else x for x in h], raw
    )
    assert "tree" in broken(content)


@pytest.mark.parametrize(
    "old", [b"Ringfence-Run: INV-7-r1", b"Ringfence-Ticket: INV-7", digest(BOUNDARY_TEXT).encode()]
)
def test_h08_commit_that_names_another_run_ticket_or_boundary_is_found(old: bytes) -> None:
    raw = RAW.replace(old, old[:-1] + b"0")
    content = run_with(
        lambda h: [replace(x, commit=object_id(raw)) if isinstance(x, e.PatchProduced) else x for x in h], raw
    )
    assert "trailers" in broken(content)


def test_trailer_in_the_middle_of_a_message_does_not_count() -> None:
    raw = RAW + b"\nand more\n"
    content = run_with(
        lambda h: [replace(x, commit=object_id(raw)) if isinstance(x, e.PatchProduced) else x for x in h], raw
    )
    assert "trailers" in broken(content)


def test_boundary_document_is_the_one_the_run_was_admitted_under() -> None:
    assert broken(changed(boundary=BOUNDARY_TEXT + b"\n")) == ["boundary"]
    assert broken(changed(boundary=None)) == ["boundary"]


def test_artifacts_are_compared_and_missing_ones_named() -> None:
    held = dict(read_bundle(WHOLE).artifacts)
    lost = digest(b"diff 2")
    assert broken(changed(artifacts={key: value for key, value in held.items() if key != lost})) == ["artifacts"]
    assert lost in said(changed(artifacts={key: value for key, value in held.items() if key != lost}), "artifacts")
    assert broken(changed(artifacts={**held, lost: b"other"})) == ["artifacts"]
    assert broken(changed(artifacts={**held, digest(b"stray"): b"stray"})) == ["artifacts"]


def test_exchanges_may_be_missing_only_when_the_boundary_keeps_their_digests_alone() -> None:
    def fetch(wanted: str) -> bytes | None:
        return None if STORE[wanted] in (b"ask", b"answer") else STORE[wanted]

    assert broken(bundle(KEY, RECORDS, fetch=fetch)) == ["artifacts"]
    sparing = BOUNDARY_TEXT.replace(b"full", b"digest")
    raw = RAW.replace(digest(BOUNDARY_TEXT).encode(), digest(sparing).encode())
    before = [
        replace(one, boundary=digest(sparing)) if isinstance(one, e.TicketAdmitted)
        else replace(one, commit=object_id(raw)) if isinstance(one, e.PatchProduced) and one.attempt == 2
        else one
        for one in work()
    ]  # fmt: skip
    after = [replace(one, commit=object_id(raw)) if hasattr(one, "commit") else one for one in publication()]
    records = whole_run(KEY, before, after)
    content = bundle_of(records, Sources(KEY.sign, KEY.public, sparing, raw, fetch))
    assert broken(content) == []
    assert "only the digests are kept" in said(content, "artifacts")


# Old tests


OLD = "9" * 40


def with_old_tests(tree: str = OLD, named: str = OLD, side: str = BASE_TESTS, *, passed: bool = False) -> bytes:
    """A run whose patch touches tests; what is said of their old version is as given."""
    more = [check(side, 2, tree, "test", passed), e.TestsReplaced(2, TREE, named, ("tests/test_total.py",), 0, "")]
    return bundle(KEY, whole_run(KEY, [*work(), *more]))


def test_old_tests_that_fail_are_said_and_break_nothing() -> None:
    content = with_old_tests()
    assert broken(content) == []
    assert said(content, "tests").endswith("with those of the base commit: test FAILED")
    claims = json.loads(statement(chain_of([*work(), *_old()])))["predicate"]
    assert claims["passed"] is True
    assert [(one["name"], one["passed"], one["tree"]) for one in claims["tests"]["with_those_of_the_base"]] == [
        ("test", False, OLD)
    ]


def _old() -> list[e.Event]:
    return [check(BASE_TESTS, 2, OLD, "test", False), e.TestsReplaced(2, TREE, OLD, ("tests/a.py",), 0, "")]


def test_a_failing_check_is_not_passed_off_by_old_tests() -> None:
    """The required checks are those on the tree of the patch; a pass with old tests stands for none of them."""
    history = [event for event in work() if not (isinstance(event, e.CheckEnded) and event.tree == TREE)]
    passing = check(BASE_TESTS, 2, OLD, "test", True)
    records = whole_run(KEY, [*history, passing, e.TestsReplaced(2, TREE, OLD, ("tests/a.py",), 0, "")])
    assert "checks" in broken(bundle(KEY, records))


def test_old_tests_on_another_tree_than_is_named_are_found() -> None:
    assert broken(with_old_tests(tree="8" * 40)) == ["tests"]
    assert broken(with_old_tests(tree=TREE, named=TREE)) == ["tests"]


def test_a_check_on_no_known_side_is_found() -> None:
    assert broken(with_old_tests(side="patch with better tests")) == ["tests"]


def test_old_tests_after_the_seal_are_found() -> None:
    assert "order" in broken(bundle(KEY, whole_run(KEY, after=[*_old(), *publication()])))


# Runs without a statement


def test_stopped_run_has_a_log_that_verifies_and_says_that_there_is_no_statement() -> None:
    records = chain_of([*work()[:9], e.RunStopped("budget", "spent"), e.RunEnded("stopped", 3.0)])
    content = bundle(KEY, records)
    assert broken(content) == []
    assert "only its log is vouched for" in said(content, "statement")
    assert said(content, "end") == "the run ended: stopped (budget)"


def test_refused_ticket_has_a_log_that_verifies() -> None:
    records = chain_of([e.TicketRefused("INV-7", "sha256:0", "tickets.types", "not_listed", "")])
    assert broken(bundle(KEY, records)) == []


def test_publication_without_evidence_is_found() -> None:
    assert broken(bundle(KEY, chain_of([*work(), *publication()]))) == ["statement"]
    assert broken(bundle(KEY, chain_of([*work(), e.RunEnded("branch", 1.0)]))) == ["statement"]


def test_h11_effect_recorded_before_the_seal_is_found() -> None:
    grant, pushed, *_ = publication()
    assert broken(bundle(KEY, whole_run(KEY, before=[*work(), grant]))) == ["order"]
    assert broken(bundle(KEY, whole_run(KEY, before=[*work(), pushed]))) == ["order"]


def test_h11_crash_between_push_and_record_leaves_a_log_that_says_what_is_known() -> None:
    after = [publication()[0], e.RunStopped("crashed", ""), e.RunEnded("stopped", 1.0)]
    content = bundle(KEY, whole_run(KEY, after=after))
    assert broken(content) == []
    assert "not published" in said(content, "commit")


def test_work_after_the_seal_is_found() -> None:
    late = [check("patch", 3, TREE, "test", True), *publication()]
    assert "order" in broken(bundle(KEY, whole_run(KEY, after=late)))


def test_run_that_was_resumed_after_the_seal_is_fine() -> None:
    after = [e.RunStarted("host/2", "0.1.0", "bubblewrap", True), *publication()]
    assert broken(bundle(KEY, whole_run(KEY, after=after))) == []


def test_statement_that_cannot_be_made_again_stops_the_bundle() -> None:
    other = Key()
    with pytest.raises(EvidenceBroken, match="as it was sealed"):
        bundle(other, RECORDS)
