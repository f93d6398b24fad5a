"""What is signed of a run: an in-toto statement over its log, a checkpoint over the whole log, DSSE around both.

The statement is a function of the records alone. Whoever verifies computes it again and compares, so it cannot
say anything that the log does not. DSSE (https://github.com/secure-systems-lab/dsse) is spelled out here:
it is twenty lines, its library brings process and file access into a ring that has none, and the tests check
our envelopes with that library. Nothing here holds a private key.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from ringfence.domain import events as e
from ringfence.domain.chain import Record, canonical
from ringfence.domain.checks import CheckResult, verdict
from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.facts import CheckFacts, Facts, gather

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://ringfence.example.internal/evidence/v1"
STATEMENT_PAYLOAD = "application/vnd.in-toto+json"
CHECKPOINT_PAYLOAD = "application/vnd.ringfence.checkpoint+json"


def statement(records: Sequence[Record]) -> bytes:
    """The in-toto statement about everything recorded so far. Errors: `EvidenceBroken` without a checked patch."""
    if not records:
        raise EvidenceBroken("there is no record to make a statement of")
    facts = gather(records[0].run, (e.from_json(record.event) for record in records))
    if facts.admitted is None or facts.checkout is None or facts.patch is None:
        raise EvidenceBroken(f"run {facts.run} has no patch to make a statement about")
    subject = [
        {"name": f"{facts.checkout.repository}@{facts.checkout.branch}", "digest": {"gitCommit": facts.patch.commit}},
        {"name": f"{facts.checkout.repository} tree", "digest": {"gitTree": facts.patch.tree}},
    ]
    log = {"records": len(records), "head": records[-1].hash}
    body = {
        "_type": STATEMENT,
        "subject": subject,
        "predicateType": PREDICATE,
        "predicate": {**_claims(facts, facts.admitted, facts.checkout, facts.patch), "log": log},
    }
    return canonical(body)


def checkpoint(records: Sequence[Record]) -> bytes:
    """What is signed when the log has ended, so that nothing can be cut off or put at its end unseen."""
    return canonical({"run": records[0].run, "records": len(records), "head": records[-1].hash})


def not_checked(facts: Facts) -> tuple[str, ...]:
    """What nobody looked at, in sentences; said in the statement and in the pull request."""
    gaps = [
        "Whether the change does what the ticket means: that is the review.",
        "What the declared checks do not cover.",
        "Agents can encode secrets in ways that no redaction or scan recognises.",
    ]
    if any(one.after is not None and not one.after.required for one in facts.checks):
        optional = ", ".join(one.name for one in facts.checks if one.after and not one.after.required)
        gaps.append(f"These checks are not required, so a failure does not stop the change: {optional}.")
    if not any(one.before is not None for one in facts.checks):
        gaps.append("The checks were not run on the base commit, so nothing says what failed before.")
    if any(one.flaky for one in facts.checks):
        flaky = ", ".join(one.name for one in facts.checks if one.flaky)
        gaps.append(f"These checks came out differently on the same tree, so their passing proves little: {flaky}.")
    # An inspected tunnel has no bytes of its own: they are those of the requests in it.
    if any(
        one.decision == "allow" and one.tunnel and one.sent + one.received + one.unfinished for one in facts.network
    ):
        gaps.append("What went through encrypted tunnels to allowed hosts was counted, not read.")
    if facts.replaced is not None and (facts.replaced.fault or not any(one.old_tests for one in facts.checks)):
        # Why not is shown where the tests are, as code: git may have named a path that the agent chose.
        gaps.append("The change touches tests, and their version of the base commit could not be run.")
    if any(one.replayed for one in facts.models):
        gaps.append("No model took part: the answers are a recorded script.")
    if any(one.estimated for one in facts.models):
        gaps.append("Token counts marked as estimates are computed from sizes; the provider named none.")
    return tuple(gaps)


def _claims(
    facts: Facts, admitted: e.TicketAdmitted, checkout: e.CheckoutReady, patch: e.PatchProduced
) -> dict[str, Any]:
    return {
        "run": facts.run,
        "worker": [{"name": one.worker, "version": one.version, "resumed": one.resumed} for one in facts.started],
        "ticket": {"id": admitted.ticket, "digest": admitted.ticket_digest, "requester": admitted.requester},
        "boundary": admitted.boundary,
        "repository": checkout.repository,
        "base": checkout.base,
        "start": checkout.start,
        "branch": checkout.branch,
        "context": list(checkout.context),
        "change": {"files": patch.files, "insertions": patch.insertions, "deletions": patch.deletions},
        "attempts": patch.attempt,
        "repaired": [list(one.failing) for one in facts.repairs],
        "checks": [_check(one) for one in facts.checks],
        "passed": facts.passed,
        "sandbox": {"levels": list(facts.levels), "controls": list(facts.controls)},
        "models": [
            {
                "route": one.route, "provider": one.provider, "model": one.model, "replayed": one.replayed,
                "requests": one.requests, "denied": one.denied, "input_tokens": one.input_tokens,
                "output_tokens": one.output_tokens, "tokens_estimated": one.estimated,
                **({"translated": list(one.translated)} if one.translated else {}),
            }
            for one in facts.models
        ],
        "network": [
            {
                "phase": one.phase, "destination": one.destination, "decision": one.decision, "rule": one.rule,
                "credential": one.credential, "asked": list(one.asked),
                "times": one.times, "sent": one.sent, "received": one.received,
                "unfinished": one.unfinished,
            }
            for one in facts.network
        ],
        "refused": [{"attempt": one.attempt, "rule": one.rule, "reason": one.reason} for one in facts.refused],
        **_tests(facts),
        **_setup(facts),
        **_configuration(facts),
        "artifacts": list(facts.artifacts),
        "not_checked": list(not_checked(facts)),
    }  # fmt: skip


def _tests(facts: Facts) -> dict[str, Any]:
    """What came of the tests of the base commit, for a change that touches tests; nothing for one that does not."""
    replaced = facts.replaced
    if replaced is None:
        return {}
    ran = [{"name": one.name, **(_side(one.old_tests) or {})} for one in facts.checks if one.old_tests is not None]
    return {
        "tests": {
            "touched": list(replaced.paths), "left_out": replaced.left_out, "tree": replaced.replaced,
            "with_those_of_the_base": ran, "fault": replaced.fault,
        }
    }  # fmt: skip


def _configuration(facts: Facts) -> dict[str, Any]:
    """What steers agents: what of it was hidden from this one, and what of it the change touches."""
    hidden, rechecked = facts.hidden, facts.rechecked
    found: dict[str, Any] = {}
    if hidden is not None:
        found["hidden"] = {
            "agent": hidden.agent, "commit": hidden.commit, "files": list(hidden.files), "count": hidden.count,
            "made": list(hidden.made), "made_count": hidden.made_count,
        }  # fmt: skip
    if rechecked is not None:
        found["after"] = {
            "compared": rechecked.compared, "unchanged": rechecked.unchanged, "changed": list(rechecked.changed),
            "changed_count": rechecked.changed_count,
        }  # fmt: skip
    return {"configuration": found} if found else {}


def _setup(facts: Facts) -> dict[str, Any]:
    """What set-up left and what it was made from; nothing where there is no set-up."""
    rows = [
        {
            "layer": one.layer,
            "content": one.content,
            "reused": isinstance(one, e.LayerUsed),
            "from": list(one.made_from),
        }
        for one in facts.layers
    ]
    return {"setup": rows} if rows else {}


def _check(facts: CheckFacts) -> dict[str, Any]:
    one = facts.after or facts.before
    assert one is not None  # a row is made of at least one result
    words = verdict(result(facts.before), after) if (after := result(facts.after)) else "not run on the change"
    return {
        "name": facts.name,
        "kind": one.check_kind,
        "argv": list(one.argv),
        "required": one.required,
        "before": _side(facts.before),
        "after": _side(facts.after),
        "verdict": str(words),
        "times": facts.times,
        "passes": facts.passes,
    }


def _side(ended: e.CheckEnded | None) -> dict[str, Any] | None:
    if ended is None:
        return None
    return {"passed": ended.passed, "exit_code": ended.exit_code, "stopped": ended.stopped, "tree": ended.tree,
            "seconds": ended.seconds, "output": ended.output}  # fmt: skip


def result(ended: e.CheckEnded | None) -> CheckResult | None:
    """A recorded check as the value that `checks.verdict` compares."""
    if ended is None:
        return None
    return CheckResult(
        ended.name, ended.check_kind, ended.argv, ended.passed, ended.exit_code, ended.stopped, ended.seconds,
        ended.output, "", ended.required,
    )  # fmt: skip


def pae(payload: bytes, payload_type: str) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def envelope(payload: bytes, payload_type: str, key_id: str, signature: bytes) -> bytes:
    """A DSSE envelope with one signature."""
    return canonical(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"keyid": key_id, "sig": base64.b64encode(signature).decode()}],
        }
    )


def open_envelope(sealed: bytes, payload_type: str, public_key: bytes) -> bytes:
    """The payload of an envelope that this key signed as this type. Errors: `EvidenceBroken` that says why not."""
    key = _load(public_key)
    try:
        body = json.loads(sealed)
        payload = base64.b64decode(body["payload"], validate=True)
        kind, signatures = body["payloadType"], body["signatures"]
        values = [(str(one.get("keyid")), base64.b64decode(one["sig"], validate=True)) for one in signatures[:8]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as failure:
        raise EvidenceBroken("not a DSSE envelope") from failure
    if kind != payload_type:
        raise EvidenceBroken(f"the envelope holds {str(kind)[:80]!r}, not {payload_type!r}")
    for _, signature in values:
        try:
            key.verify(signature, pae(payload, payload_type))
        except InvalidSignature:
            continue
        return payload
    named = ", ".join(name[:80] for name, _ in values) or "nobody"
    raise EvidenceBroken(f"not signed by the trusted key {key_id(public_key)} (the envelope names {named})")


def key_id(public_key: bytes) -> str:
    """`sha256:` over the DER form of a PEM public key."""
    der = _load(public_key).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256:" + hashlib.sha256(der).hexdigest()


def _load(public_key: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(public_key)
    except ValueError as failure:
        raise EvidenceBroken("the public key is not PEM") from failure
    if not isinstance(key, Ed25519PublicKey):
        raise EvidenceBroken("the public key is not an Ed25519 key")
    return key
