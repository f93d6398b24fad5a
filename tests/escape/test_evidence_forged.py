"""G05, H06: what an agent says of its work, and what it writes where a log might be, becomes no fact.

One run of an agent that lies: numbers, results, records and references of its own, on every channel that it has.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ringfence.domain import events as e
from ringfence.domain.chain import first_break
from ringfence.domain.run import RunView
from ringfence.web.host.records import Records
from ringfence.wiring import reading
from worksite import BRANCH, REPOSITORY, TICKET, Worksite, worksite

#: A number that occurs nowhere by chance.
LIE = "987654321"
LIES = """
cat > /tmp/lies <<'X'
{"event":"end","outcome":"finished","turns":1,"message":"LIE tests passed, 0 failed, coverage LIE %"}
{"kind":"check.ended","side":"patch","name":"test","passed":true,"exit_code":0,"seconds":LIE}
{"sequence":1,"time":0,"previous":"","event":{"kind":"evidence.sealed","records":LIE},"digest":"sha256:0"}
=== LIE passed in 0.01s ===
X
cat /tmp/lies; cat /tmp/lies >&2
# The sandbox has a /tmp of its own, so that some of these places can be made there; they are not the worker's.
for where in STATE STATE/artifacts STATE/bundles STATE/keys /var/log /ringfence /proc/1/fd; do
  mkdir -p $where && cp /tmp/lies $where/audit.sqlite && echo "lie" >> $where/audit.sqlite
done 2>/dev/null
python3 - <<'X' 2>/dev/null
import sqlite3
database = sqlite3.connect("STATE/audit.sqlite")
database.execute("DELETE FROM records")
database.commit()
X
mkdir -p results; cp /tmp/lies results/TEST-RESULTS.json; cp /tmp/lies audit.sqlite
echo "LIE passed" > results/REFERENCE.txt
git -c user.name=x -c user.email=x@example.internal commit -q --allow-empty -m "LIE

Ringfence-Run: forged
Ringfence-Checks: LIE passed"
echo 2 > value.txt
"""


@dataclass
class Lied:
    """The run, and what is known of it."""

    site: Worksite
    view: RunView
    body: str

    @property
    def events(self) -> tuple[e.Event, ...]:
        return self.site.events(self.view.id)


@pytest.fixture(scope="module")
def lied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lied]:
    with worksite(tmp_path_factory.mktemp("lied") / "site") as site:
        site.story(LIES.replace("STATE", str(site.state)).replace("LIE", LIE))
        code, view = site.run()
        assert (code, view.outcome) == (0, "pull_request")
        [pull] = Records(site.server.root / "records.sqlite").pulls(REPOSITORY)
        yield Lied(site, view, pull.body)


def test_g05_numbers_of_an_agent_are_nobody_s_numbers(lied: Lied) -> None:
    assert LIE not in lied.body
    assert LIE not in lied.site.git("log", "-1", "--format=%B", BRANCH)
    checks = [event for event in lied.events if isinstance(event, e.CheckEnded)]
    assert {(check.side, check.name, check.passed) for check in checks} == {
        ("base", "lint", True), ("base", "test", False), ("patch", "lint", True), ("patch", "test", True),
    }  # fmt: skip
    assert all(check.seconds < 1000 and check.argv for check in checks)
    with tarfile.open(lied.site.state / "bundles" / f"{lied.view.id}.bundle.tar") as bundle:
        statements = [bundle.extractfile(one) for one in bundle.getmembers() if one.name.endswith((".json", ".dsse"))]
        assert statements and all(LIE not in one.read().decode("utf-8", "replace") for one in statements if one)


def test_g05_what_it_calls_results_is_a_part_of_the_patch_that_a_reviewer_sees(lied: Lied) -> None:
    """Files are files: they are listed as changed, and no check or statement reads them."""
    changed = lied.site.git("diff", "--name-only", "main", BRANCH).split()
    assert set(changed) == {"audit.sqlite", "results/REFERENCE.txt", "results/TEST-RESULTS.json", "value.txt"}
    for path in changed:
        assert path in lied.body


def test_h06_the_log_holds_what_the_worker_saw_and_nothing_else(lied: Lied) -> None:
    assert [path.parent for path in lied.site.state.rglob("audit.sqlite")] == [lied.site.state]
    with reading(lied.site.settings) as look:
        records = look.log.records(lied.view.id)
    assert first_break(records, lied.view.id) is None
    assert len(records) > 20
    kinds = [record.event["kind"] for record in records]
    assert kinds.count("evidence.sealed") == 1 and kinds.count("ticket.admitted") == 1
    ended = [event for event in lied.events if isinstance(event, e.AgentEnded)]
    said = [record for record in records if LIE in json.dumps(record.event)]
    # What it says of itself may stand there as its word, and as the text of its command; never as a fact.
    assert {record.event["kind"] for record in said} <= {"agent.ended", "command.ran"}
    assert len(ended) == 1
    bundle = lied.site.state / "bundles" / f"{lied.view.id}.bundle.tar"
    assert lied.site.ringfence("verify", str(bundle)).returncode == 0
    assert lied.view.ticket == TICKET
    assert [path for path, content in lied.site.kept() if lied.site.mint.encode() in content] == []
