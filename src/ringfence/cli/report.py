"""The report of one run on a screen: outcome, checks, what left the sandbox, evidence."""

import time
from collections.abc import Sequence
from dataclasses import asdict

from ringfence.cli.screen import moment, place, plain, program, show_json, table
from ringfence.domain import events as e
from ringfence.domain.checks import BASE_TESTS
from ringfence.domain.events import Event, from_json
from ringfence.domain.facts import Facts, gather
from ringfence.domain.run import RunView
from ringfence.domain.telemetry import attributes
from ringfence.pipeline.archive import content
from ringfence.wiring import Reading


def show_run(look: Reading, run: str, *, json: bool) -> None:
    """Print what the log says of a run."""
    view, history = look.view(run), look.events(run)
    bundle = look.places.bundle(run)
    if json:
        checks = [asdict(event) for event in history if isinstance(event, e.CheckEnded)]
        left = [asdict(event) for event in history if isinstance(event, e.ModelCalled | e.EgressDecided)]
        layers = [{"kind": one.kind, **asdict(one)} for one in gather(run, history).layers]
        show_json(
            {
                **asdict(view),
                "setup": layers,
                "configuration": [
                    {"kind": one.kind, **asdict(one)}
                    for one in history
                    if isinstance(one, e.ConfigurationHidden | e.ConfigurationRechecked)
                ],
                "checks": checks,
                "left": left,
                "bundle": str(bundle) if bundle.exists() else None,
            }
        )
        return
    for name, value in _facts(view):
        print(f"{name:<14} {plain(value)}")
    for one in gather(run, history).layers:
        how = "reused" if isinstance(one, e.LayerUsed) else "made"
        print(f"{'set-up':<14} layer {one.layer} {how}, {one.files} files, {one.size} bytes, {one.seconds:.1f} s")
    for line in _steering(gather(run, history)):
        print(f"{'agents obey':<14} {plain(line)}")
    rows = check_rows(history)
    if rows:
        print()
        table(("check", "command", "before", "after", "seconds"), rows)
    print()
    for line in left_the_sandbox(history):
        print(plain(line))
    if bundle.exists():
        key = look.places.state / "keys" / "evidence.pub"
        print(f"\nevidence       {place(bundle)}")
        print(f"verify         {program()} verify {place(bundle)} --key {place(key)}")


def _steering(facts: Facts) -> list[str]:
    """What of the repository the agent was not shown, and what of such the patch touches."""
    hidden, after = facts.hidden, facts.rechecked
    lines = []
    if hidden is not None and hidden.count + hidden.made_count:
        lines.append(f"{hidden.count} files hidden from {hidden.agent}, and {hidden.made_count} that set-up had made")
    if hidden is not None and after is not None and after.compared:
        lines.append(f"{after.unchanged} of {after.compared} came out as they were")
    if after is not None and after.changed_count:
        lines.append(f"{after.changed_count} changed by the patch, to review: {', '.join(after.changed)}")
    return lines


def show_network(look: Reading, run: str, *, json: bool) -> None:
    """Print every attempt to leave by the network, allowed and denied."""
    look.view(run)
    records = [(record.time, from_json(record.event)) for record in look.log.records(run)]
    tried = [(when, event) for when, event in records if isinstance(event, e.EgressDecided)]
    if json:
        show_json([{"time": when, **asdict(event)} for when, event in tried])
        return
    if not tried:
        print("nothing tried to leave by the network")
        return
    head = ("time", "phase", "command", "method", "destination", "decision", "out", "in", "seconds", "rule or reason")
    table(head, [_tried(when, event) for when, event in tried])


def show_models(look: Reading, run: str, *, json: bool) -> None:
    """Print every call to a model; as JSON with the attribute names of OpenTelemetry."""
    open_calls = look.view(run).calls.open
    records = [(record.time, from_json(record.event)) for record in look.log.records(run)]
    calls = [
        (when, attributes(event))
        for when, event in records
        if isinstance(event, e.ModelCalled) or (isinstance(event, e.ModelAsked) and event in open_calls)
    ]
    if json:
        show_json([{"time": when, "attributes": one} for when, one in calls])
        return
    if not calls:
        print("no model was asked")
        return
    names = ("ringfence.call", "gen_ai.provider.name", "gen_ai.request.model", "ringfence.decision",
             "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "error.type")  # fmt: skip
    head = ("time", "call", "provider", "model", "decision", "in", "out", "error")
    table(head, [(moment(when), *(str(one.get(name, "")) for name in names)) for when, one in calls])


def show_content(look: Reading, run: str, digest: str, *, json: bool) -> None:
    """Print what the log of a run names by a digest: redacted when it was stored, and without control characters."""
    look.view(run)
    text = content(look.log, look.artifacts, run, digest).decode("utf-8", "backslashreplace")
    if json:
        show_json({"run": run, "digest": digest, "content": text})
        return
    for line in text.splitlines():
        print(plain(line))


def _tried(when: float, one: e.EgressDecided) -> tuple[str, ...]:
    where = one.destination + one.path + (f" ({one.address})" if one.address else "")
    why = one.rule + (f" with {one.credential}" if one.credential else "") + (f": {one.reason}" if one.reason else "")
    size = (str(one.sent), str(one.received), f"{one.seconds:.2f}")
    return (moment(when), one.phase, one.command[:40], one.method, where, one.decision, *size, why)


def show_end(look: Reading, run: str, *, json: bool) -> int:
    """Print how a run ended, once its bundle is written; the exit code of the command."""
    for _ in range(300):  # another worker writes the bundle right after the last record
        if look.places.bundle(run).exists():
            break
        time.sleep(0.1)
    if not json:
        print()
    show_run(look, run, json=json)
    outcome = look.view(run).outcome
    return {"refused": 8, "cancelled": 6, "stopped": 7}.get(outcome, 0)


def check_rows(history: Sequence[Event]) -> list[tuple[str, ...]]:
    """The last report beside the one on the base commit."""
    ended = [event for event in history if isinstance(event, e.CheckEnded)]
    before = {event.name: event for event in ended if event.side == "base"}
    last = max((event.attempt for event in ended if event.side == "patch"), default=0)
    after = {event.name: event for event in ended if event.side == "patch" and event.attempt == last}
    old = {event.name: event for event in ended if event.side == BASE_TESTS and event.attempt == last}
    rows: list[tuple[str, ...]] = []
    for name in [*before, *(name for name in after if name not in before)]:
        one = after.get(name) or before[name]
        rows.append((name, " ".join(one.argv), _said(before.get(name)), _said(after.get(name)), f"{one.seconds:.1f}"))
        if name in old:
            words = (f"{name}, old tests", " ".join(old[name].argv), "", _said(old[name]), f"{old[name].seconds:.1f}")
            rows.append(words)
    return rows


def left_the_sandbox(history: Sequence[Event]) -> list[str]:
    """What left the sandbox: model calls by route, and everything that tried the network."""
    calls = [event for event in history if isinstance(event, e.ModelCalled)]
    lines = ["left the sandbox:"]
    for route in sorted({(call.route, call.model, call.provider) for call in calls if call.decision == "allow"}):
        mine = [call for call in calls if (call.route, call.model, call.provider) == route and call.decision == "allow"]
        sent, got = sum(call.input_tokens for call in mine), sum(call.output_tokens for call in mine)
        label = " — REPLAY: a recorded script, no model" if mine[0].replayed else ""
        lines.append(f"  {len(mine)} calls of {route[1]} by route {route[0]}, {sent} tokens out, {got} in{label}")
    lines += [f"  denied call of {call.model}: {call.rule}" for call in calls if call.decision != "allow"]
    for one in gather("", history).network:
        size = f", {one.sent} bytes out, {one.received} in" if one.decision == "allow" else ""
        lines.append(f"  {one.decision} {one.destination} {one.times} times{size}: {one.rule}")
    return lines if len(lines) > 1 else ["left the sandbox: nothing"]


def _facts(view: RunView) -> list[tuple[str, str]]:
    facts = [
        ("run", view.id),
        ("ticket", view.ticket),
        ("repository", view.repository),
        ("state", f"{view.state.value} {view.outcome}".strip() + (", QUARANTINED" if view.quarantined else "")),
        ("reason", f"{view.reason}: {view.detail}" if view.reason else ""),
        ("branch", view.branch),
        ("commit", view.commit),
        ("pull request", view.pull_request),
        ("sandbox", view.sandbox_level),
        ("boundary", view.boundary),
        ("resumed", str(view.resumed) if view.resumed else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _said(event: e.CheckEnded | None) -> str:
    if event is None:
        return "not run"
    return "passed" if event.passed else f"failed ({event.stopped or event.exit_code})"
