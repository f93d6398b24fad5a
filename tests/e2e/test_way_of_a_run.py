"""The way of a run, by the commands a person types."""

import json
import time
from dataclasses import asdict

from ringfence.domain import events as e
from worksite import BRANCH, REPOSITORY, TICKET, Worksite


def test_a_ticket_becomes_a_pull_request_with_evidence(site: Worksite) -> None:
    code, view = site.run()
    assert (code, view.outcome) == (0, "pull_request")
    refs = site.refs()
    assert set(refs) == {"refs/heads/main", f"refs/heads/{BRANCH}"}
    assert refs[f"refs/heads/{BRANCH}"] == view.commit
    assert site.git("show", f"{BRANCH}:value.txt") == "2"
    bundle = site.state / "bundles" / f"{view.id}.bundle.tar"
    verified = site.ringfence("verify", str(bundle))
    assert verified.returncode == 0, verified.stdout
    assert "the commit's tree is the validated tree" in verified.stdout
    assert list((site.state / "runs").iterdir()) == []


def test_failing_checks_are_handed_back_and_reported_before_and_after(site: Worksite) -> None:
    _code, view = site.run()
    events = site.events(view.id)
    ended = [(c.side, c.attempt, c.name, c.passed) for c in events if isinstance(c, e.CheckEnded)]
    assert ended == [
        ("base", 0, "lint", True),
        ("base", 0, "test", False),
        ("patch", 1, "lint", True),
        ("patch", 1, "test", False),
        ("patch", 2, "lint", True),
        ("patch", 2, "test", True),
    ]
    assert [r.failing for r in events if isinstance(r, e.RepairRequested)] == [("test",)]
    validated = {c.tree for c in events if isinstance(c, e.CheckEnded) and c.attempt == 2}
    assert validated == {site.git("rev-parse", f"{BRANCH}^{{tree}}")}


def test_a_second_run_goes_on_from_the_branch_and_updates_the_pull_request(site: Worksite) -> None:
    _code, first = site.run()
    site.story("echo 2 > value.txt; echo more > more.txt")
    code, second = site.run()
    assert (code, second.outcome, second.id) == (0, "pull_request", f"{TICKET}-r2")
    assert second.pull_request == first.pull_request
    assert site.git("rev-parse", f"{BRANCH}^") == first.commit
    opened = [event.created for event in site.events(second.id) if isinstance(event, e.PullRequestOpened)]
    assert opened == [False]


def test_an_edited_title_stays_on_the_branch_of_the_ticket(site: Worksite) -> None:
    _code, first = site.run()
    site.ticket(title="Quite another title")
    site.story("echo 2 > value.txt; echo more > more.txt")
    code, second = site.run()
    assert (code, second.branch, second.pull_request) == (0, BRANCH, first.pull_request)
    assert set(site.refs()) == {"refs/heads/main", f"refs/heads/{BRANCH}"}


def test_a_branch_of_that_name_without_the_ticket_is_not_taken_over(site: Worksite) -> None:
    site.git("branch", BRANCH, "main")
    code, view = site.run()
    assert (code, view.outcome, view.reason) == (7, "stopped", "branch_taken")


def test_a_merged_pull_request_ends_its_ticket(site: Worksite) -> None:
    _code, first = site.run()
    site.merge(int(first.pull_request.rsplit("/", 1)[1]))
    code, second = site.run()
    assert (code, second.reason) == (7, "pull_request_ended")


def test_cancel_ends_a_run_within_seconds_and_cleans_up(site: Worksite) -> None:
    site.story("sleep 300")
    running = site.start("run", TICKET)
    site.until_at_work(running)
    time.sleep(1)
    assert site.ringfence("cancel", f"{TICKET}-r1").returncode == 0
    assert running.wait(30) == 6
    events = site.events(f"{TICKET}-r1")
    asked = [record for record in events if isinstance(record, e.CancelRequested)]
    assert len(asked) == 1
    assert isinstance(events[-1], e.RunEnded) and events[-1].outcome == "cancelled"
    assert list((site.state / "runs").iterdir()) == []


def test_doctor_attacks_the_sandbox_and_looks_at_everything(site: Worksite) -> None:
    done = site.ringfence("doctor", "--json")
    assert done.returncode == 0, done.stdout
    shown = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert {"tickets", "code host", "model gateway", "sandbox", "boundary"} <= set(shown)
    (site.root / "secrets" / "mint").chmod(0o644)
    broken = site.ringfence("doctor")
    assert broken.returncode == 3
    assert "chmod 600" in broken.stdout


def test_checks_that_never_pass_stop_the_run_and_publish_nothing(site: Worksite) -> None:
    site.story("echo 3 > value.txt", "echo 4 > value.txt", "echo 5 > value.txt")
    code, view = site.run()
    assert (code, view.outcome, view.reason) == (7, "stopped", "checks_failed")
    assert set(site.refs()) == {"refs/heads/main"}
    bundle = site.state / "bundles" / f"{view.id}.bundle.tar"
    assert site.ringfence("verify", str(bundle)).returncode == 0, "a stopped run has evidence too"


def test_a_refused_ticket_is_left_alone_and_names_the_rule(site: Worksite) -> None:
    path = site.ticket(type="feature")
    before = path.read_bytes()
    done = site.ringfence("run", TICKET)
    assert done.returncode == 8
    assert "tickets.types" in done.stdout
    assert path.read_bytes() == before
    assert [view.outcome for view in site.views()] == ["refused"]


def test_stage_observe_writes_a_brief_and_calls_no_model(site: Worksite) -> None:
    site.boundary({"repositories.0.stage": "observe"})
    code, view = site.run()
    assert (code, view.outcome) == (0, "brief")
    assert not [event for event in site.events(view.id) if isinstance(event, e.ModelCalled | e.ModelAsked)]
    assert set(site.refs()) == {"refs/heads/main"}


def test_stage_branch_pushes_and_opens_no_pull_request(site: Worksite) -> None:
    site.boundary({"repositories.0.stage": "branch"})
    code, view = site.run()
    assert (code, view.outcome, view.pull_request) == (0, "branch", "")
    assert f"refs/heads/{BRANCH}" in site.refs()


def test_context_shows_the_brief_without_changing_anything(site: Worksite) -> None:
    done = site.ringfence("context", TICKET, "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    kinds = {part["kind"]: part["trust"] for part in shown["parts"]}
    assert kinds["ticket"] == "untrusted"
    assert kinds["instructions"] == "base"
    assert "The value stands in value.txt." in shown["text"]
    assert set(site.refs()) == {"refs/heads/main"}
    assert site.ringfence("runs", "--json").stdout == "[]\n"
    assert site.ringfence("worker", "--once").returncode == 0
    assert [view.outcome for view in site.views()] == ["pull_request"], "a look at the brief does not use the ticket up"


def test_the_worker_takes_each_ticket_once_as_it_stands(site: Worksite) -> None:
    site.ticket("T-2", title="Another")
    for _ in range(2):
        done = site.ringfence("worker", "--once", "--json")
        assert done.returncode == 0, done.stderr
    assert sorted(view.id for view in site.views()) == ["T-1-r1", "T-2-r1"]
    assert {view.outcome for view in site.views()} == {"pull_request"}


def test_an_unreadable_ticket_stops_no_other(site: Worksite) -> None:
    (site.root / "tickets" / "T-0.md").write_text("no front matter\n")
    done = site.ringfence("worker", "--once")
    assert done.returncode == 0
    assert "T-0.md" in done.stderr
    assert [view.outcome for view in site.views()] == ["pull_request"]


def test_logs_and_show_say_the_same_as_the_log(site: Worksite) -> None:
    _code, view = site.run()
    shown = json.loads(site.ringfence("show", view.id, "--json").stdout)
    calls = json.loads(site.ringfence("show", view.id, "--models", "--json").stdout)
    assert [one["attributes"]["gen_ai.usage.input_tokens"] for one in calls] == [
        event.input_tokens for event in site.events(view.id) if isinstance(event, e.ModelCalled)
    ]
    assert calls[0]["attributes"]["gen_ai.request.model"] in site.ringfence("show", view.id, "--models").stdout
    assert shown["commit"] == view.commit
    assert [check["name"] for check in shown["checks"]] == ["lint", "test"] * 3
    records = [json.loads(line) for line in site.ringfence("logs", view.id, "--json").stdout.splitlines()]
    assert [record["sequence"] for record in records] == list(range(len(records)))
    assert records[-1]["event"] == {
        "kind": "run.ended",
        **asdict(e.RunEnded("pull_request", records[-1]["event"]["seconds"])),
    }


def test_a_changed_boundary_stops_a_run_that_began_under_another(site: Worksite) -> None:
    """Approve once, exploit for ever: a run goes on only under the document that it was admitted under."""
    running = site.start("run", TICKET)
    site.until_at_work(running)
    running.kill()
    running.wait()
    site.boundary({"limits.run.attempts": 5})
    code, view = site.run()
    assert (code, view.outcome, view.reason) == (7, "stopped", "boundary_changed")
    assert set(site.refs()) == {"refs/heads/main"}
    assert view.repository == REPOSITORY
