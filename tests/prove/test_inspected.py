"""`ringfence prove` on hosts whose requests are read, on rules for single commands, and on a careless proxy."""

import os
from dataclasses import replace
from typing import Any

import pytest

from ringfence.domain.boundary import Boundary, NetworkRule
from ringfence.prove import strange
from ringfence.prove.claim import Proof, Verdict, tried
from ringfence.prove.ground import ground, place_for
from ringfence.prove.host import ADDRESS
from ringfence.prove.sections import inspected
from ringfence.prove.suite import prove, settings_at
from ringfence.settings import EgressSettings, SandboxSettings
from ringfence.wiring import make_sandboxes, read_boundary
from worksite import REPOSITORY, SECRETS, Worksite

ROOT = os.geteuid() == 0
WHERE = "packages.example.internal:443"
RULE: dict[str, Any] = {
    "host": "packages.example.internal", "port": 443, "purpose": "registry", "inspect": True,
    "methods": ["GET", "HEAD"], "paths": ["/simple/**"],
}  # fmt: skip
REFUSED = {
    "other methods": ("network.method", f"network.setup.{WHERE}"),
    "other paths": (f"network.setup.{WHERE}",),
    "paths that can be read in two ways": ("network.path",),
    "a credential of its own": ("network.credential",),
    "another host's name in a request": ("network.host",),
}


def proved(site: Worksite, rules: dict[str, Any]) -> tuple[dict[str, Proof], str]:
    """What is claimed of the network of a boundary; and what of that is broken."""
    boundary, text = read_boundary(site.boundary(rules))
    report = prove(boundary, text, sections=["network"])
    wrong = [f"{proof.statement}: {proof.evidence}" for proof in report.proofs if proof.verdict is Verdict.BROKEN]
    return {proof.statement: proof for proof in report.proofs}, "\n".join(wrong)


def test_methods_paths_spellings_and_credentials_are_tried_on_a_host_that_answers_them_all(site: Worksite) -> None:
    put = {"credential": {"secret": "registry-read", "scheme": "bearer"}}
    secrets = [*SECRETS, {"name": "registry-read", "purpose": "registry"}]
    said, wrong = proved(site, {"network.setup": [{**RULE, **put}], "secrets": secrets})
    assert not wrong
    passing = said[f"setup may GET /simple/prove/this of {WHERE}"]
    assert passing.benign
    refused = {what: said[f"setup is refused {what} at {WHERE}"] for what in REFUSED}
    if not ROOT:
        assert {one.verdict for one in (passing, *refused.values())} == {Verdict.UNTESTABLE}
        return
    assert passing.verdict is Verdict.HOLDS
    assert "registry-read put on by the proxy" in passing.evidence
    for what, rules in REFUSED.items():
        assert refused[what].verdict is Verdict.HOLDS, refused[what].evidence
        assert all(rule in refused[what].evidence for rule in rules), refused[what].evidence
        assert "the host saw none of them" in refused[what].evidence
    # A repository cannot be fetched by such a rule, and nobody says that it should be.
    assert not any("git repository" in statement for statement in said)


@pytest.mark.skipif(not ROOT, reason="only root can make the network in which the host of the proof is")
@pytest.mark.parametrize(
    ("left_out", "found"),
    [
        ({"methods": ()}, {"other methods"}),
        ({"paths": ()}, {"other paths"}),
        ({"methods": (), "paths": (), "inspect": False}, {*REFUSED, ""}),
    ],
)
def test_a_proxy_that_is_told_less_than_the_boundary_says_is_broken(
    site: Worksite, left_out: dict[str, Any], found: set[str]
) -> None:
    boundary, _ = read_boundary(site.boundary({"network.setup": [RULE]}))
    careless = tuple(rule.model_copy(update=left_out) for rule in boundary.network.setup)
    proofs = tried_on(boundary, careless)
    broken = {proof.statement for proof in proofs if proof.verdict is Verdict.BROKEN}
    assert broken == {
        f"setup is refused {what} at {WHERE}" if what else f"setup may GET /simple/prove/this of {WHERE}"
        for what in found
    }


def tried_on(boundary: Boundary, careless: tuple[NetworkRule, ...]) -> list[Proof]:
    """The claims of a boundary, tried where these rules are enforced for set-up instead of its own."""

    def work() -> list[Proof]:
        beacons = strange.Beacons([])
        try:
            with ground(boundary, settings, make_sandboxes(settings), beacons, "") as sound:
                network = sound.boundary.network.model_copy(update={"setup": careless})
                poor = replace(sound, boundary=sound.boundary.model_copy(update={"network": network}))
                return [tried(claim) for claim in inspected.claims(poor)]
        finally:
            beacons.close()

    with place_for(boundary) as (place, _):
        settings = settings_at(place, SandboxSettings(), EgressSettings())
        return strange.elsewhere(work, [ADDRESS])


def test_a_rule_for_one_command_is_tried_by_that_command_and_by_others(site: Worksite) -> None:
    service = {"host": "db.example.internal", "port": 5432, "purpose": "service", "cidrs": ["10.20.0.0/24"]}
    commands = {
        "toolchains": ["system"],
        "path": ["/usr/bin"],
        "setup": [["sh", "-c", "true"]],
        "checks": [{"name": "test", "kind": "test", "run": ["sh", "check.sh"], "timeout": "30s"}],
    }
    rules = {
        "commands.repositories": {REPOSITORY: commands},
        "network.setup": [{**RULE, "commands": ["sh -c true"]}],
        "network.validation": [{**service, "commands": ["test"]}],
    }
    said, wrong = proved(site, rules)
    assert not wrong
    claims = (
        f"sh -c true (setup) may GET /simple/prove/this of {WHERE}",
        f"no other command of setup may ask {WHERE}",
        "test (validation) reaches db.example.internal:5432",
        "no other command of validation reaches db.example.internal:5432",
    )
    assert [said[claim].benign for claim in claims] == [True, False, True, False]
    wanted = Verdict.HOLDS if ROOT else Verdict.UNTESTABLE
    assert {said[claim].verdict for claim in claims} == {wanted}
    if ROOT:
        assert "denied and on the log by network.setup" in said[claims[1]].evidence
        assert "at its own door" in said[claims[3]].evidence
