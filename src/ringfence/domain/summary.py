"""The text of a pull request, from events and values only: asked, changed, checked, left, not checked.

Whatever a ticket, an agent, a tool or a repository wrote is shown in code spans, so that it can start nothing
at the host (inert.py). It decides nothing, and claims nothing that the log does not say. The caller redacts
the result once more, whole.
"""

from dataclasses import dataclass

from ringfence.domain import events as e
from ringfence.domain.attestation import not_checked, result
from ringfence.domain.checks import Verdict, verdict
from ringfence.domain.dependencies import what_is_installed
from ringfence.domain.facts import CheckFacts, Facts, ModelFacts, NetworkFacts
from ringfence.domain.inert import code, title_words
from ringfence.domain.patch import FileChange
from ringfence.domain.steering import what_steers_agents

_MOST_ROWS = 20
_PROXY = "3128"  # the proxy's door, as a sandbox's start records it
_LONGEST = 60_000  # GitHub takes 65,536 characters
_STATUS = {"A": "added", "D": "deleted", "M": "changed", "T": "type changed"}


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that a pull request says. `facts` come from `facts.gather` over the log, the seal included."""

    facts: Facts
    ticket_title: str
    changes: tuple[FileChange, ...]
    tests: tuple[str, ...]  # paths of the change that hold tests
    base: str  # the branch that it goes to
    draft: bool


def pull_request_title(ticket: str, title: str) -> str:
    """The ticket's id and title, as words that start nothing."""
    return f"{title_words(ticket, 64)}: {title_words(title)}"


def pull_request_body(summary: Summary) -> str:
    """Markdown. The first screen says what a reviewer needs; everything cut for length is said to be."""
    facts = summary.facts
    parts = (
        _asked(summary),
        _changed(summary),
        _checks(facts),
        _repaired(facts),
        _section("Set up", [_layer(one) for one in facts.layers]),
        _left(facts),
        _evidence(facts),
        _section("Not checked", [f"- {gap}" for gap in not_checked(facts)]),
        _end(summary),
    )
    text = "\n\n".join(part for part in parts if part) + "\n"
    if len(text) <= _LONGEST:
        return text
    return text[:_LONGEST].rpartition("\n")[0] + "\n\n(Cut here for length; the evidence bundle has everything.)\n"


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([f"### {title}", "", *lines]) if lines else ""


def _asked(summary: Summary) -> str:
    admitted = summary.facts.admitted
    ticket = code(admitted.ticket, 80) if admitted else "unknown"
    requester = f", asked for by {code(admitted.requester, 80)}" if admitted else ""
    lines = [f"Ticket {ticket}{requester}: {code(summary.ticket_title)}"]
    replayed = any(one.replayed for one in summary.facts.models)
    if replayed:
        lines = ["> **REPLAY: a recorded script answered in this run, no model.**", "", *lines]
    return _section("Asked", lines)


def _changed(summary: Summary) -> str:
    patch = summary.facts.patch
    if patch is None:
        return _section("Changed", ["Nothing."])
    size = f"{_count(patch.files, 'file')}, +{patch.insertions} −{patch.deletions}"
    lines = [f"{size}, commit {code(patch.commit)} for branch {code(summary.base)}", ""]
    lines += [
        f"- {_STATUS.get(one.status, one.status)} {code(one.path)}" + (" (link)" if one.link is not None else "")
        for one in summary.changes[:_MOST_ROWS]
    ]
    lines += _more(len(summary.changes))
    lines.append("")
    if summary.tests:
        named = ", ".join(code(path) for path in summary.tests[:_MOST_ROWS])
        lines.append(f"**The agent touched tests:** {named}")
        lines += _more(len(summary.tests))
        lines += ["", *_old_tests(summary.facts)]
    else:
        lines.append("The agent touched no tests.")
        lines += ["", *_old_tests(summary.facts)] if summary.facts.replaced else []
    paths = [one.path for one in summary.changes]
    lines += _unjudged("The agent changed what is installed", what_is_installed(paths))
    lines += _steering(summary.facts, paths)
    return _section("Changed", lines)


def _steering(facts: Facts, paths: list[str]) -> list[str]:
    """Agent configuration: what the change touches of it, and what this agent was not shown."""
    hidden, rechecked = facts.hidden, facts.rechecked
    known = rechecked.changed if rechecked is not None else ()
    lines = _unjudged("Agent configuration changed: review", tuple(dict.fromkeys((*known, *what_steers_agents(paths)))))
    if hidden is None or rechecked is None or not hidden.count + hidden.made_count:
        return lines
    shown = ", ".join(code(one.partition(" ")[2]) for one in hidden.files[:_MOST_ROWS]) or "none"
    more = f" and {hidden.count - _MOST_ROWS} more" if hidden.count > _MOST_ROWS else ""
    made = f", and {_count(hidden.made_count, 'file')} that set-up had made" if hidden.made_count else ""
    text = f"Hidden from {code(hidden.agent, 60)}, which would obey it: {shown}{more}{made}."
    if rechecked.compared:
        text += f" Of {rechecked.compared} compared, {rechecked.unchanged} came out as they were"
        text += "." if rechecked.unchanged == rechecked.compared else "; the others are part of this change."
    return [*lines, "", text]


def _unjudged(what: str, paths: tuple[str, ...]) -> list[str]:
    """Changes that no check of the repository judges."""
    if not paths:
        return []
    shown = ", ".join(code(path) for path in paths[:_MOST_ROWS])
    return ["", f"**{what}:** {shown}", *_more(len(paths))]


def _old_tests(facts: Facts) -> list[str]:
    """What came of running the touched tests as the base commit has them: a test that was weakened shows here."""
    ran = [one.old_tests for one in facts.checks if one.old_tests is not None]
    if facts.replaced is None:
        return ["Their version of the base commit was **not run**."]
    if facts.replaced.fault or not ran:
        fault = code(facts.replaced.fault or "no result is on record", 300)
        return [f"Their version of the base commit **could not be run**: {fault}"]
    said = ", ".join(f"{code(one.name, 60)} {'passed' if one.passed else '**FAILED**'}" for one in ran)
    return [f"**The same change with these tests as the base commit has them:** {said}"]


def _checks(facts: Facts) -> str:
    if not facts.checks:
        return _section("Checked", ["**Nothing was checked.**"])
    rows = [_row(one) for one in facts.checks]
    head = ["| check | command | before | after | verdict | exit code | seconds |", "| - | - | - | - | - | - | - |"]
    tree = facts.patch.tree if facts.patch else ""
    closing = f"Run in fresh sandboxes on tree {code(tree)}, which is the tree of this commit." if tree else ""
    return _section("Checked", [*head, *rows, "", closing])


def _row(facts: CheckFacts) -> str:
    one = facts.after or facts.before
    assert one is not None  # a row is made of at least one result
    after = result(facts.after)
    words = str(verdict(result(facts.before), after)) if after else "not run on the change"
    loud = words in (Verdict.BROKEN, Verdict.NEW_FAIL, Verdict.STILL_FAILING) or after is None or facts.flaky
    if facts.flaky:
        words += f"; passed {facts.passes} of {facts.times} times on the same tree"
    cells = (
        code(facts.name, 60, in_table=True) + ("" if one.required else " (not required)"),
        code(" ".join(one.argv), 120, in_table=True),
        _said(facts.before),
        _said(facts.after),
        f"**{words}**" if loud else words,
        "" if facts.after is None else str(facts.after.exit_code if facts.after.exit_code is not None else "none"),
        "" if facts.after is None else f"{facts.after.seconds:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def _said(ended: e.CheckEnded | None) -> str:
    if ended is None:
        return "not run"
    if ended.passed:
        return "passed"
    return f"failed ({code(ended.stopped, 20, in_table=True)})" if ended.stopped else "failed"


def _repaired(facts: Facts) -> str:
    lines = [
        f"- Attempt {one.attempt} did not pass {', '.join(code(name, 60) for name in one.failing)}; "
        "the output was handed back to the agent."
        for one in facts.repairs
    ]
    lines += [f"- Attempt {one.attempt} was refused by rule {code(one.rule)}." for one in facts.refused]
    return _section("Repaired", lines or ["Nothing: the first attempt passed."])


def _layer(one: e.LayerMade | e.LayerUsed) -> str:
    """Whether set-up ran, and what its result is known by."""
    size = f"{_count(one.files, 'file')}, {one.size} bytes"
    if isinstance(one, e.LayerUsed):
        return f"- Layer {code(one.layer)} reused, made {one.age / 3600:.1f} hours before: {size}"
    of = "a change of what set-up is made from, for this run alone" if one.scope == "run" else "the base commit"
    return f"- Layer {code(one.layer)} made from {of}: {size}; {code(one.why, 200)}"


def _left(facts: Facts) -> str:
    """Which walls there were, and what went through or tried to."""
    levels = ", ".join(code(level, 160) for level in facts.levels) or "**none was recorded**"
    controls = ", ".join(code(control, 60) for control in facts.controls)
    lines = [f"- Sandbox level that ran: {levels}" + (f", with {controls} in every sandbox" if controls else "")]
    lines += [_model(one) for one in facts.models] or ["- Models: none was called."]
    if not facts.network:
        lines.append(_no_way_out(facts))
    lines += [_way_out(one) for one in facts.network[:_MOST_ROWS]]
    lines += _more(len(facts.network))
    resumed = sum(one.resumed for one in facts.started)
    if resumed:
        lines.append(f"- The run was cut off and taken up again {_count(resumed, 'time')}.")
    return _section("Left the sandbox", lines)


def _no_way_out(facts: Facts) -> str:
    if any(_PROXY in one.doors for one in facts.sandboxes):
        return "- Network: by rule only, and nothing tried to leave by it."
    return "- Network: none was given, and nothing left by it; what was tried inside is not seen."


def _way_out(one: NetworkFacts) -> str:
    text = f"- Network: {code(one.decision, 20)} {code(one.destination)} by rule {code(one.rule, 80)}"
    if one.phase:
        text += f" while {code(one.phase, 20)}"
    if one.credential:
        text += f", with {code(one.credential, 60)} put on outside"
    text += f": {_count(one.times, 'time')}, {one.sent} bytes out, {one.received} in"
    if one.asked:
        text += f"; {', '.join(code(asked, 120) for asked in one.asked)}"
        text += " and more" if one.times > len(one.asked) else ""
    return text + (f", {one.unfinished} of them without a recorded end" if one.unfinished else "")


def _model(one: ModelFacts) -> str:
    about = "about " if one.estimated else ""
    text = (
        f"- Model {code(one.model, 80)} by route {code(one.route, 60)} ({code(one.provider, 40)}): "
        f"{_count(one.requests, 'request')}, {about}{one.input_tokens} tokens out, {about}{one.output_tokens} in"
    )
    if one.translated:
        text += f", translated from {code(' and '.join(one.translated), 80)}"
    if one.money:
        text += f", {one.money}"
    if one.denied:
        text += f", {one.denied} denied"
    return text + (" — **REPLAY: a recorded script, no model**" if one.replayed else "")


def _evidence(facts: Facts) -> str:
    boundary = code(facts.admitted.boundary) if facts.admitted else "unknown"
    lines = [f"- Run {code(facts.run, 120)} under boundary {boundary}"]
    if facts.sealed is None:
        return _section("Evidence", [*lines, "- **No evidence was sealed.**"])
    name = code(f"ringfence verify {facts.run}.bundle.tar --key evidence.pub", 200)
    lines += [
        f"- Statement {code(facts.sealed.digest)} over {facts.sealed.records} records, signed by "
        f"{code(facts.sealed.signer)}",
        f"- Verify offline, with the operator's bundle and public key: {name}",
    ]
    return _section("Evidence", lines)


def _end(summary: Summary) -> str:
    draft = "This is a draft: a person looks at it and marks it ready. " if summary.draft else ""
    return f"---\n\n{draft}Merging is for people: never merged by Ringfence."


def _more(count: int) -> list[str]:
    return [f"- and {count - _MOST_ROWS} more"] if count > _MOST_ROWS else []


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
