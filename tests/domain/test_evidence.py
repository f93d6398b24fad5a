"""Bundles and their verification: every way to change, replace, cut or replay one is named."""

import io
import tarfile
from dataclasses import replace

from bundles import CALM, FOLLOWS_FROM_TRUST, KEY, RECORDS, WHOLE, broken, changed, said, signed_by
from hypothesis import given
from hypothesis import strategies as st

from evidence_run import (
    COMMIT,
    ID,
    RAW,
    TREE,
    Key,
    bundle,
    chain_of,
    digest,
    extended,
    publication,
    whole_run,
    work,
)
from ringfence.domain import events as e
from ringfence.domain.attestation import CHECKPOINT_PAYLOAD, STATEMENT_PAYLOAD, checkpoint, open_envelope, statement
from ringfence.domain.bundle import read_bundle, write_bundle
from ringfence.domain.chain import link, to_lines
from ringfence.domain.evidence import seal, verify


def test_untouched_bundle_holds_in_every_part() -> None:
    findings = verify(WHOLE, KEY.public)
    assert [finding for finding in findings if not finding.ok] == []
    assert tuple(finding.check for finding in findings) == ("bundle", "key", "chain", "closing", *FOLLOWS_FROM_TRUST)
    assert COMMIT in said(WHOLE, "commit")
    assert TREE in said(WHOLE, "checks")


def test_same_run_gives_the_same_bundle_byte_for_byte() -> None:
    assert bundle(KEY, RECORDS) == WHOLE


def test_bundle_is_a_tar_that_other_programs_read() -> None:
    with tarfile.open(fileobj=io.BytesIO(WHOLE)) as tar:
        assert tar.getnames()[:6] == [
            "log.jsonl", "closing.dsse.json", "statement.dsse.json", "boundary.yaml", "commit", "public-key.pem"
        ]  # fmt: skip
        member = tar.extractfile("commit")
        assert member is not None
        assert member.read() == RAW
        assert {(one.mtime, one.uid, one.gid, one.mode) for one in tar.getmembers()} == {(0, 0, 0, 0o644)}


# The log


def test_h01_edited_record_is_named() -> None:
    content = changed(log=to_lines(RECORDS).replace(b'"requester":"kim"', b'"requester":"eve"'))
    assert broken(content) == ["chain", "closing", "contents"]
    assert said(content, "chain") == "record 0: content was changed"


def test_h03_reordered_records_are_named() -> None:
    moved = [*RECORDS[:5], RECORDS[6], RECORDS[5], *RECORDS[7:]]
    content = changed(log=to_lines(moved))
    assert broken(content) == ["chain", "closing", "contents"]
    assert said(content, "chain") == "record 5: missing or moved (found sequence 6)"


def test_h04_deleted_log_is_named() -> None:
    assert "closing" in broken(changed(log=b""))
    without = b"".join(part for part in (WHOLE[512 + len(to_lines(RECORDS)) + -len(to_lines(RECORDS)) % 512 :],))
    assert said(without, "bundle") == "the bundle holds no log.jsonl"


def test_truncated_log_is_found_by_the_closing_checkpoint_alone() -> None:
    content = changed(log=to_lines(RECORDS[:-1]))
    assert broken(content) == ["closing", "contents"]


def test_log_that_goes_on_after_its_end_is_found() -> None:
    content = changed(log=to_lines(extended(RECORDS, [e.CancelRequested("kim")])))
    assert broken(content) == ["closing", "contents"]


def test_h05_chain_computed_again_without_the_key_is_found() -> None:
    history = [e.from_json(record.event) for record in RECORDS]
    history[0] = replace(history[0], requester="eve")
    content = changed(log=to_lines(chain_of(history)))
    assert said(content, "chain") == f"{len(RECORDS)} records from the first on"
    assert broken(content) == ["closing", "contents"]


def test_h05_chain_computed_again_and_signed_with_another_key_is_found() -> None:
    eve = Key()
    content = bundle(eve, whole_run(eve))
    assert broken(content, eve.public) == []
    assert broken(content) == ["key", "closing", "contents"]
    bare = write_bundle(replace(read_bundle(content), public_key=None))
    assert broken(bare) == ["closing", "contents"]
    assert broken(write_bundle(replace(read_bundle(content), public_key=KEY.public))) == ["closing", "contents"]


def test_missing_closing_is_named() -> None:
    assert broken(changed(closing=None)) == ["closing", "contents"]


def test_closing_of_another_run_does_not_serve() -> None:
    other = chain_of([e.RunEnded("stopped", 1.0)], "INV-8-r1")
    assert broken(changed(closing=KEY.sign(checkpoint(other), CHECKPOINT_PAYLOAD))) == ["closing", "contents"]


def test_statement_does_not_serve_as_closing() -> None:
    assert broken(changed(closing=read_bundle(WHOLE).statement)) == ["closing", "contents"]


def test_log_without_its_end_is_named_even_when_it_is_signed() -> None:
    assert broken(signed_by(KEY, RECORDS[:-1])) == ["end"]


def test_record_of_an_unknown_kind_is_named() -> None:
    odd = link(ID, len(RECORDS), 1.0, {"kind": "odd"}, RECORDS[-1].hash)
    content = signed_by(KEY, [*RECORDS, odd])
    assert broken(content) == ["contents"]
    assert said(content, "contents") == "unknown event kind 'odd'"


@CALM
@given(st.data())
def test_any_changed_byte_of_a_bundle_breaks_it(data: st.DataObject) -> None:
    content = bytearray(WHOLE)
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    assert broken(bytes(content)) != []


@CALM
@given(st.integers(0, len(WHOLE) - 1))
def test_bundle_cut_anywhere_is_broken(size: int) -> None:
    assert broken(WHOLE[:size]) != []


# The statement


def test_h08_statement_of_another_run_is_found() -> None:
    other = whole_run(KEY, before=[replace(work()[0], ticket="INV-8"), *work()[1:]])
    assert broken(changed(statement=read_bundle(bundle(KEY, other)).statement)) == ["statement"]


def test_h08_statement_about_another_commit_is_found() -> None:
    history = work()
    history[-3] = replace(history[-3], commit="9" * 40)
    envelope = KEY.sign(statement(chain_of(history)), STATEMENT_PAYLOAD)
    assert broken(changed(statement=envelope)) == ["statement"]


def test_h08_statement_by_a_key_that_is_no_longer_trusted_is_found() -> None:
    payload = open_envelope(read_bundle(WHOLE).statement or b"", STATEMENT_PAYLOAD, KEY.public)
    content = changed(statement=Key().sign(payload, STATEMENT_PAYLOAD))
    assert broken(content) == ["statement"]
    assert "not signed by the trusted key" in said(content, "statement")


def test_g06_statement_that_says_more_than_the_log_is_found() -> None:
    """The worst case: the worker itself signs a lie, and its log says that it sealed this very lie."""
    records = chain_of(work())
    lie = statement(records).replace(b'"exit_code":1', b'"exit_code":0')
    assert lie != statement(records)
    envelope = KEY.sign(lie, STATEMENT_PAYLOAD)
    _, sealed = seal(records, KEY.sign, KEY.id)
    after = extended(records, [replace(sealed, digest=digest(envelope)), *publication()])
    content = signed_by(KEY, after, statement=envelope)
    assert broken(content) == ["statement"]
    assert said(content, "statement") == "it says something else than the log"


def test_missing_statement_is_named() -> None:
    assert broken(changed(statement=None)) == ["statement"]


def test_statement_that_covers_other_records_than_it_names_is_found() -> None:
    records = chain_of(work())
    envelope, sealed = seal(records, KEY.sign, KEY.id)
    for wrong in (replace(sealed, records=sealed.records - 1), replace(sealed, head="0" * 64),
                  replace(sealed, records=10_000), replace(sealed, records=0)):  # fmt: skip
        content = signed_by(KEY, extended(records, [wrong, *publication()]), statement=envelope)
        assert broken(content) == ["statement"]


def test_seal_on_the_log_names_the_statement_and_its_signer() -> None:
    records = chain_of(work())
    envelope, sealed = seal(records, KEY.sign, KEY.id)
    for wrong in (replace(sealed, digest=digest(b"another")), replace(sealed, signer=Key().id)):
        content = signed_by(KEY, extended(records, [wrong, *publication()]), statement=envelope)
        assert broken(content) == ["statement"]
        assert "not the statement that the log says" in said(content, "statement")
