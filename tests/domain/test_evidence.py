"""Bundles and their verification: every way to change, replace, cut or replay one is named."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evidence_run import (
    BOUNDARY_TEXT,
    COMMIT,
    ID,
    RAW,
    STORE,
    TREE,
    Key,
    bundle,
    chain_of,
    check,
    commit_object,
    digest,
    extended,
    object_id,
    publication,
    whole_run,
    work,
)
from ringfence.domain import events as e
from ringfence.domain.attestation import CHECKPOINT_PAYLOAD, STATEMENT_PAYLOAD, checkpoint, open_envelope, statement
from ringfence.domain.bundle import Bundle, read_bundle, write_bundle
from ringfence.domain.chain import Record, link, to_lines
from ringfence.domain.checks import BASE_TESTS
from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.evidence import Finding, Sources, bundle_of, seal, verify, without_bodies

#: On a busy machine a slow example is no finding.
CALM = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

KEY = Key()
RECORDS = whole_run(KEY)
WHOLE = bundle(KEY, RECORDS)
FOLLOWS_FROM_TRUST = ("end", "boundary", "artifacts", "statement", "order", "checks", "commit", "tree", "trailers")


def broken(content: bytes, key: bytes = KEY.public) -> list[str]:
    return [finding.check for finding in verify(content, key) if not finding.ok]


def said(content: bytes, check: str, key: bytes = KEY.public) -> str:
    return next(finding.detail for finding in verify(content, key) if finding.check == check)


def changed(**parts: object) -> bytes:
    return write_bundle(replace(read_bundle(WHOLE), **parts))


def signed_by(key: Key, records: Sequence[Record], **parts: object) -> bytes:
    """A bundle whose log and closing fit together, everything else from the whole one."""
    closing = key.sign(checkpoint(records), CHECKPOINT_PAYLOAD)
    return changed(log=to_lines(records), closing=closing, **parts)


def test_untouched_bundle_holds_in_every_part() -> None:
    findings = verify(WHOLE, KEY.public)
    assert [finding for finding in findings if not finding.ok] == []
    assert tuple(finding.check for finding in findings) == ("bundle", "key", "chain", "closing", *FOLLOWS_FROM_TRUST)
    assert COMMIT in said(WHOLE, "commit")
    assert TREE in said(WHOLE, "checks")


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


# What was validated is what was pushed


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


# Bodies that were removed before the log


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


# Hostile bundles


def tar_of(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=form) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return held.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(tar_of((named("../log.jsonl"), b"x")), id="path out of the folder"),
        pytest.param(tar_of((named("/etc/passwd"), b"x")), id="absolute path"),
        pytest.param(tar_of((named("./log.jsonl"), b"x")), id="another spelling"),
        pytest.param(tar_of((named("artifacts/../log.jsonl"), b"x")), id="path through a folder"),
        pytest.param(tar_of((named("artifacts/" + "A" * 64), b"x")), id="upper-case digest"),
        pytest.param(tar_of((named("log.jsonl", tarfile.SYMTYPE, "/etc/passwd"), b"")), id="symbolic link"),
        pytest.param(tar_of((named("log.jsonl", tarfile.LNKTYPE, "commit"), b"")), id="hard link"),
        pytest.param(tar_of((named("log.jsonl", tarfile.FIFOTYPE), b"")), id="fifo"),
        pytest.param(tar_of((named("log.jsonl", tarfile.CHRTYPE), b"")), id="device"),
        pytest.param(tar_of((named("log.jsonl", tarfile.DIRTYPE), b"")), id="directory"),
        pytest.param(tar_of((named("x" * 200), b"x"), form=tarfile.GNU_FORMAT), id="long name extension"),
        pytest.param(tar_of((named("log.jsonl" + "é" * 60), b""), form=tarfile.PAX_FORMAT), id="pax extension"),
        pytest.param(write_bundle(Bundle(b"", None, None, None)).replace(b"00000000000", b"77777777777", 1), id="size"),
        pytest.param(WHOLE + b"\0" * 512, id="longer end"),
        pytest.param(WHOLE + b"more", id="something behind the end"),
        pytest.param(WHOLE[: len(WHOLE) - 1024] + WHOLE, id="every file twice"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x1f\x8b" + b"\0" * 2000, id="compressed"),
        pytest.param(b"\xff" * 5000, id="noise"),
    ],
)  # fmt: skip
def test_hostile_bundle_is_refused_unread(content: bytes) -> None:
    (finding,) = verify(content, KEY.public)
    assert (finding.check, finding.ok) == ("bundle", False)


@CALM
@given(st.binary(max_size=3000))
def test_any_bytes_are_judged_without_an_error(content: bytes) -> None:
    assert broken(content) != []
    assert broken(WHOLE[:512] + content) != []


@CALM
@given(log=st.binary(max_size=400), other=st.binary(max_size=400))
def test_any_contents_in_a_well_formed_bundle_are_judged_without_an_error(log: bytes, other: bytes) -> None:
    assert broken(changed(log=log)) != []
    assert broken(changed(closing=other)) != []
    assert broken(changed(statement=other)) == ["statement"]
    assert broken(changed(commit=other)) == ["commit"]
    assert broken(changed(boundary=other)) == ["boundary"]
    assert broken(changed(public_key=other))[0] == "key"


def test_key_that_is_no_key_is_an_error_of_the_caller() -> None:
    with pytest.raises(EvidenceBroken, match="public key"):
        verify(WHOLE, b"no key")


def test_findings_are_plain_values_for_scripts() -> None:
    assert verify(b"", KEY.public) == (Finding("bundle", False, "the bundle is cut off"),)
    assert json.loads(json.dumps([asdict(finding) for finding in verify(WHOLE, KEY.public)]))[0]["ok"] is True
