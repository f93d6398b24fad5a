"""The policy decision point: every question about what a worker may do is answered here, by pure functions.

Each answer is an `Allow` or a `Deny` with the rule's name, which is the section of the boundary it rests on.
Nothing here enforces, looks anything up or remembers. What cannot be decided, because a value is not of the
form it should have, is a deny.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from ringfence.domain.boundary import Boundary, NetworkRule, Repository, Route, SecretUse, Stage
from ringfence.domain.decision import Allow, Decision, Deny, Reason, Source
from ringfence.domain.globs import fold, matches_branch, protects
from ringfence.domain.hosts import Credential, HostRule, judge_addresses, judge_host
from ringfence.domain.patch import FileChange
from ringfence.domain.paths import link_fault, path_fault, ref_fault
from ringfence.domain.ticket import TICKET_ID, Ticket

_HEADS = "refs/heads/"
_STAGES: tuple[Stage, ...] = ("observe", "branch", "pull_request")
_ABSENT, _FILE, _EXECUTABLE, _LINK, _GITLINK = "000000", "100644", "100755", "120000", "160000"
_SHOWN = 120

_Rest = ParamSpec("_Rest")
_Answer = TypeVar("_Answer")


def _closed(
    rule: str, source: Source
) -> Callable[
    [Callable[Concatenate[Boundary, _Rest], _Answer]], Callable[Concatenate[Boundary, _Rest], _Answer | Deny]
]:
    """An error while deciding is a deny. These are the errors that pure code over odd values can raise."""

    def around(
        decide: Callable[Concatenate[Boundary, _Rest], _Answer],
    ) -> Callable[Concatenate[Boundary, _Rest], _Answer | Deny]:
        @wraps(decide)
        def decided(boundary: Boundary, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> _Answer | Deny:
            try:
                return decide(boundary, *args, **kwargs)
            except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
                return Deny(rule, Reason.MALFORMED, source, f"could not be decided: {type(error).__name__}")

        return decided

    return around


@_closed("tickets", Source.ADMISSION)
def admit(boundary: Boundary, ticket: Ticket) -> Decision:
    """Whether a ticket becomes a run: its form, its type, who asked, where, who approved, and how far."""
    if not TICKET_ID.fullmatch(ticket.id):
        return _refused(
            "tickets.id", Reason.MALFORMED, f"{_shown(ticket.id)} is not a ticket id that can name a branch"
        )
    if ticket.type not in boundary.tickets.types:
        return _refused("tickets.types", Reason.NOT_LISTED, f"type {_shown(ticket.type)} is not listed")
    # The list holds people only, spelled as the tracker spells them; an app may call itself almost anything.
    if fold(ticket.requester).strip().endswith("[bot]") or ticket.requester not in boundary.tickets.requesters:
        return _refused("tickets.requesters", Reason.NOT_LISTED, f"requester {_shown(ticket.requester)} is not listed")
    listed = boundary.repository(ticket.repository)
    if listed is None:
        detail = f"repository {_shown(ticket.repository)} is not listed"
        return _refused("repositories.name", Reason.NOT_LISTED, detail)
    if listed.access != "write":
        return _refused("repositories.access", Reason.PROTECTED, f"{listed.name} is read-only context")
    return _refused_stage(listed, ticket) or _refused_approval(boundary, ticket) or _admitted(boundary, ticket)


def _refused(rule: str, reason: Reason, detail: str) -> Deny:
    return Deny(rule, reason, Source.ADMISSION, detail)


def _refused_stage(listed: Repository, ticket: Ticket) -> Deny | None:
    if ticket.stage is None:
        return None
    if ticket.stage not in _STAGES:
        return _refused("repositories.stage", Reason.MALFORMED, f"stage {_shown(ticket.stage)} does not exist")
    if _STAGES.index(ticket.stage) > _STAGES.index(listed.stage):
        detail = f"{listed.name} is at stage {listed.stage}, the ticket asks for {ticket.stage}"
        return _refused("repositories.stage", Reason.STAGE_TOO_LOW, detail)
    return None


def _refused_approval(boundary: Boundary, ticket: Ticket) -> Deny | None:
    approvers = boundary.tickets.approvers
    if not approvers:
        return None
    counted = [name for name in ticket.approved_by if name in approvers]
    # Case tricks: `Alice` does not approve what `alice` asked for.
    others = [name for name in counted if fold(name) != fold(ticket.requester)]
    if others:
        return None
    detail = "the requester cannot be the approver" if counted else "no listed approver has approved it"
    return _refused("tickets.approvers", Reason.NOT_APPROVED, detail)


def _admitted(boundary: Boundary, ticket: Ticket) -> Decision:
    if stage_of(boundary, ticket) != "observe":
        ref = may_write_ref(boundary, ticket.repository, _HEADS + branch_of(boundary, ticket))
        if isinstance(ref, Deny):
            return ref
    return Allow("tickets")


def stage_of(boundary: Boundary, ticket: Ticket) -> Stage:
    """How far a run of this ticket may go: the lower of what the repository allows and the ticket asks for."""
    listed = boundary.repository(ticket.repository)
    if listed is None or listed.access != "write":
        return "observe"
    asked = _STAGES.index(ticket.stage) if ticket.stage in _STAGES else len(_STAGES) if ticket.stage is None else 0
    return _STAGES[min(asked, _STAGES.index(listed.stage))]


def branch_of(boundary: Boundary, ticket: Ticket) -> str:
    """The one branch of a ticket: `<prefix><ticket id>-<slug>`."""
    return f"{boundary.branches.prefix}{ticket.id}-{ticket.slug}"


@_closed("branches", Source.WORKER)
def may_write_ref(boundary: Boundary, repository: str, ref: str) -> Decision:
    """Whether the worker may create or update this ref, given by its full name; deleting is never asked for."""
    listed = boundary.repository(repository)
    if listed is None or listed.access != "write":
        return Deny("repositories.access", Reason.NOT_LISTED, Source.WORKER, f"{_shown(repository)} may not be written")
    if listed.stage == "observe":
        return Deny("repositories.stage", Reason.STAGE_TOO_LOW, Source.WORKER, f"{listed.name} is at stage observe")
    branch = ref.removeprefix(_HEADS)
    prefix = boundary.branches.prefix
    if branch in (ref, prefix) or not prefix or not branch.startswith(prefix):
        detail = f"{_shown(ref)} is not below {_HEADS}{prefix}"
        return Deny("branches.prefix", Reason.NOT_LISTED, Source.WORKER, detail)
    fault = ref_fault(branch)
    if fault:
        return Deny("branches.prefix", Reason.MALFORMED, Source.WORKER, f"{_shown(ref)}: {fault}")
    bases = tuple(one.base for one in boundary.repositories)
    if any(matches_branch(pattern, branch) for pattern in (*boundary.branches.protected, *bases)):
        return Deny("branches.protected", Reason.PROTECTED, Source.WORKER, f"{_shown(ref)} is protected")
    return Allow("branches.prefix")


@_closed("repositories", Source.BROKER)
def may_read(boundary: Boundary, repository: str) -> Decision:
    """Whether the worker may fetch a repository at all."""
    if boundary.repository(repository) is None:
        return Deny("repositories.name", Reason.NOT_LISTED, Source.BROKER, f"{_shown(repository)} is not listed")
    return Allow("repositories.name")


@_closed("branches.protected_paths", Source.INTAKE)
def judge_patch(boundary: Boundary, changes: tuple[FileChange, ...]) -> Decision:
    """Whether these changes may become a commit of ours. Renames come as a deletion and an addition."""
    limits = boundary.limits.patch
    if len(changes) > limits.files:
        return _unfit("limits.patch.files", Reason.TOO_LARGE, f"{len(changes)} changed paths, at most {limits.files}")
    for change in changes:
        fault = _form(change) or _protected(boundary, change) or _link(change)
        if fault:
            return fault
        if change.size > limits.file:
            detail = f"{_shown(change.path)} has {change.size} bytes, at most {limits.file}"
            return _unfit("limits.patch.file", Reason.TOO_LARGE, detail)
    total = sum(change.size for change in changes)
    if total > limits.total:
        return _unfit("limits.patch.total", Reason.TOO_LARGE, f"{total} bytes in all, at most {limits.total}")
    return _collision(changes) or Allow("branches.protected_paths")


def _unfit(rule: str, reason: Reason, detail: str) -> Deny:
    return Deny(rule, reason, Source.INTAKE, detail)


def _form(change: FileChange) -> Deny | None:
    """The path is one that every file system takes for itself, and the modes are a file's or a link's."""
    fault = path_fault(change.path)
    if fault:
        return _unfit("patch.path", Reason.MALFORMED, f"{_shown(change.path)}: {fault}")
    if _GITLINK in (change.old_mode, change.new_mode):
        return _unfit("patch.mode", Reason.PROTECTED, f"{_shown(change.path)}: submodules are not taken")
    gone = change.new_mode == _ABSENT
    if change.status not in ("A", "D", "M", "T") or gone != (change.status == "D") or change.size < 0:
        return _unfit("patch.mode", Reason.MALFORMED, f"{_shown(change.path)}: status {_shown(change.status)}")
    if change.new_mode not in (_FILE, _EXECUTABLE, _LINK, _ABSENT):
        return _unfit("patch.mode", Reason.MALFORMED, f"{_shown(change.path)}: mode {_shown(change.new_mode)}")
    return None


def _protected(boundary: Boundary, change: FileChange) -> Deny | None:
    for pattern in boundary.branches.protected_paths:
        if protects(pattern, change.path):
            detail = f"{_shown(change.path)} is protected by {pattern}"
            return _unfit("branches.protected_paths", Reason.PROTECTED, detail)
    return None


def _link(change: FileChange) -> Deny | None:
    if change.new_mode != _LINK:
        return None
    fault = link_fault(change.path, change.link)
    return _unfit("patch.link", Reason.LEAVES_TREE, f"{_shown(change.path)}: {fault}") if fault else None


def _collision(changes: tuple[FileChange, ...]) -> Deny | None:
    """Two new paths that are one where case does not count: a link in the place of a directory writes elsewhere."""
    kept = [change for change in changes if change.status != "D"]
    links = {fold(change.path) for change in kept if change.new_mode == _LINK}
    seen: set[str] = set()
    for change in kept:
        folded = fold(change.path)
        parts = folded.split("/")
        through = any("/".join(parts[:count]) in links for count in range(1, len(parts)))
        if folded in seen or through:
            detail = f"{_shown(change.path)} collides with another changed path where case does not count"
            return _unfit("patch.path", Reason.MALFORMED, detail)
        seen.add(folded)
    return None


@_closed("commands.agents", Source.WORKER)
def may_work(boundary: Boundary, agent: str) -> Decision:
    """Whether this agent may be started at all."""
    if any(use.name == agent for use in boundary.commands.agents):
        return Allow("commands.agents")
    listed = ", ".join(use.name for use in boundary.commands.agents) or "none"
    detail = f"agent {_shown(agent)} is not listed (listed: {listed})"
    return Deny("commands.agents", Reason.NOT_LISTED, Source.WORKER, detail)


@_closed("models.routes", Source.GATEWAY)
def may_call_model(boundary: Boundary, repository: str, model: str) -> Decision:
    """Whether content of a repository, and of the context that goes with it, may be sent to this model."""
    listed = boundary.repository(repository)
    if listed is None or listed.access != "write":
        return Deny("repositories.access", Reason.NOT_LISTED, Source.GATEWAY, f"{_shown(repository)} is not worked on")
    if listed.stage == "observe":
        detail = f"{listed.name} is at stage observe: no model is called"
        return Deny("repositories.stage", Reason.STAGE_TOO_LOW, Source.GATEWAY, detail)
    routes = [route for route in boundary.models.routes if model in route.models]
    if len(routes) != 1:
        detail = f"model {_shown(model)} is offered by {len(routes)} routes"
        return Deny("models.routes", Reason.NOT_LISTED, Source.GATEWAY, detail)
    return _may_send(boundary, routes[0], listed) or Allow(f"models.routes.{routes[0].name}")


@_closed("models.routes", Source.GATEWAY)
def model_ways(boundary: Boundary, repository: str) -> tuple[tuple[str, str], ...] | Deny:
    """The routes and models that may be asked for a repository, in order: the default, then its approved fallbacks.

    A fallback that may not be sent this repository is left out; without the default there is none at all.
    """
    models = boundary.models
    chain = () if models.fallback == "none" else models.fallback
    found: list[tuple[str, str]] = []
    for written in (models.default or "", *chain):
        name, _, model = written.partition("/")
        decision = may_call_model(boundary, repository, model)
        route = boundary.route_for(model)
        allowed = isinstance(decision, Allow) and route is not None and route.name == name
        if allowed:
            found.append((name, model))
        elif not found:
            detail = f"{_shown(written)} is not offered by any route"
            return (
                decision
                if isinstance(decision, Deny)
                else Deny("models.routes", Reason.NOT_LISTED, Source.GATEWAY, detail)
            )
    return tuple(found)


def _may_send(boundary: Boundary, route: Route, listed: Repository) -> Deny | None:
    for name in (listed.name, *listed.context):
        sent = boundary.repository(name)
        if sent is None or name not in route.repositories:
            detail = f"{name} may not be sent to route {route.name}"
            return Deny("models.routes.repositories", Reason.NOT_LISTED, Source.GATEWAY, detail)
        if sent.data_class not in route.data_classes:
            detail = f"{name} is {sent.data_class}, which route {route.name} may not see"
            return Deny("models.routes.data_classes", Reason.NOT_LISTED, Source.GATEWAY, detail)
    return None


def host_rules(boundary: Boundary, phase: str, command: str | None = None) -> tuple[HostRule, ...]:
    """The ways out of a phase as values, for the proxy that decides by them without the document.

    With a command (`command_name`), those that are for it; without one, all that the phase has.
    """
    named: dict[str, int] = {}
    found = []
    for rule in boundary.network_rules(phase):
        name = f"network.{phase}.{rule.host}:{rule.port}"
        named[name] = named.get(name, 0) + 1
        if command is None or not rule.commands or command in rule.commands:
            found.append(_host_rule(rule, name if named[name] == 1 else f"{name}#{named[name]}"))
    return tuple(found)


def _host_rule(rule: NetworkRule, name: str) -> HostRule:
    put = rule.credential
    credential = Credential(put.secret, put.scheme, put.username or "", put.header or "") if put is not None else None
    return HostRule(name, rule.host, rule.port, rule.cidrs, rule.inspect, rule.methods, rule.paths, credential)


def command_name(boundary: Boundary, repository: str, phase: str, argv: tuple[str, ...]) -> str:
    """What network rules call a command of a repository: a check's name, a set-up command's words; empty for others."""
    commands = boundary.commands.repositories.get(repository)
    if commands is None:
        return ""
    if phase == "setup":
        return " ".join(argv) if argv in commands.setup else ""
    if phase == "validation":
        return next((check.name for check in commands.checks if check.run == argv), "")
    return ""


@_closed("network", Source.EGRESS)
def may_connect(boundary: Boundary, phase: str, host: str, port: int, *, addresses: Sequence[str] | None) -> Decision:
    """Whether a sandbox may connect to a host in a phase, and, where it is known what it leads to, to all of that."""
    judged = judge_host(host_rules(boundary, phase), phase, host, port)
    if isinstance(judged, Deny):
        return judged
    return Allow(judged.name) if addresses is None else judge_addresses(judged, addresses)


@_closed("secrets", Source.BROKER)
def secret_for(boundary: Boundary, purpose: str, repository: str) -> str | Deny:
    """The name of the one secret that may serve this purpose for this repository."""
    listed = boundary.repository(repository)
    if listed is None:
        return Deny("repositories.name", Reason.NOT_LISTED, Source.BROKER, f"{_shown(repository)} is not listed")
    if purpose == "model":
        return _model_secret(boundary, repository)
    if purpose not in ("checkout", "publish"):
        return Deny("secrets.purpose", Reason.NOT_LISTED, Source.BROKER, f"nothing is opened for {_shown(purpose)}")
    if purpose == "publish" and listed.access != "write":
        return Deny("repositories.access", Reason.NOT_LISTED, Source.BROKER, f"{listed.name} may not be written")
    if purpose == "publish" and listed.stage == "observe":
        return Deny("repositories.stage", Reason.STAGE_TOO_LOW, Source.BROKER, f"{listed.name} is at stage observe")
    found = [use for use in boundary.secrets if use.purpose == purpose and repository in use.repositories]
    return _the_only(found, f"{purpose} of {repository}")


def _model_secret(boundary: Boundary, repository: str) -> str | Deny:
    route_name, _, model = (boundary.models.default or "").partition("/")
    allowed = may_call_model(boundary, repository, model)
    if isinstance(allowed, Deny):
        return allowed
    route = boundary.route_for(model)
    credential = route.credential if route is not None and route.name == route_name else None
    found = [use for use in boundary.secrets if use.purpose == "model" and use.name == credential]
    return _the_only(found, f"the model of {repository}")


def _the_only(found: list[SecretUse], use: str) -> str | Deny:
    """Two secrets for one use would be a choice, and nothing here chooses."""
    if len(found) == 1:
        return found[0].name
    reason = Reason.NOT_LISTED if not found else Reason.MALFORMED
    return Deny("secrets.purpose", reason, Source.BROKER, f"{len(found)} secrets are listed for {use}")


def _shown(text: str) -> str:
    """Untrusted text for one line of a report: ASCII, quoted, short."""
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
