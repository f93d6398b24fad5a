"""What models were told and answered goes before the log does; what is signed of the run stays true."""

import json
import os
from pathlib import Path

import pytest

from ringfence.adapters.artifacts.directory import DirectoryArtifacts
from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.adapters.signers.local_key import LocalKey
from ringfence.domain import events as e
from ringfence.domain.boundary import Logs
from ringfence.domain.bundle import read_bundle
from ringfence.domain.facts import gather
from ringfence.pipeline.archive import Archive
from ringfence.pipeline.ports import Places
from worksite import Worksite

DAY = 86_400
LOGS = Logs.model_validate(
    {"retention": "90d", "bodies": "14d", "readers": ["Kim"], "access": "owner", "exchanges": "full", "redaction": {}}
)
DOCUMENT = "sha256:" + "b" * 64


class Later(SystemClock):
    """The clock of the machine, some days on."""

    def __init__(self, days: float) -> None:
        self._ahead = days * DAY

    def now(self) -> float:
        """Seconds since the epoch."""
        return super().now() + self._ahead


def archive(site: Worksite, days: float) -> Archive:
    clock = Later(days)
    return Archive(
        Places(site.state),
        SqliteAuditLog(site.state / "audit.sqlite", clock=clock, redact=lambda text: text),
        DirectoryArtifacts(site.state / "artifacts", redact=lambda content: content),
        LocalKey(site.state / "keys"),
        clock,
    )


def bundle(site: Worksite, run: str) -> Path:
    return site.state / "bundles" / f"{run}.bundle.tar"


def stored(site: Worksite) -> set[str]:
    return {f"sha256:{path.name}" for path in (site.state / "artifacts").rglob("*") if path.is_file()}


def test_bodies_go_after_their_time_and_everything_signed_stays_true(site: Worksite) -> None:
    _code, view = site.run()
    facts = gather(view.id, site.events(view.id))
    before, statement = bundle(site, view.id).read_bytes(), facts.sealed
    assert facts.bodies and facts.bodies <= stored(site) & set(read_bundle(before).artifacts)

    early = archive(site, 13.9)
    assert early.remove_bodies(LOGS, DOCUMENT) == ((), ())
    early.collect()
    assert facts.bodies <= stored(site)

    late = archive(site, 14.1)
    assert late.remove_bodies(LOGS, DOCUMENT) == ((view.id,), ())
    assert late.collect() == len(facts.bodies)
    assert facts.bodies.isdisjoint(stored(site))
    assert set(facts.artifacts) - facts.bodies <= stored(site)
    assert archive(site, 15).remove_bodies(LOGS, DOCUMENT) == ((), ())

    after = bundle(site, view.id).read_bytes()
    assert set(read_bundle(before).artifacts) - set(read_bundle(after).artifacts) == facts.bodies
    verified = site.ringfence("verify", str(bundle(site, view.id)))
    assert verified.returncode == 0, verified.stdout
    assert "under the boundary's retention of 14d" in verified.stdout
    kept = site.root / "kept.tar"
    kept.write_bytes(before)
    assert site.ringfence("verify", str(kept)).returncode == 0, "a bundle that was handed over before holds as it is"
    again = gather(view.id, site.events(view.id))
    assert (again.sealed, again.pushed) == (statement, facts.pushed)
    assert site.views()[0].outcome == "pull_request"
    assert "bodies.removed" in site.ringfence("logs", view.id).stdout


def test_a_removed_body_is_told_from_one_that_somebody_took_away(site: Worksite) -> None:
    _code, view = site.run()
    call = next(event for event in site.events(view.id) if isinstance(event, e.ModelCalled))
    shown = site.ringfence("show", view.id, "--content", call.request, "--json")
    assert "recorded-test" in json.loads(shown.stdout)["content"]

    blob = site.state / "artifacts" / call.request[7:9] / call.request[7:]
    content = blob.read_bytes()
    blob.unlink()
    assert "does not have" in site.ringfence("show", view.id, "--content", call.request).stderr
    blob.write_bytes(content + b" ")
    assert "was changed" in site.ringfence("show", view.id, "--content", call.request).stderr

    late = archive(site, 15)
    late.remove_bodies(LOGS, DOCUMENT)
    late.collect()
    assert not blob.exists()
    said = site.ringfence("show", view.id, "--content", call.request)
    assert said.returncode != 0
    assert "removed on" in said.stderr and "under the boundary's retention of 14d" in said.stderr
    assert "does not name" in site.ringfence("show", view.id, "--content", "sha256:" + "0" * 64).stderr


def test_a_sweep_that_was_cut_off_is_finished_by_the_next(site: Worksite) -> None:
    _code, view = site.run()
    facts = gather(view.id, site.events(view.id))
    late = archive(site, 15)
    late.log.append(view.id, e.BodiesRemoved(len(facts.bodies), 14 * DAY, DOCUMENT), once=e.BodiesRemoved.kind)
    assert site.ringfence("verify", str(bundle(site, view.id))).returncode == 0, "it is of the log as it was"
    unfinished = bundle(site, view.id).with_name(f".{view.id}.bundle.tar.4711")
    unfinished.write_bytes(b"half of it")
    assert late.remove_bodies(LOGS, DOCUMENT) == ((), ())
    late.collect()
    assert not unfinished.exists()
    assert facts.bodies.isdisjoint(stored(site) | set(read_bundle(bundle(site, view.id).read_bytes()).artifacts))
    assert site.ringfence("verify", str(bundle(site, view.id))).returncode == 0


def test_a_bundle_loses_its_bodies_also_when_the_store_has_lost_them_before(site: Worksite) -> None:
    _code, view = site.run()
    facts = gather(view.id, site.events(view.id))
    for digest in facts.bodies:
        (site.state / "artifacts" / digest[7:9] / digest[7:]).unlink()
    assert archive(site, 15).remove_bodies(LOGS, DOCUMENT) == ((view.id,), ())
    assert facts.bodies.isdisjoint(read_bundle(bundle(site, view.id).read_bytes()).artifacts)
    digests_alone = LOGS.model_copy(update={"exchanges": "digest"})
    assert archive(site, 16).remove_bodies(digests_alone, DOCUMENT) == ((), ())


def test_a_body_that_a_younger_run_has_too_stays_for_that_run(site: Worksite) -> None:
    _code, view = site.run()
    call = next(event for event in site.events(view.id) if isinstance(event, e.ModelCalled))
    late = archive(site, 15)
    late.log.append("INV-8-r1", call)
    late.remove_bodies(LOGS, DOCUMENT)
    late.collect()
    assert call.request in stored(site)
    assert "removed on" in site.ringfence("show", view.id, "--content", call.request).stderr
    assert call.request not in read_bundle(bundle(site, view.id).read_bytes()).artifacts


def test_a_bundle_of_an_earlier_key_is_named_and_left(site: Worksite) -> None:
    _code, view = site.run()
    for name in ("evidence.pem", "evidence.pub"):
        (site.state / "keys" / name).rename(site.root / name)
    before = bundle(site, view.id).read_bytes()
    removed, left = archive(site, 15).remove_bodies(LOGS, DOCUMENT)
    assert removed == (view.id,)
    assert len(left) == 1 and "another key" in left[0] and view.id in left[0]
    assert bundle(site, view.id).read_bytes() == before


def test_the_log_goes_by_the_end_of_the_run_and_its_blobs_go_with_it(site: Worksite) -> None:
    _code, view = site.run()
    late = archive(site, 89)
    late.remove_bodies(LOGS, DOCUMENT)  # a record that is younger than the run
    late.log.append("context-1", e.CheckoutRemoved(1))  # 89 days on: a preview, which no worker carries
    assert archive(site, 89.9).forget(LOGS) == ()
    last = archive(site, 90.1)
    assert last.forget(LOGS) == (view.id,)
    assert archive(site, 179.1).forget(LOGS) == ("context-1",)
    last.collect()
    assert stored(site) == set()
    assert not bundle(site, view.id).exists()


def test_what_was_stored_just_now_is_not_collected_before_it_is_named(tmp_path: Path) -> None:
    store = DirectoryArtifacts(tmp_path, redact=lambda content: content)
    old, fresh = store.put(b"old"), store.put(b"fresh")
    for digest in (old, fresh):
        os.utime(tmp_path / digest[7:9] / digest[7:], (1000, 1000))
    store.put(b"fresh")  # again: somebody is about to name it
    assert store.sweep(frozenset(), SystemClock().now() - 3600) == 1
    assert store.get(fresh) == b"fresh"
    with pytest.raises(Exception, match="does not have"):
        store.get(old)


def test_what_an_unfinished_run_has_stored_is_not_collected_however_long_it_takes(tmp_path: Path) -> None:
    later = Later(2)
    log = SqliteAuditLog(tmp_path / "audit.sqlite", clock=SystemClock(), redact=lambda text: text)
    store = DirectoryArtifacts(tmp_path / "artifacts", redact=lambda content: content)
    kept = Archive(Places(tmp_path), log, store, LocalKey(tmp_path / "keys"), later)
    log.append("T-1-r1", e.RunStarted("worker", "1", "confined", False))
    unnamed = store.put(b"an answer that the run may name yet")
    assert kept.collect() == 0
    log.append("T-1-r1", e.RunEnded("stopped", 1.0))
    assert kept.collect() == 1
    with pytest.raises(Exception, match="does not have"):
        store.get(unnamed)
    log.close()
