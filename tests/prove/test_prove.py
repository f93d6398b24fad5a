"""`ringfence prove`: what holds is said to hold, what is broken is found, and nothing of the operator is touched."""

import json
import os
import re
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from careless import networked, showing

from ringfence.domain.boundary import Boundary
from ringfence.domain.errors import InputError
from ringfence.prove.claim import Proof, Verdict
from ringfence.prove.level import level_of
from ringfence.prove.sections import registries
from ringfence.prove.suite import SECTIONS, Report, prove
from ringfence.wiring import read_boundary
from worksite import Worksite

ROOT = os.geteuid() == 0
HOSTS = {
    "network.setup": [{"host": "*.packages.example.internal", "port": 443, "purpose": "registry"}],
    "network.validation": [
        {"host": "db.example.internal", "port": 5432, "purpose": "service", "cidrs": ["10.20.0.0/24"]}
    ],
}


def read(path: Path) -> tuple[Boundary, bytes]:
    return read_boundary(path)


def not_held(report: Report) -> dict[str, Proof]:
    return {f"{proof.section}: {proof.statement}": proof for proof in report.proofs if proof.verdict is Verdict.BROKEN}


def before(site: Worksite) -> set[str]:
    return {str(path) for path in site.root.rglob("*")}


def test_every_section_of_a_sound_boundary_holds_and_nothing_is_left(site: Worksite) -> None:
    site.state.mkdir(mode=0o700)
    there = before(site)
    page = site.root / "proof.html"
    done = site.ringfence("prove", "--json", "--html", str(page))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    said = json.loads(done.stdout)
    assert said["broken"] is False
    assert {proof["section"] for proof in said["proofs"]} == set(SECTIONS)
    verdicts = {(proof["section"], proof["verdict"]) for proof in said["proofs"]}
    # Of every section something was really tried, and every claim says what was seen.
    assert {section for section, verdict in verdicts if verdict == "holds"} == set(SECTIONS)
    assert all(proof["evidence"] for proof in said["proofs"])
    assert said["counts"]["allowed"]["holds"] >= 12
    assert said["counts"]["containment"]["holds"] >= (40 if ROOT else 36)
    why = [proof["evidence"] for proof in said["proofs"] if proof["section"] == "network"][-1]
    assert ("reached: none" if ROOT else "needs root") in why
    assert "inside checkout.location" in said["place"]
    assert before(site) - there == {str(page)}
    text = page.read_text()
    assert "must be stopped" in text
    assert "<script" not in text


def test_the_ways_out_of_a_boundary_are_proved_with_a_real_proxy(site: Worksite) -> None:
    boundary, text = read(site.boundary(HOSTS))
    report = prove(boundary, text, sections=["network"])
    assert not_held(report) == {}
    tried = {proof.statement: proof for proof in report.proofs}
    allowed = tried["setup reaches *.packages.example.internal:443"]
    others = tried["the proxy lets nothing else out during setup"]
    fetched = tried["setup fetches a git repository from *.packages.example.internal:443"]
    if not ROOT:
        assert {allowed.verdict, fetched.verdict} == {Verdict.UNTESTABLE}
        assert others.verdict is Verdict.HOLDS
        assert "loopback alone" in others.evidence and "root" in others.evidence
        return
    assert (allowed.verdict, others.verdict) == (Verdict.HOLDS, Verdict.HOLDS)
    assert fetched.verdict is Verdict.HOLDS
    assert fetched.benign and "by network.setup.*.packages.example.internal:443" in fetched.evidence
    assert "network.sni" in others.evidence
    assert "network.address" in tried["a host of setup that leads to a forbidden address is refused"].evidence
    assert "by its own name and port" in tried["validation reaches db.example.internal:5432"].evidence


def test_a_level_that_this_host_does_not_reach_is_broken(site: Worksite) -> None:
    reached = site.ringfence("prove", "--section", "approval", "--level", "confined")
    assert reached.returncode == 0, reached.stdout + reached.stderr
    assert "sandboxes of this host are confined or better" in reached.stdout
    assert "holds             must be stopped  sandboxes of this host" in reached.stdout
    highest = site.ringfence("prove", "--section", "approval", "--level", "separate")
    assert highest.returncode == (0 if ROOT and "cgroup:" in reached.stdout else 1), highest.stdout
    unknown = site.ringfence("prove", "--level", "perfect")
    assert (unknown.returncode, "confined, limited, separate" in unknown.stderr) == (2, True)
    boundary, text = read(site.boundary())
    assert prove(boundary, text, sections=["approval"], level="confined", make=networked).exit_code == 1


@pytest.mark.parametrize(
    ("left_out", "more", "level"),
    [
        ((), ("cgroup:v2", "uid:720001"), "separate"),
        ((), ("cgroup:v1", "uid:1500"), "limited"),
        ((), ("cgroup:v1", "uid:0"), "limited"),
        ((), ("cgroup:v1",), "limited"),
        ((), ("watch:memory,processes", "uid:720001"), "confined"),
        (("seccomp",), ("cgroup:v2", "uid:720001"), ""),
        (("netns:empty",), ("cgroup:v2", "uid:720001"), ""),
    ],
)
def test_a_level_is_what_the_controls_come_to(left_out: tuple[str, ...], more: tuple[str, ...], level: str) -> None:
    confined = {"namespaces:all", "no-capabilities", "seccomp", "netns:empty"}
    assert level_of([*confined.difference(left_out), *more], worker=1500) == level


def test_a_sandbox_that_shows_the_workers_state_is_broken(site: Worksite) -> None:
    boundary, text = read(site.boundary())
    report = prove(boundary, text, sections=["checkout", "commands", "secrets"], make=showing)
    assert report.exit_code == 1
    found = not_held(report)
    assert any(name.startswith("checkout: a sandbox sees nothing of") for name in found)
    assert any(name.startswith("commands: sandboxes of acme/tiny see") for name in found)
    assert any(name.startswith("secrets: nothing inside (agent)") for name in found)
    assert not any(proof.benign for proof in found.values()), "what is allowed still works"


@pytest.mark.skipif(not ROOT, reason="only root can make the network in which a shared one is safe to try")
def test_a_sandbox_that_shares_the_network_is_broken(site: Worksite) -> None:
    boundary, text = read(site.boundary())
    report = prove(boundary, text, sections=["network"], make=networked)
    assert report.exit_code == 1
    found = not_held(report)
    agent = found["network: agent reaches nothing and no address by itself"]
    assert "169.254.169.254" in agent.evidence
    assert "network: no command can reach the network" in found


def test_an_allowed_command_that_cannot_run_is_reported_as_blocked(site: Worksite) -> None:
    checks = [{"name": "test", "kind": "test", "run": ["no-such-program"], "timeout": "30s"}]
    site.boundary({"commands.repositories": {"acme/tiny": _commands(checks)}})
    done = site.ringfence("prove", "--section", "commands")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 was blocked" in done.stdout
    assert "not on PATH: ['no-such-program']" in done.stdout


def test_a_boundary_is_named_and_need_not_have_settings(site: Worksite, tmp_path: Path) -> None:
    document = site.boundary()
    missing = site.ringfence("prove", "--boundary", str(tmp_path / "none.yaml"))
    assert missing.returncode == 2
    done = site.ringfence("prove", "--boundary", str(document), "--section", "tickets", "--section", "approval")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "which cannot be written here" in done.stdout
    boundary, text = read(document)
    with pytest.raises(InputError, match="no section 'nothing'"):
        prove(boundary, text, sections=["nothing"])


def test_a_host_on_which_no_sandbox_can_be_made_proves_nothing(site: Worksite) -> None:
    site.boundary({"commands.toolchains": {"system": {"source": "/opt/no-such-tree", "target": "/usr"}}})
    done = site.ringfence("prove")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "a tree to mount cannot be opened" in done.stderr
    assert "holds" not in done.stdout


@pytest.mark.registry
def test_a_real_package_is_installed_through_the_proxy(site: Worksite) -> None:
    index = registries.configured().rstrip("/")
    try:
        with urllib.request.urlopen(f"{index}/iniconfig/", timeout=30) as page:
            found = re.findall(r'href="(https?://[^"]+)"', page.read().decode())
    except (OSError, ValueError) as error:
        pytest.skip(f"the package index of this machine is not reached: {error}")
    clients = {client.name: place for client, place in registries.places().items()}
    urls = map(urlsplit, (index, *found, *clients.values()))
    places = {(parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]) for parts in urls}
    rules = [{"host": host, "port": port, "purpose": "registry"} for host, port in sorted(places, key=str)]
    boundary, text = read(site.boundary({"network.setup": rules}))
    report = prove(boundary, text, sections=["network"])
    assert not_held(report) == {}
    real = {proof.statement.rpartition(" with ")[2]: proof for proof in report.proofs if " real " in proof.statement}
    assert real["pip"].verdict is Verdict.HOLDS
    for name in clients:
        print(real[name].verdict.value, real[name].evidence)
        assert real[name].verdict is Verdict.HOLDS or f"have no {name}" in real[name].evidence
    # Without the host that the files come from nothing is installed, and that is said to be blocked.
    poor, text = read(
        site.boundary({"network.setup": [rule for rule in rules if rule["host"] == urlsplit(index).hostname]})
    )
    if len(rules) > 1:
        report = prove(poor, text, sections=["network"])
        (blocked,) = not_held(report).values()
        assert blocked.benign
        assert "denied: [" in blocked.evidence


def _commands(checks: list[dict[str, object]]) -> dict[str, object]:
    return {"toolchains": ["system"], "path": ["/usr/bin"], "checks": checks}
