"""The hash chain: whatever is done to a log afterwards is found, and named with its place."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringfence.domain.chain import GENESIS, Record, canonical, first_break, link, read_lines, to_lines

#: On a busy machine a slow example is no finding.
CALM = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])

RUN = "INV-1-r1"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.lists(st.dictionaries(st.text(min_size=1, max_size=8), JSON, max_size=4), min_size=1, max_size=8)


def chain_of(events: list[dict[str, object]]) -> list[Record]:
    records: list[Record] = []
    for number, event in enumerate(events):
        records.append(link(RUN, number, 1.5 + number, event, records[-1].hash if records else GENESIS))
    return records


@CALM
@given(EVENTS)
def test_chain_that_nobody_touched_holds_in_both_forms(events: list[dict[str, object]]) -> None:
    records = chain_of(events)
    assert first_break(records, RUN) is None
    assert read_lines(to_lines(records)) == (records, None)
    assert read_lines(to_lines(records), RUN) == (records, None)


@CALM
@given(EVENTS, st.data())
def test_any_changed_byte_of_the_lines_is_found(events: list[dict[str, object]], data: st.DataObject) -> None:
    content = bytearray(to_lines(chain_of(events)))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    assert read_lines(bytes(content), RUN)[1] is not None


@CALM
@given(EVENTS, st.data())
def test_any_inserted_or_removed_byte_is_found(events: list[dict[str, object]], data: st.DataObject) -> None:
    content = to_lines(chain_of(events))
    place = data.draw(st.integers(0, len(content) - 1))
    assert read_lines(content[:place] + content[place + 1 :], RUN)[1] is not None
    more = data.draw(st.binary(min_size=1, max_size=3))
    assert read_lines(content[:place] + more + content[place:], RUN)[1] is not None


@CALM
@given(EVENTS, st.data())
def test_removed_record_is_found_unless_it_is_the_last(events: list[dict[str, object]], data: st.DataObject) -> None:
    records = chain_of([*events, {"kind": "last"}])
    place = data.draw(st.integers(0, len(records) - 2))
    rest = records[:place] + records[place + 1 :]
    assert first_break(rest, RUN) == f"record {place}: missing or moved (found sequence {place + 1})"
    assert read_lines(to_lines(rest), RUN)[1] is not None


@CALM
@given(EVENTS, st.data())
def test_moved_records_are_found(events: list[dict[str, object]], data: st.DataObject) -> None:
    records = chain_of([*events, {"kind": "last"}])
    one, other = data.draw(st.lists(st.integers(0, len(records) - 1), min_size=2, max_size=2, unique=True))
    records[one], records[other] = records[other], records[one]
    assert first_break(records, RUN) is not None
    assert read_lines(to_lines(records), RUN)[1] is not None


@CALM
@given(EVENTS, JSON, st.data())
def test_changed_field_of_a_record_is_found(
    events: list[dict[str, object]], value: object, data: st.DataObject
) -> None:
    records = chain_of(events)
    place = data.draw(st.integers(0, len(records) - 1))
    changed = data.draw(
        st.sampled_from(
            [
                {"run": "INV-2-r1"},
                {"sequence": place + 1},
                {"time": records[place].time + 1},
                {"previous": "1" * 64},
                {"hash": "1" * 64},
                {"event": {**records[place].event, "more": value}},
            ]
        )
    )
    records[place] = replace(records[place], **changed)
    assert first_break(records, RUN) is not None
    assert read_lines(to_lines(records), RUN)[1] is not None


def test_h05_chain_computed_again_holds_by_itself_and_only_a_signature_helps() -> None:
    forged = chain_of([{"kind": "a"}, {"kind": "forged"}])
    assert first_break(forged, RUN) is None


def test_record_of_another_run_is_found() -> None:
    records = chain_of([{"kind": "a"}])
    assert first_break(records, "other") == "record 0: belongs to run 'INV-1-r1', not 'other'"
    assert read_lines(to_lines(records), "other")[1] == "record 0: belongs to run 'INV-1-r1', not 'other'"


def test_lines_with_wrong_kinds_or_endless_nesting_are_no_records() -> None:
    import hashlib

    for body in (b"[]", b"1", b"[" * 100_000, b'{"run":1,"sequence":0,"time":1.0,"event":{},"previous":""}',
                 b'{"run":"r","sequence":true,"time":1.0,"event":{},"previous":""}', b"\xff"):  # fmt: skip
        line = b'{"hash":"%b","record":%b}\n' % (hashlib.sha256(body).hexdigest().encode(), body)
        assert read_lines(line)[1] == "record 0: not a record"


def test_empty_log_has_no_break_and_no_records() -> None:
    assert read_lines(b"") == ([], None)
    assert first_break([], RUN) is None


def test_canonical_form_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical({"b": 1, "a": "é\u2028"}) == canonical({"a": "é\u2028", "b": 1}) == b'{"a":"\\u00e9\\u2028","b":1}'
