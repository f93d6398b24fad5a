"""Statements and envelopes, checked with a DSSE implementation that is not ours."""

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from evidence_run import BASE, BOUNDARY_TEXT, COMMIT, ID, TREE, Key, called, chain_of, check, digest, work
from ringfence.domain import events as e
from ringfence.domain.attestation import (
    PREDICATE,
    STATEMENT,
    STATEMENT_PAYLOAD,
    checkpoint,
    not_checked,
    open_envelope,
    pae,
    statement,
)
from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.facts import gather

#: On a busy machine a slow example is no finding.
CALM = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def independent(key: Key) -> SSlibKey:
    value = {"public": key.public.decode()}
    return SSlibKey(key.id, "ed25519", "ed25519", {"public": raw_public(key).hex()}, {"x": value})


def raw_public(key: Key) -> bytes:
    der = base64.b64decode("".join(key.public.decode().splitlines()[1:-1]))
    return der[-32:]


def test_envelope_verifies_with_an_independent_implementation() -> None:
    key = Key()
    sealed = Envelope.from_dict(json.loads(key.sign(b'{"a":1}', STATEMENT_PAYLOAD)))
    assert list(sealed.verify([independent(key)], 1)) == [key.id]
    assert sealed.payload == b'{"a":1}'
    sealed.payload = b'{"a":2}'
    with pytest.raises(VerificationError):
        sealed.verify([independent(key)], 1)


def test_encoding_is_the_one_of_the_dsse_specification() -> None:
    assert pae(b"hello world", "http://example.com/HelloWorld") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_envelope_opens_with_its_key_and_as_its_type_only() -> None:
    key = Key()
    sealed = key.sign(b"payload", STATEMENT_PAYLOAD)
    assert open_envelope(sealed, STATEMENT_PAYLOAD, key.public) == b"payload"
    with pytest.raises(EvidenceBroken, match="not signed by the trusted key"):
        open_envelope(sealed, STATEMENT_PAYLOAD, Key().public)
    with pytest.raises(EvidenceBroken, match="the envelope holds"):
        open_envelope(sealed, "application/other", key.public)


@CALM
@given(st.data())
def test_any_changed_byte_of_an_envelope_is_found_or_changes_nothing(data: st.DataObject) -> None:
    key = Key()
    sealed = bytearray(key.sign(b"payload", STATEMENT_PAYLOAD))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    try:
        opened = open_envelope(bytes(sealed), STATEMENT_PAYLOAD, key.public)
    except EvidenceBroken:
        return
    assert opened == b"payload"  # only the hint `keyid`, which is not signed, can change


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        pytest.param(b"[" * 100_000, id="nesting"),
        b'{"payload":"*","payloadType":"x","signatures":[]}',
        b'{"payload":"","payloadType":"x","signatures":[1]}',
        b'{"payload":"","payloadType":"x","signatures":7}',
    ],
)
def test_what_is_no_envelope_is_called_so(content: bytes) -> None:
    with pytest.raises(EvidenceBroken):
        open_envelope(content, "y", Key().public)


def test_keys_of_other_kinds_are_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    other = generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for public in (b"", b"not a key", other):
        with pytest.raises(EvidenceBroken, match="public key"):
            open_envelope(Key().sign(b"", "x"), "x", public)


def test_statement_says_what_the_records_say() -> None:
    records = chain_of(work())
    said = json.loads(statement(records))
    assert said["_type"] == STATEMENT
    assert said["predicateType"] == PREDICATE
    assert said["subject"] == [
        {"name": "demo/inventory@ringfence/INV-7-fix", "digest": {"gitCommit": COMMIT}},
        {"name": "demo/inventory tree", "digest": {"gitTree": TREE}},
    ]
    claims = said["predicate"]
    assert claims["run"] == ID
    assert claims["ticket"] == {"id": "INV-7", "digest": "sha256:" + "a" * 64, "requester": "kim"}
    assert claims["boundary"] == digest(BOUNDARY_TEXT)
    assert (claims["base"], claims["start"], claims["branch"]) == (BASE, BASE, "ringfence/INV-7-fix")
    assert claims["change"] == {"files": 2, "insertions": 5, "deletions": 1}
    assert claims["repaired"] == [["test"]]
    assert claims["passed"] is True
    assert [(one["name"], one["verdict"]) for one in claims["checks"]] == [
        ("lint", "passed before, passes now"),
        ("test", "failed before, passes now"),
    ]
    assert claims["checks"][1]["before"]["exit_code"] == 1
    assert claims["checks"][1]["after"]["tree"] == TREE
    assert claims["sandbox"] == {"levels": ["bubblewrap"], "controls": ["no network", "seccomp"]}
    assert claims["models"] == [
        {
            "route": "local", "provider": "replay", "model": "scripted", "replayed": True, "requests": 2, "denied": 0,
            "input_tokens": 1800, "output_tokens": 240, "tokens_estimated": True,
        }
    ]  # fmt: skip
    assert claims["network"] == []
    assert claims["log"] == {"records": len(records), "head": records[-1].hash}
    assert set(claims["artifacts"]) == {
        digest(blob) for blob in (b"brief", b"diff 1", b"diff 2", b"out", b"ask", b"answer")
    }
    assert "No model took part: the answers are a recorded script." in claims["not_checked"]


def test_same_records_give_the_same_statement_byte_for_byte() -> None:
    assert statement(chain_of(work())) == statement(chain_of(work()))


def test_run_without_a_patch_gets_no_statement() -> None:
    with pytest.raises(EvidenceBroken, match="no patch"):
        statement(chain_of(work()[:5]))
    with pytest.raises(EvidenceBroken, match="no record"):
        statement([])


def test_results_on_another_tree_do_not_count() -> None:
    history = [event for event in work() if not (isinstance(event, e.CheckEnded) and event.tree == TREE)]
    assert gather(ID, history).passed is False


def test_check_that_was_run_before_and_not_on_the_change_has_not_passed() -> None:
    history = [event for event in work() if not (isinstance(event, e.CheckEnded) and event.tree == TREE)]
    assert gather(ID, [*history, check("patch", 2, TREE, "lint", True)]).passed is False


def test_g08_pass_among_failures_on_the_same_tree_is_said() -> None:
    history = [*work(), check("patch", 3, TREE, "test", False), check("patch", 4, TREE, "test", True)]
    facts = gather(ID, history)
    assert [(one.name, one.flaky, one.passes, one.times) for one in facts.checks] == [
        ("lint", False, 1, 1),
        ("test", True, 2, 3),
    ]
    assert any("came out differently" in gap and "test" in gap for gap in not_checked(facts))


def test_what_was_not_checked_follows_from_the_events() -> None:
    plain = not_checked(gather(ID, []))
    assert any("not run on the base" in gap for gap in plain)
    assert not any("recorded script" in gap for gap in plain)
    history = [called(replayed=False), check("patch", 1, "", "style", True, required=False), *work()[-3:]]
    said = not_checked(gather(ID, [*history, check("patch", 2, TREE, "style", False, required=False)]))
    assert any("not required" in gap and "style" in gap for gap in said)
    assert not any("recorded script" in gap for gap in said)


def test_denied_calls_are_counted_apart() -> None:
    facts = gather(ID, [called(replayed=False), called(replayed=False, decision="deny")])
    (model,) = facts.models
    assert (model.requests, model.denied, model.input_tokens) == (1, 1, 900)


def test_checkpoint_names_run_length_and_head() -> None:
    records = chain_of(work())
    assert json.loads(checkpoint(records)) == {"run": ID, "records": len(records), "head": records[-1].hash}
