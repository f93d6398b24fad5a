"""A boundary as a page for people: a section for each question, who signed for it, and the answers.

Values only; cli/boundary_page.py puts them on a terminal, into Markdown and into HTML.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ringfence.domain.boundary import Boundary, Check, Logs, NetworkRule, Prices, Route, SecretUse, SectionName
from ringfence.domain.dataflow import flows, statement
from ringfence.domain.measures import duration_text, size_text
from ringfence.domain.wires import asked_in

READERS = ("engineering", "security", "platform")
Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One section of the page: a question, and a table that answers it."""

    name: SectionName
    question: str
    signed: tuple[str, ...]
    headings: tuple[str, ...]
    rows: Rows


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page. The data-flow statement comes first, whoever reads."""

    title: str
    digest: str
    statement: tuple[str, ...]
    flow_headings: tuple[str, ...]
    flows: Rows
    parts: tuple[Part, ...]


_QUESTIONS: tuple[tuple[SectionName, str, tuple[str, ...]], ...] = (
    ("repositories", "Which repositories may be read, and which may be changed?", ("engineering", "security")),
    ("branches", "Which branches may be written, and which paths may not?", ("engineering", "security")),
    ("commands", "Which commands run, and with which tools?", ("engineering", "platform")),
    ("network", "What can a sandbox reach?", ("security", "platform")),
    ("models", "Which models are called, and what happens when one cannot be?", READERS),
    ("secrets", "Which secrets exist, and what is each for?", ("security", "platform")),
    ("logs", "What is kept of a run, how long, and who may read it?", ("security", "platform")),
    ("checkout", "Where are repositories on the worker, and when do they go?", ("platform", "security")),
    ("tickets", "Whose tickets become runs?", ("engineering", "security")),
    ("limits", "When does a run end, and how much may it use?", ("engineering", "platform")),
    ("approval", "Who lets a change in?", ("engineering", "security")),
)  # fmt: skip


def describe(boundary: Boundary, digest: str, *, reader: str | None = None) -> Page:
    """The page, or the sections of it that one kind of reader asks for."""
    parts = tuple(
        Part(name, question, _signed(boundary, name), *_ANSWERS[name](boundary))
        for name, question, readers in _QUESTIONS
        if reader is None or reader in readers
    )
    travelling = tuple(
        (
            flow.what, flow.to, ", ".join(flow.repositories), ", ".join(flow.data_classes),
            "yes" if flow.leaves else "no", flow.terms,
        )
        for flow in flows(boundary)
    )  # fmt: skip
    headings = ("what", "to whom", "repositories", "data classes", "leaves", "terms")
    return Page(f"Boundary: {boundary.name}", digest, statement(boundary), headings, travelling, parts)


def _signed(boundary: Boundary, section: SectionName) -> tuple[str, ...]:
    return tuple(f"{o.name} ({o.role}, {o.signed.isoformat()})" for o in boundary.owners if section in o.sections)


def _list(names: tuple[str, ...], empty: str = "none") -> str:
    return ", ".join(names) or empty


_Answer = tuple[tuple[str, ...], Rows]
_PAIR = ("what", "answer")


def _repositories(boundary: Boundary) -> _Answer:
    rows = tuple(
        (r.name, r.access, r.stage if r.access == "write" else "context", r.base, r.data_class, _list(r.context))
        for r in boundary.repositories
    )
    return ("repository", "access", "stage", "base", "data class", "context it may look into"), rows


def _branches(boundary: Boundary) -> _Answer:
    branches = boundary.branches
    return _PAIR, (
        ("may be written", f"refs/heads/{branches.prefix}<ticket>-<title>, nothing else"),
        ("never written", _list(branches.protected)),
        ("paths no patch may touch", _list(branches.protected_paths)),
        ("the only way out", "a pull request"),
    )


def _commands(boundary: Boundary) -> _Answer:
    rows: list[tuple[str, ...]] = []
    agents = ", ".join(use.name for use in boundary.commands.agents) or "none"
    rows.append(("every repository", "agents that may work", agents, ""))
    for name, commands in boundary.commands.repositories.items():
        known = boundary.commands.toolchains
        tools = tuple(f"{tool}: {known[tool].source} at {known[tool].target}" for tool in commands.toolchains)
        rows.append((name, "tools", _list(tools), ""))
        variables = tuple(f"{key}={value}" for key, value in commands.environment.items())
        rows += [(name, "variables", _list(variables), "")] if variables else []
        rows += [(name, "set-up", " ".join(words), "with what set-up may reach") for words in commands.setup]
        if commands.setup:
            rows.append((name, "set-up is made from", _list(commands.setup_inputs, "every file of the tree"), "kept"))
        rows += [(name, f"{check.kind}: {check.name}", " ".join(check.run), _terms(check)) for check in commands.checks]
        rows.append((name, "tests are in", _list(commands.tests), ""))
    return ("repository", "what", "command or answer", "terms"), tuple(rows)


def _terms(check: Check) -> str:
    return f"{'required' if check.required else 'reported'}, at most {duration_text(check.timeout)}"


def _network(boundary: Boundary) -> _Answer:
    phases = (("set-up", "setup"), ("agent", "agent"), ("validation", "validation"))
    rows = [
        (shown, _list(tuple(_way_out(rule) for rule in boundary.network_rules(phase)), "nothing"))
        for shown, phase in phases
    ]
    return ("while", "may reach"), (*rows, ("any phase", "the model gateway: agents only"))


def _way_out(rule: NetworkRule) -> str:
    inside = f", inside {' and '.join(rule.cidrs)}" if rule.cidrs else ""
    inspected = ", inspected" if rule.inspect else ""
    asked = f": {' '.join(rule.methods) or 'any method'} {' '.join(rule.paths) or 'any path'}" if rule.inspect else ""
    put = f", with {rule.credential.secret} put on" if rule.credential is not None else ""
    whose = f", for {', '.join(rule.commands)} alone" if rule.commands else ""
    return f"{rule.host}:{rule.port} ({rule.purpose}{inside}{inspected}{asked}{put}{whose})"


def _models(boundary: Boundary) -> _Answer:
    rows = [row for route in boundary.models.routes for row in _route(route, boundary.models.prices)]
    models = boundary.models
    waits = f"{duration_text(models.first_byte_timeout)} for the first byte, {duration_text(models.idle_timeout)} idle"
    rows += [
        ("every route", "agents are given", models.default or "none"),
        ("every route", "when a provider is unavailable", _instead(boundary)),
        ("every route", "a secret in a prompt", _ON_SECRET[models.on_secret]),
        ("every route", "waits at most", waits),
    ]
    return ("route", "what", "answer"), tuple(rows)


_ON_SECRET = {
    "remove": "is taken out, known ones and known formats",
    "deny": "makes the request be refused",
    "stop": "ends the run",
}


def _instead(boundary: Boundary) -> str:
    """What is asked when the default fails."""
    models = boundary.models
    if models.fallback == "none":
        return "the run stops; nothing else is tried"
    when = ", ".join(models.fallback_on)
    return f"{', then '.join(models.fallback)}, where it may be sent the repository; on {when}; else the run stops"


def _cost(route: Route, prices: Prices | None) -> Iterator[tuple[str, str]]:
    """What its models cost, where the owners say it."""
    for model in route.models if prices else ():
        price = next((one for one in prices.table if one.model == f"{route.name}/{model}"), None) if prices else None
        if price is not None and prices is not None:
            words = f"{price.input:g} {prices.currency} a million tokens sent, {price.output:g} received"
            yield f"{model} costs", f"{words}, as of {prices.as_of.isoformat()}"


def _route(route: Route, prices: Prices | None) -> Rows:
    where = "replay of a script" if route.provider == "replay" else "internal" if route.internal else "outside provider"
    answers = (
        ("endpoint", f"{route.endpoint} ({where})"),
        ("models", _list(route.models)),
        ("protocols that agents may speak", _list((*route.spoken, *_translated(route)))),
        ("region", route.region or "not said"),
        ("credential", route.credential or "none"),
        *_cost(route, prices),
        ("repositories that may be sent", _list(route.repositories)),
        ("data classes that may be sent", _list(route.data_classes)),
        ("prompts are logged", route.prompts_logged),
        ("outputs are logged", route.outputs_logged),
        ("retention", route.retention),
    )
    return tuple((route.name, *answer) for answer in answers)


def _translated(route: Route) -> Iterator[str]:
    for wire in route.translate:
        yield f"{wire} (translated to {asked_in(wire, route.spoken)})"


def _secrets(boundary: Boundary) -> _Answer:
    rows = tuple(
        (use.name, use.purpose, _list(use.repositories, _BOUND_TO.get(use.purpose, "")), _credential(use))
        for use in boundary.secrets
    )
    return ("secret", "purpose", "for", "how it is had"), rows


_BOUND_TO = {"mint": "what it mints", "model": "its route", "registry": "its host"}


def _credential(use: SecretUse) -> str:
    """How long-lived and how broad it is."""
    if use.kind == "minted":
        return f"minted by {use.minter} for one repository and {duration_text(use.lifetime)}"
    if use.purpose == "mint":
        return "kept; it makes tokens and does nothing else"
    return f"kept, outlives runs: {use.reason}" if use.reason else "kept, outlives runs"


def _logs(boundary: Boundary) -> _Answer:
    logs = boundary.logs
    formats = tuple(pattern.name for pattern in logs.redaction.patterns)
    return _PAIR, (
        ("kept for", duration_text(logs.retention)),
        ("read by", _list(logs.readers)),
        ("files", "readable by the worker's user alone"),
        ("prompts and answers", _bodies(logs)),
        ("redacted", _list(("known secret values", "built-in formats", *formats))),
    )


def _bodies(logs: Logs) -> str:
    if logs.exchanges == "digest":
        return "only their digests are kept"
    return f"kept, redacted, for {duration_text(logs.bodies_kept)}; then only their digests"


def _checkout(boundary: Boundary) -> _Answer:
    checkout = boundary.checkout
    keep = f"{duration_text(checkout.cache.keep)} after their last use, {size_text(checkout.cache.size)} in all"
    return _PAIR, (
        ("on the worker's disk", checkout.location),
        ("mirrors are kept", keep),
        ("working trees", "removed at the end of every run, also after a crash"),
    )


def _tickets(boundary: Boundary) -> _Answer:
    tickets = boundary.tickets
    return _PAIR, (
        ("types", _list(tickets.types)),
        ("requesters", _list(tickets.requesters)),
        ("approval by", _list(tickets.approvers, "nobody: no approval is needed")),
    )


def _limits(boundary: Boundary) -> _Answer:
    run, box, patch = boundary.limits.run, boundary.limits.sandbox, boundary.limits.patch
    kept = boundary.limits.layer
    return _PAIR, (
        ("a run", f"{duration_text(run.time)}, {run.attempts} attempts of {run.turns} turns"),
        ("models in a run", f"{run.requests} requests, {run.input_tokens} tokens in, {run.output_tokens} out"),
        *_spending(boundary),
        ("a brief", f"{boundary.limits.brief_tokens} tokens"),
        (
            "a sandbox",
            f"{size_text(box.memory)} memory, {box.processes} processes, {box.cpus} CPUs, "
            f"{duration_text(box.cpu_time)} CPU time a process, {size_text(box.disk)} disk, "
            f"{size_text(box.temporary)} temporary, {size_text(box.output)} output",
        ),
        ("cgroup", box.cgroup),
        ("what set-up leaves", f"{size_text(kept.size)}, used for {duration_text(kept.age)}"),
        ("a patch", f"{patch.files} files, {size_text(patch.file)} each, {size_text(patch.total)} in all"),
    )


def _spending(boundary: Boundary) -> Iterator[tuple[str, str]]:
    """What is limited beside the counts of a run: speed, money, and what a day may take."""
    limits, prices = boundary.limits, boundary.models.prices
    currency = prices.currency if prices else ""
    if limits.run.requests_per_second is not None:
        yield "model requests", f"{limits.run.requests_per_second:g} a second"
    if limits.run.money is not None:
        yield "money in a run", f"{limits.run.money:.2f} {currency}"
    for what, section in (("a repository's day", limits.repository_day), ("a day in all", limits.day)):
        counts = [
            f"{count} {name}"
            for name, count in (
                ("requests", section.requests),
                ("tokens in", section.input_tokens),
                ("tokens out", section.output_tokens),
            )
            if count is not None
        ]
        money = [] if section.money is None else [f"{section.money:.2f} {currency}"]
        if counts or money:
            yield what, ", ".join([*counts, *money])


def _approval(boundary: Boundary) -> _Answer:
    approval = boundary.approval
    return _PAIR, (
        ("pull requests are opened", "as drafts" if approval.pull_request == "draft" else "ready for review"),
        ("merged by", f"a human, after {approval.reviewers} approvals; never by Ringfence"),
    )


_ANSWERS: dict[SectionName, Callable[[Boundary], _Answer]] = {
    "repositories": _repositories,
    "branches": _branches,
    "commands": _commands,
    "network": _network,
    "models": _models,
    "secrets": _secrets,
    "logs": _logs,
    "checkout": _checkout,
    "tickets": _tickets,
    "limits": _limits,
    "approval": _approval,
}
