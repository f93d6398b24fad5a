"""What leaves, to whom, of which repositories and data classes: the data-flow statement of a boundary.

Derived from the same rules that decide at run time, so that the page cannot promise what the worker would
not keep. It states what the document permits; what a run really sent stands in that run's evidence.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ringfence.domain.boundary import Boundary, Route
from ringfence.domain.decision import Allow
from ringfence.domain.rules import may_call_model
from ringfence.domain.wires import asked_in


@dataclass(frozen=True, slots=True)
class Flow:
    """Content that travels from the worker to someone else."""

    what: str
    to: str
    repositories: tuple[str, ...]
    data_classes: tuple[str, ...]
    #: Whether it leaves the organisation, as far as the document says.
    leaves: bool
    terms: str


def sent(boundary: Boundary, route: Route) -> tuple[str, ...]:
    """The repositories whose content may reach a route now, with the context that goes with them."""
    names: dict[str, None] = {}
    for repository in boundary.repositories:
        if any(isinstance(may_call_model(boundary, repository.name, model), Allow) for model in route.models):
            names.update(dict.fromkeys((repository.name, *repository.context)))
    return tuple(names)


def flows(boundary: Boundary) -> tuple[Flow, ...]:
    """Everything that travels: to each route, and back to the code host."""
    found = [_to_model(boundary, route) for route in boundary.models.routes]
    written = tuple(r.name for r in boundary.repositories if r.access == "write" and r.stage != "observe")
    if written:
        found.append(
            Flow(
                "commits on branches of the worker's own, pull requests and their evidence",
                "the code host, where these repositories already are",
                written,
                _classes(boundary, written),
                leaves=False,
                terms=f"only refs/heads/{boundary.branches.prefix}…, never a protected branch",
            )
        )
    return tuple(flow for flow in found if flow.repositories)


def statement(boundary: Boundary) -> tuple[str, ...]:
    """The data-flow statement, a sentence each."""
    return (
        *_of_models(boundary),
        *_of_network(boundary),
        f"Logs, bundles and mirrors stay on the worker, in {boundary.checkout.location}, readable by its user alone.",
        "The worker puts no secret into a sandbox, a prompt or a pull request; text is redacted before it is stored.",
    )


def _of_models(boundary: Boundary) -> tuple[str, ...]:
    sending = [(route, names) for route in boundary.models.routes if (names := sent(boundary, route))]
    if not sending:
        return ("No model is called: no repository may be sent to any route at its present stage.",)
    outside = [(route, names) for route, names in sending if not _stays(route)]
    if outside:
        return tuple(
            f"Code leaves the organisation: content of {', '.join(names)} ({', '.join(_classes(boundary, names))}) "
            f"may be sent to {route.endpoint} ({route.region or 'region not said'}) by route {route.name}."
            for route, names in outside
        )
    if all(_stays(route) for route in boundary.models.routes):
        internal = [route.endpoint for route, _ in sending if route.provider != "replay"]
        if not internal:
            return ("No code leaves: every route is a replay of a recorded script, and no model is called.",)
        return (
            "No code leaves the organisation by way of a model: every route is internal or a replay.",
            f"That {', '.join(internal)} is inside is what the owners declared; Ringfence does not verify it.",
        )
    return ("No code leaves at the present stages; routes to outside providers are listed and would open with them.",)


def _of_network(boundary: Boundary) -> Iterator[str]:
    """What sandboxes may reach beside the model gateway, and what is not known of it."""
    open_phases = [phase for phase in ("setup", "agent", "validation") if boundary.network_rules(phase)]
    if not open_phases:
        yield "Sandboxes have no network: their one way out is the model gateway, which knows the run by its door."
        return
    for phase in open_phases:
        hosts = ", ".join(f"{rule.host}:{rule.port}" for rule in boundary.network_rules(phase))
        yield f"In phase {phase} sandboxes may connect to {hosts} by way of the egress proxy, and to nothing else."
    rules = [rule for phase in open_phases for rule in boundary.network_rules(phase)]
    read = ", ".join(dict.fromkeys(f"{rule.host}:{rule.port}" for rule in rules if rule.inspect))
    if read:
        yield f"Requests to {read} are read, judged by method and path, and searched for secrets, but not for code."
    if any(not rule.inspect for rule in rules):
        other = " other" if any(rule.inspect for rule in rules) else ""
        what = f"What goes through an encrypted tunnel to one of these{other} hosts is counted and not read"
        yield f"{what}: code may leave there."


def _stays(route: Route) -> bool:
    return route.internal or route.provider == "replay"


def _to_model(boundary: Boundary, route: Route) -> Flow:
    names = sent(boundary, route)
    if route.provider == "replay":
        to = f"nobody: route {route.name} replays the script {route.endpoint}"
    else:
        place = "inside the organisation, as declared" if route.internal else "outside the organisation"
        place += f"; region: {route.region}" if route.region else ""
        to = f"{route.endpoint} ({place}), models {', '.join(route.models)}"
    return Flow(
        "the ticket, the brief, whatever files an agent opens, and what its commands print",
        to,
        names,
        _classes(boundary, names),
        leaves=not _stays(route),
        terms=f"prompts logged: {route.prompts_logged}; outputs logged: {route.outputs_logged}; "
        f"retention: {route.retention}{_translated(route)}",
    )


def _translated(route: Route) -> str:
    pairs = ", ".join(f"{wire} to {asked_in(wire, route.spoken)}" for wire in route.translate)
    return f"; translated on the way: {pairs}" if pairs else ""


def _classes(boundary: Boundary, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(r.data_class for r in boundary.repositories if r.name in names))
