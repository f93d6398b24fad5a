"""What a boundary makes reachable, a sentence each, and what two of them differ in.

Every changed value turns up: as something that opened or closed where its direction is known, else as a
plain change. It compares documents, not hosts: a toolchain whose content changed is not seen here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ringfence.domain.boundary import Boundary, NetworkRule, Repository
from ringfence.domain.dataflow import sent
from ringfence.domain.measures import duration_text, size_text

_SIZES = ("memory", "file", "disk", "temporary", "output", "total", "size", "sent", "received")
_DURATIONS = ("time", "cpu_time", "timeout", "retention", "bodies", "keep", "first_byte_timeout", "idle_timeout")
_LIMITS = (
    ("limits", "run"), ("limits", "repository_day"), ("limits", "day"),
    ("limits", "network"), ("limits", "sandbox"), ("limits", "patch"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    """How a new boundary differs from an old one, in words."""

    opened: tuple[str, ...]
    closed: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Nothing changed at all."""
        return not (self.opened or self.closed or self.changed)


#: What a secret without repositories is used for.
_BOUND = {"model": ("its route",), "registry": ("its network rules",)}


def difference(old: Boundary, new: Boundary) -> Difference:
    """What became reachable, what no longer is, and every other value that changed."""
    before, after = set(_reach(old)), set(_reach(new))
    held, holds = set(_restraints(old)), set(_restraints(new))
    opened = [*sorted(after - before), *(f"no longer: {text}" for text in sorted(held - holds))]
    closed = [*sorted(before - after), *(f"from now on: {text}" for text in sorted(holds - held))]
    for steps in _LIMITS:
        for text, more in _limits(_at(old, steps), _at(new, steps), steps):
            (opened if more else closed).append(text)
    return Difference(tuple(opened), tuple(closed), tuple(_changes(old.model_dump(), new.model_dump())))


def _reach(boundary: Boundary) -> Iterator[str]:
    """What may happen under this boundary."""
    for repository in boundary.repositories:
        yield from _reach_of(boundary, repository)
    for agent in boundary.commands.agents:
        yield f"agent {agent.name} may work"
        yield from (f"agent {agent.name} is granted {kind} when it asks" for kind in agent.permissions)
    for route in boundary.models.routes:
        where = "a replay" if route.provider == "replay" else "inside" if route.internal else "outside"
        for name in sent(boundary, route):
            yield f"content of {name} may be sent to {route.endpoint} ({where})"
    for use in boundary.secrets:
        for name in use.repositories or _BOUND.get(use.purpose, ()):
            how = f"a token minted with {use.minter}" if use.kind == "minted" else f"the durable secret {use.name}"
            yield f"{how} may be used for the {use.purpose} of {name}"
    for phase in ("setup", "agent", "validation"):
        for rule in boundary.network_rules(phase):
            yield from _asked(phase, rule)
            yield from (f"{phase} may connect to {rule.host}:{rule.port} inside {network}" for network in rule.cidrs)
    yield from (f"tickets of {person} are taken" for person in boundary.tickets.requesters)
    yield from (f"tickets of type {kind} are taken" for kind in boundary.tickets.types)
    yield from (f"{reader} may read the logs" for reader in boundary.logs.readers)


def _asked(phase: str, rule: NetworkRule) -> Iterator[str]:
    """What a rule opens, in as many lines as there are things that could be taken away."""
    whose = [f"the command {name!a} of {phase}" for name in rule.commands] or [phase]
    for who in whose:
        yield f"{who} may connect to {rule.host}:{rule.port}"
        if not rule.inspect:
            continue
        put = f" with {rule.credential.secret} put on" if rule.credential is not None else ""
        for method in rule.methods or ("any method",):
            for path in rule.paths or ("any path",):
                yield f"{who} may ask {rule.host}:{rule.port} for {method} {path}{put}"


def _reach_of(boundary: Boundary, repository: Repository) -> Iterator[str]:
    yield f"{repository.name} may be read"
    yield from (f"agents that work on {repository.name} may look into {name}" for name in repository.context)
    if repository.access == "write":
        yield f"tickets may be about {repository.name}"
        if repository.stage != "observe":
            yield f"branches {boundary.branches.prefix}… of {repository.name} may be written"
        if repository.stage == "pull_request":
            yield f"pull requests may be opened in {repository.name}"
    commands = boundary.commands.repositories.get(repository.name)
    if commands is None:
        return
    for tool in commands.toolchains:
        toolchain = boundary.commands.toolchains[tool]
        yield f"sandboxes of {repository.name} see {toolchain.source} at {toolchain.target}"
    for words in (*commands.setup, *(check.run for check in commands.checks)):
        yield f"the worker runs for {repository.name}: {' '.join(words)}"


def _restraints(boundary: Boundary) -> Iterator[str]:
    """What may not happen, or only after something else: taking it away opens."""
    for pattern in boundary.branches.protected:
        yield f"branch {pattern} is protected"
    for pattern in boundary.branches.protected_paths:
        yield f"path {pattern} may not be touched"
    if boundary.tickets.approvers:
        yield f"a ticket needs the approval of one of {', '.join(sorted(boundary.tickets.approvers))}"
    for name, commands in boundary.commands.repositories.items():
        for check in commands.checks:
            if check.required:
                yield f"check {check.name} must pass in {name}"
    yield from _watched(boundary)
    yield from (f"format {secret.name} is redacted" for secret in boundary.logs.redaction.patterns)
    if boundary.limits.sandbox.cgroup == "required":
        yield "no sandbox runs without a cgroup"
    if boundary.approval.pull_request == "draft":
        yield "pull requests are opened as drafts"
    yield from (f"a merge needs {count} human approvals" for count in range(1, boundary.approval.reviewers + 1))


def _watched(boundary: Boundary) -> Iterator[str]:
    for phase in ("setup", "agent", "validation"):
        read = (rule for rule in boundary.network_rules(phase) if rule.inspect)
        yield from (f"what {phase} asks of {rule.host}:{rule.port} is read and judged" for rule in read)
    if boundary.network.on_leak == "stop":
        yield "a run ends when a secret of ours wants to leave by an inspected host"


def _at(boundary: Boundary, steps: tuple[str, ...]) -> dict[str, Any]:
    here: Any = boundary
    for step in steps:
        here = getattr(here, step)
    return dict(here)


def _limits(old: dict[str, Any], new: dict[str, Any], steps: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    for key, before in old.items():
        after, name = new[key], ".".join((*steps, key))
        if before == after or not isinstance(before if after is None else after, int | float):
            continue
        if before is None or after is None:
            # What is left out is not limited at all.
            yield f"{name}: {_written(before, key)} before, {_written(after, key)} now", after is None
        else:
            yield f"{name}: {_written(before, key)} before, {_written(after, key)} now", after > before


def _changes(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Every changed value by its place. Lists of named things are compared by name, not by position."""
    old, new = _named(old, new), _named(new, old)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if set(old) == set(new) and list(old) != list(new):
            yield f"{name}: in another order"
        for key in (*old, *(key for key in new if key not in old)):
            inner = f"{name}.{key}" if name else str(key)
            if key not in new:
                yield f"{inner}: removed"
            elif key not in old:
                yield f"{inner}: added"
            else:
                yield from _changes(old[key], new[key], inner)
    elif isinstance(old, Mapping) or isinstance(new, Mapping):
        yield f"{name}: {'added' if old is None else 'removed'}"
    elif old != new:
        key = name.rpartition(".")[2]
        yield f"{name}: {_written(old, key)} → {_written(new, key)}"


def _named(value: Any, other: Any) -> Any:
    """A list of named things by name, where both sides are such lists or empty."""
    both = (value, other)
    if not all(isinstance(side, tuple) and all(isinstance(item, Mapping) for item in side) for side in both):
        return value
    key = next((one for one in ("name", "model") if all(one in item for side in both for item in side)), None)
    if not any(both) or key is None:
        return value
    if any(len({item[key] for item in side}) < len(side) for side in both):
        return value
    return {str(item[key]): item for item in value}


def _written(value: Any, key: str) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_written(item, key) for item in value)}]"
    if isinstance(value, int) and key in _SIZES:
        return size_text(value)
    if isinstance(value, int) and key in _DURATIONS:
        return duration_text(value)
    return "nothing" if value is None else str(value)
