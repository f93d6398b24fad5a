"""Bundles whose bodies of model exchanges were removed before the log: what still verifies, and what is found."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from bundles import KEY, RECORDS, WHOLE, broken, said

from evidence_run import BOUNDARY_TEXT, STORE, Key, chain_of, digest, extended
from ringfence.domain import events as e
from ringfence.domain.attestation import CHECKPOINT_PAYLOAD, checkpoint
from ringfence.domain.bundle import read_bundle, write_bundle
from ringfence.domain.chain import Record, link, to_lines
from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.evidence import without_bodies


def removed(
    before: Sequence[Record] = RECORDS, *, count: int = 2, retention: int = 3600, when: float = 0.0
) -> list[Record]:
    last = before[-1]
    event = e.to_json(e.BodiesRemoved(count, retention, digest(BOUNDARY_TEXT)))
    return [*before, link(last.run, last.sequence + 1, (when or last.time + 3600), event, last.hash)]


def test_a_bundle_without_removed_bodies_verifies_and_says_when_and_why() -> None:
    assert broken(WHOLE) == []
    content = without_bodies(WHOLE, removed(), KEY.sign, KEY.public)
    assert broken(content) == []
    assert set(read_bundle(WHOLE).artifacts) - set(read_bundle(content).artifacts) == {
        digest(b"ask"),
        digest(b"answer"),
    }
    assert "removed on 2026-09-21 under the boundary's retention of 1h" in said(content, "bodies")
    assert "2 bodies of model exchanges only the digests are kept" in said(content, "artifacts")
    assert read_bundle(content).statement == read_bundle(WHOLE).statement


def test_other_artifacts_may_not_go_with_the_bodies() -> None:
    bundle_ = read_bundle(without_bodies(WHOLE, removed(), KEY.sign, KEY.public))
    held = {key: value for key, value in bundle_.artifacts.items() if key != digest(b"diff 2")}
    assert broken(write_bundle(replace(bundle_, artifacts=held))) == ["artifacts"]


def test_bodies_that_the_log_calls_removed_may_not_be_there() -> None:
    bundle_ = read_bundle(without_bodies(WHOLE, removed(), KEY.sign, KEY.public))
    assert broken(write_bundle(replace(bundle_, artifacts=read_bundle(WHOLE).artifacts))) == ["artifacts"]


def test_a_removal_before_its_time_of_other_bodies_or_in_another_place_is_found() -> None:
    for records in (
        removed(when=RECORDS[-1].time + 3599),
        removed(count=3),
        removed(removed()),
        extended(removed(), [e.RunEnded("pull_request", 1.0)]),
    ):
        kept = {
            key: value for key, value in read_bundle(WHOLE).artifacts.items() if STORE[key] not in (b"ask", b"answer")
        }
        closing = KEY.sign(checkpoint(records), CHECKPOINT_PAYLOAD)
        content = write_bundle(replace(read_bundle(WHOLE), log=to_lines(records), closing=closing, artifacts=kept))
        assert "bodies" in broken(content)


def test_a_bundle_of_another_key_or_log_is_not_made_again() -> None:
    other = Key()
    with pytest.raises(EvidenceBroken, match="another key"):
        without_bodies(WHOLE, removed(), other.sign, other.public)
    with pytest.raises(EvidenceBroken, match="another log"):
        without_bodies(WHOLE, removed(chain_of([e.RunEnded("stopped", 1.0)])), KEY.sign, KEY.public)
