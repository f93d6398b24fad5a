"""Sealing the evidence of a run, and verifying it anywhere, offline, with nothing but a public key.

The order of trust: the key vouches for the closing checkpoint, the checkpoint for the log, and everything else
is compared with the log. What the log says is not read before its signature holds. A verification only ever
says that all is well when every part was there and was looked at.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ringfence.domain import commit as commits
from ringfence.domain import events as e
from ringfence.domain.attestation import (
    CHECKPOINT_PAYLOAD,
    STATEMENT_PAYLOAD,
    checkpoint,
    key_id,
    open_envelope,
    statement,
)
from ringfence.domain.bodies import removal, said, without_removal
from ringfence.domain.bundle import Bundle, read_bundle, write_bundle
from ringfence.domain.chain import Record, read_lines, to_lines
from ringfence.domain.checks import BASE_TESTS, SIDES
from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.facts import Facts, gather

_PUBLISHED = frozenset({"pull_request", "branch"})
_LAST = frozenset({"run.ended", "ticket.refused"})
#: Only these may follow publication; a check or a patch among them would not be covered by the statement.
_TOO_LATE = (
    e.PatchProduced, e.CheckEnded, e.TestsReplaced, e.ModelCalled, e.BriefAssembled, e.AgentEnded, e.CommandRan,
    e.ConfigurationHidden, e.ConfigurationRechecked,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `ok` is False also for what could not be looked at."""

    check: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Sources:
    """What a bundle is made from beside the records."""

    sign: Callable[[bytes, str], bytes]
    public_key: bytes
    boundary: bytes
    commit: bytes | None  # the raw commit object, when one was sealed; never through redaction
    fetch: Callable[[str], bytes | None]  # the content store by digest


def seal(records: Sequence[Record], sign: Callable[[bytes, str], bytes], signer: str) -> tuple[bytes, e.EvidenceSealed]:
    """The signed statement about the records so far, and the event that says so. Errors: `EvidenceBroken`."""
    envelope = sign(statement(records), STATEMENT_PAYLOAD)
    patch = _facts(records).patch
    assert patch is not None  # statement() refuses otherwise
    head = records[-1].hash
    return envelope, e.EvidenceSealed(_digest(envelope), signer, patch.commit, patch.tree, len(records), head)


def bundle_of(records: Sequence[Record], sources: Sources) -> bytes:
    """The bundle of a run that has ended. The statement is made again, and must come out as it was sealed."""
    facts = _facts(records)
    envelope = None
    if facts.sealed is not None:
        envelope = sources.sign(statement(records[: facts.sealed.records]), STATEMENT_PAYLOAD)
        if _digest(envelope) != facts.sealed.digest:
            raise EvidenceBroken(
                "the statement does not come out as it was sealed", where=f"run {facts.run}",
                mend="the signing key was changed in the middle of the run, or the log was; keep both and look",
            )  # fmt: skip
    found = {digest: sources.fetch(digest) for digest in facts.artifacts}
    return write_bundle(
        Bundle(
            log=to_lines(records),
            closing=sources.sign(checkpoint(records), CHECKPOINT_PAYLOAD),
            boundary=sources.boundary if facts.admitted is not None else None,
            public_key=sources.public_key,
            statement=envelope,
            commit=sources.commit if facts.sealed is not None else None,
            artifacts={digest: content for digest, content in found.items() if content is not None},
        )
    )


def without_bodies(
    content: bytes, records: Sequence[Record], sign: Callable[[bytes, str], bytes], public_key: bytes
) -> bytes:
    """The bundle of a run once the bodies of its model exchanges are removed, by records that say so.

    Errors: `EvidenceBroken` for a bundle of another log or of another key, which nothing can be made of.
    """
    bundle, lines = read_bundle(content), to_lines(records)
    if bundle.public_key is None or key_id(bundle.public_key) != key_id(public_key):
        raise EvidenceBroken("the bundle was signed with another key, so that its log cannot go on")
    if removal(records) is None or not lines.startswith(bundle.log):
        raise EvidenceBroken("the bundle holds another log, or nothing was removed")
    gone = _facts(records).bodies
    kept = {digest: blob for digest, blob in bundle.artifacts.items() if digest not in gone}
    closing = sign(checkpoint(records), CHECKPOINT_PAYLOAD)
    return write_bundle(replace(bundle, log=lines, closing=closing, artifacts=kept))


def verify(content: bytes, trusted_key: bytes) -> tuple[Finding, ...]:
    """Everything that can be said of a bundle file. All is well only when every finding is ok."""
    trusted = key_id(trusted_key)
    try:
        bundle = read_bundle(content)
    except EvidenceBroken as broken:
        return (Finding("bundle", False, broken.what),)
    records, broken_at = read_lines(bundle.log)
    findings = [
        Finding("bundle", True, f"{len(content)} bytes, nothing in it that does not belong there"),
        _key(bundle, trusted),
        Finding("chain", broken_at is None and bool(records), broken_at or f"{len(records)} records from the first on"),
        _closing(bundle, records, trusted_key),
    ]
    if not all(finding.ok for finding in findings):
        return (*findings, Finding("contents", False, "not looked at: the log is not to be trusted"))
    try:
        return (*findings, *_contents(bundle, records, trusted_key))
    except EvidenceBroken as broken:
        return (*findings, Finding("contents", False, broken.what))


def _key(bundle: Bundle, trusted: str) -> Finding:
    if bundle.public_key is None:
        return Finding("key", True, f"{trusted}, the key that you named")
    try:
        named = key_id(bundle.public_key)
    except EvidenceBroken as broken:
        return Finding("key", False, broken.what)
    if named != trusted:
        return Finding("key", False, f"the bundle comes with the key {named}; the one that you trust is {trusted}")
    return Finding("key", True, f"{trusted}, the key that you named")


def _closing(bundle: Bundle, records: Sequence[Record], trusted_key: bytes) -> Finding:
    """The checkpoint over the whole log: what finds a cut-off end, an addition, and a chain computed again."""
    if bundle.closing is None:
        return Finding("closing", False, "missing: nothing says where the log ends, or that it is this log")
    try:
        payload = open_envelope(bundle.closing, CHECKPOINT_PAYLOAD, trusted_key)
    except EvidenceBroken as broken:
        return Finding("closing", False, broken.what)
    if not records or payload != checkpoint(records):
        return Finding(
            "closing", False, "the signed checkpoint is not that of this log (another run, or cut or changed)"
        )
    return Finding("closing", True, f"signed over {len(records)} records of run {records[0].run}")


def _contents(bundle: Bundle, records: Sequence[Record], trusted_key: bytes) -> Iterator[Finding]:
    history = [e.from_json(record.event) for record in records]
    facts = gather(records[0].run, history)
    yield _end(records, facts)
    yield _boundary(bundle, facts)
    yield _artifacts(bundle, facts, removal(records))
    yield from _removed(records)
    if facts.sealed is None:
        yield _without_statement(bundle, facts)
        return
    yield _statement(bundle, records, facts.sealed, trusted_key)
    yield _order(history)
    yield _checks(facts, facts.sealed)
    yield from _old_tests(facts, history)
    yield from _commit(bundle, facts, facts.sealed, history)


def _end(records: Sequence[Record], facts: Facts) -> Finding:
    if not (ended := without_removal(records)) or ended[-1].event.get("kind") not in _LAST:
        return Finding("end", False, "the log does not end with the end of the run")
    outcome = facts.ended.outcome if facts.ended else "refused"
    reason = f" ({facts.stopped.reason})" if facts.stopped else ""
    return Finding("end", True, f"the run ended: {outcome}{reason}")


def _boundary(bundle: Bundle, facts: Facts) -> Finding:
    if facts.admitted is None:
        if bundle.boundary is None:
            return Finding("boundary", True, "none: no run was admitted")
        return Finding("boundary", False, "there is a boundary.yaml that nothing in the log names")
    if bundle.boundary is None:
        return Finding("boundary", False, "boundary.yaml is missing")
    if _digest(bundle.boundary) != facts.admitted.boundary:
        return Finding("boundary", False, "boundary.yaml is not the document that the run was admitted under")
    return Finding("boundary", True, f"{facts.admitted.boundary}, as admitted under")


def _removed(records: Sequence[Record]) -> Iterator[Finding]:
    """What a removal of bodies says of itself; silent without one."""
    told = [record for record in records if record.event.get("kind") == e.BodiesRemoved.kind]
    if not told:
        return
    last = removal(records)
    facts = _facts(records)
    if last is None or len(told) > 1 or len(facts.bodies) != last.event.get("bodies"):
        yield Finding("bodies", False, "the log says of other bodies, or in another place, that they were removed")
    elif last.time - records[-2].time < last.event["retention"]:
        yield Finding("bodies", False, "the bodies of model exchanges were removed before their time")
    else:
        yield Finding("bodies", True, f"{len(facts.bodies)} of model exchanges were {said(last)}")


def _artifacts(bundle: Bundle, facts: Facts, removed: Record | None) -> Finding:
    wrong = [digest for digest, content in bundle.artifacts.items() if _digest(content) != digest]
    if wrong:
        return Finding("artifacts", False, f"changed: {', '.join(wrong[:3])}")
    stray = sorted(set(bundle.artifacts) - set(facts.artifacts))
    if stray:
        return Finding("artifacts", False, f"not named in the log: {', '.join(stray[:3])}")
    missing = [digest for digest in facts.artifacts if digest not in bundle.artifacts]
    by_digest = _boundary(bundle, facts).ok and _exchanges_by_digest(bundle.boundary)
    withheld = facts.bodies if by_digest or removed is not None else frozenset()
    if removed is not None and (here := withheld & set(bundle.artifacts)):
        return Finding("artifacts", False, f"{len(here)} are here that the log says were removed")
    lost = [digest for digest in missing if digest not in withheld]
    if lost:
        return Finding("artifacts", False, f"{len(lost)} are missing: {', '.join(lost[:3])}")
    detail = f"{len(bundle.artifacts)} named in the log, all as they were"
    if missing:
        why = "as the boundary says" if by_digest else said(removed) if removed is not None else ""
        detail += f"; of {len(missing)} bodies of model exchanges only the digests are kept: {why}"
    return Finding("artifacts", True, detail)


def _exchanges_by_digest(boundary: bytes | None) -> bool:
    """Whether the boundary wants only digests of what models were told; called on a document whose digest is signed."""
    try:
        document = YAML(typ="safe", pure=True).load((boundary or b"").decode())
    except (YAMLError, ValueError, RecursionError):  # ValueError: `+_` is a number to the reader, and then is none
        return False
    logs = document.get("logs") if isinstance(document, dict) else None
    return isinstance(logs, dict) and logs.get("exchanges") == "digest"


def _without_statement(bundle: Bundle, facts: Facts) -> Finding:
    if bundle.statement is not None or bundle.commit is not None:
        return Finding("statement", False, "there is a statement or a commit, but the log says nothing of sealing one")
    if facts.pushed is not None or (facts.ended is not None and facts.ended.outcome in _PUBLISHED):
        return Finding("statement", False, "something was published without evidence")
    return Finding("statement", True, "none: the run ended before evidence was sealed; only its log is vouched for")


def _statement(bundle: Bundle, records: Sequence[Record], sealed: e.EvidenceSealed, trusted_key: bytes) -> Finding:
    """Signed by the trusted key, over this log up to the seal, and saying what the records say, no more, no less."""
    if bundle.statement is None:
        return Finding("statement", False, "statement.dsse.json is missing, but the log says that one was sealed")
    try:
        payload = open_envelope(bundle.statement, STATEMENT_PAYLOAD, trusted_key)
    except EvidenceBroken as broken:
        return Finding("statement", False, broken.what)
    if _digest(bundle.statement) != sealed.digest or key_id(trusted_key) != sealed.signer:
        return Finding("statement", False, "it is not the statement that the log says was sealed")
    covered = records[: sealed.records]
    if not covered or len(covered) != sealed.records or covered[-1].hash != sealed.head:
        return Finding("statement", False, "it does not name this log")
    if payload != statement(covered):
        return Finding("statement", False, "it says something else than the log")
    facts = _facts(covered)
    if facts.patch is None or (facts.patch.commit, facts.patch.tree) != (sealed.commit, sealed.tree):
        return Finding("statement", False, "the log says that another commit was sealed")
    return Finding("statement", True, f"signed, and equal to what the first {len(covered)} records say")


def _order(history: Sequence[e.Event]) -> Finding:
    """Published only after the seal, with a grant minted after it, and nothing of the work behind it."""
    sealed = max(place for place, event in enumerate(history) if isinstance(event, e.EvidenceSealed))
    for place, event in enumerate(history):
        minted = isinstance(event, e.GrantAsked | e.GrantMinted) and event.purpose == "publish"
        if place < sealed and (minted or isinstance(event, e.BranchPushed | e.PullRequestOpened)):
            return Finding("order", False, f"record {place}: {event.kind} before the evidence was sealed")
        if place > sealed and isinstance(event, _TOO_LATE):
            return Finding("order", False, f"record {place}: {event.kind} after the evidence was sealed")
    return Finding("order", True, "nothing was published before the seal, nothing was changed after it")


def _checks(facts: Facts, sealed: e.EvidenceSealed) -> Finding:
    """What was validated is what was sealed: `facts` holds only results on the tree of the patch."""
    if facts.patch is None or facts.patch.tree != sealed.tree or not facts.passed:
        return Finding("checks", False, f"the required checks did not all pass on tree {sealed.tree}")
    flaky = [one.name for one in facts.checks if one.flaky]
    detail = f"all required checks passed on tree {sealed.tree}"
    return Finding("checks", True, detail + (f"; came out both ways: {', '.join(flaky)}" if flaky else ""))


def _old_tests(facts: Facts, history: Sequence[e.Event]) -> Iterator[Finding]:
    """What is said of the base commit's tests was seen on the very tree that is named for it; silent without any."""
    ended = [event for event in history if isinstance(event, e.CheckEnded)]
    named = {event.replaced for event in history if isinstance(event, e.TestsReplaced)} - {""}
    strange = [one for one in ended if one.side not in SIDES]
    astray = [one for one in ended if one.side == BASE_TESTS and one.tree not in named]
    if strange:
        yield Finding("tests", False, f"check {strange[0].name} was run on {strange[0].side!r}, which is no side")
    elif astray:
        yield Finding("tests", False, f"check {astray[0].name} was run with old tests on a tree that nothing names")
    elif facts.replaced is not None and facts.replaced.replaced == facts.replaced.tree:
        yield Finding("tests", False, "the tests of the base commit were run on the change's own tree")
    elif facts.replaced is not None:
        results = {one.name: one.old_tests.passed for one in facts.checks if one.old_tests is not None}
        said = ", ".join(f"{name} {'passed' if passed else 'FAILED'}" for name, passed in results.items())
        fault = facts.replaced.fault or "no result"
        yield Finding("tests", True, f"the change touches tests; with those of the base commit: {said or fault}")


def _commit(bundle: Bundle, facts: Facts, sealed: e.EvidenceSealed, history: Sequence[e.Event]) -> Iterator[Finding]:
    raw = bundle.commit
    if raw is None:
        yield Finding("commit", False, "the commit object is missing")
        return
    if _object_id(raw, len(sealed.commit)) != sealed.commit or sealed.commit_object not in ("", _digest(raw)):
        yield Finding("commit", False, f"the commit object is not {sealed.commit}")
        return
    published = [event.commit for event in history if isinstance(event, e.BranchPushed | e.PullRequestOpened)]
    other = [commit for commit in published if commit != sealed.commit]
    if other:
        yield Finding("commit", False, f"{other[0]} was published, {sealed.commit} was sealed")
    else:
        how = "and published" if published else "but not published"
        yield Finding("commit", True, f"{sealed.commit} was sealed {how}")
    parents, tree = commits.parents_and_tree(raw)
    checkout = facts.checkout
    if tree != sealed.tree:
        yield Finding("tree", False, f"the commit's tree is {tree}, the validated tree is {sealed.tree}")
    elif checkout is None or parents != (checkout.start,):
        yield Finding("tree", False, f"the commit does not follow {checkout.start if checkout else 'a checkout'}")
    else:
        yield Finding("tree", True, f"the commit's tree is the validated tree, on {checkout.start}")
    yield _trailers(raw, facts)


def _trailers(raw: bytes, facts: Facts) -> Finding:
    admitted = facts.admitted
    if admitted is None:
        return Finding("trailers", False, "there is no admission to compare them with")
    wanted = {commits.RUN: facts.run, commits.TICKET: admitted.ticket, commits.BOUNDARY: admitted.boundary}
    named = commits.trailers(raw)
    wrong = [key for key, value in wanted.items() if named.get(key) != value]
    if wrong:
        return Finding("trailers", False, f"the commit names another {', '.join(wrong)}")
    return Finding("trailers", True, "the commit names this run, its ticket and its boundary")


def _object_id(raw: bytes, digits: int) -> str:
    """The id that git gives a commit: SHA-1 with 40 digits, SHA-256 with 64."""
    framed = b"commit %d\0" % len(raw) + raw
    if digits == 64:
        return hashlib.sha256(framed).hexdigest()
    return hashlib.sha1(framed, usedforsecurity=False).hexdigest()


def _facts(records: Sequence[Record]) -> Facts:
    run = records[0].run if records else ""
    return gather(run, (e.from_json(record.event) for record in records))


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
