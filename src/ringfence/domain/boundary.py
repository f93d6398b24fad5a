"""The boundary document: one reviewed file that says what a worker may do, a section for each question.

Models only: what a section holds and which single values are legal. `parse.py` turns text into a
`Boundary` with every problem placed; `rules.py` decides by it. Sizes are bytes, durations are seconds,
written in the document as `512MiB` or `10m`.
"""

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

# At most 12 digits: no number here can overflow a limit that the kernel takes.
_SIZE = re.compile(r"([0-9]{1,12}) ?(B|KiB|MiB|GiB)")
_SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_DURATION = re.compile(r"([0-9]{1,9}) ?(s|m|h|d)")
_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Role = Literal["engineering", "security", "platform", "procurement", "compliance"]
DataClass = Literal["public", "internal", "confidential", "restricted"]
Stage = Literal["observe", "branch", "pull_request"]
CheckKind = Literal["lint", "types", "test", "build", "policy"]
SectionName = Literal[
    "checkout", "repositories", "branches", "commands", "network", "logs", "models",
    "secrets", "tickets", "limits", "approval",
]  # fmt: skip


def _size(value: Any) -> Any:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a size as a number and a unit, for example 512MiB (B, KiB, MiB, GiB)")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _duration(value: Any) -> Any:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a duration as a number and a unit, for example 10m (s, m, h, d)")
    return int(match[1]) * _DURATION_UNITS[match[2]]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _written(pattern: re.Pattern[str], example: str) -> WithJsonSchema:
    # Editors see what is written in the document, not the number it becomes.
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern.pattern}$", "examples": [example]})


Word = Annotated[str, Field(min_length=1, max_length=500)]
Size = Annotated[int, BeforeValidator(_size), _written(_SIZE, "512MiB")]
Seconds = Annotated[int, BeforeValidator(_duration), _written(_DURATION, "10m")]
Names = Annotated[tuple[Word, ...], BeforeValidator(_tuple)]
Argv = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=20_000)], ...], BeforeValidator(_tuple), Field(min_length=1)
]


class Section(BaseModel):
    """A part of the document: immutable, strictly typed, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Owner(Section):
    """A person who signed for sections of this document."""

    name: str = Field(min_length=1, description="Who signed, as people know them.")
    role: Role = Field(description="For which side they speak.")
    sections: Annotated[tuple[SectionName, ...], BeforeValidator(_tuple)] = Field(
        description="The sections they signed for."
    )
    signed: date = Field(description="The day they signed.")


class Cache(Section):
    """The mirrors of repositories that are kept between runs."""

    keep: Seconds = Field(description="A mirror not used for this long is removed by `ringfence sweep`.")
    size: Size = Field(description="All mirrors together stay below this; the longest unused go first.")


class Checkout(Section):
    """Where repositories are on the worker's disk, and when they go."""

    location: str = Field(
        pattern=r"^/", description="Absolute directory; the worker's state directory must lie inside it."
    )
    cache: Cache = Field(description="The mirrors of repositories that are kept between runs.")
    cleanup: Literal["always"] = Field(
        description="Working trees are removed at the end of every run, also after a crash."
    )


class Repository(Section):
    """One repository that may be read, and perhaps written."""

    name: str = Field(description="owner/name at the code host. No patterns: each repository is listed.")
    access: Literal["read", "write"] = Field(description="read: context for others. write: tickets may change it.")
    base: str = Field(default="main", description="The branch that tickets start from and pull requests go to.")
    stage: Stage = Field(
        default="observe",
        description="observe: brief only, no model. branch: a branch. pull_request: a pull request.",
    )
    data_class: DataClass = Field(description="What its content is, for the model routes that may see it.")
    context: Names = Field(default=(), description="Repositories with access `read` that an agent may look into.")
    instructions: Names = Field(
        default=("AGENTS.md", "CONTRIBUTING.md"),
        description="Files of the base commit that are given to the agent as the repository's instructions.",
    )


class Branches(Section):
    """Which refs the worker may write."""

    prefix: str = Field(description="The worker creates and updates only refs/heads/<prefix>….")
    protected: Names = Field(description="Branches that are never written; `release/*` matches one level.")
    protected_paths: Names = Field(description="Paths a patch may not touch, by gitignore-like globs.")
    handoff: Literal["pull_request"] = Field(description="The only way out of a branch.")


class Toolchain(Section):
    """A read-only tree of tools on the worker that sandboxes may see."""

    source: str = Field(pattern=r"^/", description="Absolute directory on the worker.")
    target: str = Field(pattern=r"^/", description="Where a sandbox sees it.")


class Check(Section):
    """One command that judges a tree; its exit code 0 means passed."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="A short name for reports.")
    kind: CheckKind = Field(description="What it is: lint, types, test, build or policy.")
    run: Argv = Field(description='The command as a list of words; a shell line is ["sh", "-c", "…"].')
    timeout: Seconds = Field(
        default=600, json_schema_extra={"default": "10m"}, description="It has failed after this long."
    )
    required: bool = Field(default=True, description="A failing required check stops publication.")


class RepositoryCommands(Section):
    """What the worker itself runs for a repository, verbatim and never from the agent's branch."""

    toolchains: Names = Field(description="Toolchains that its sandboxes see.")
    path: Names = Field(description="Directories of PATH inside its sandboxes, in order.")
    environment: dict[str, str] = Field(default={}, description="Further variables inside its sandboxes; no secrets.")
    setup: Annotated[tuple[Argv, ...], BeforeValidator(_tuple)] = Field(
        default=(), description="Commands that prepare a tree before agents and checks."
    )
    checks: Annotated[tuple[Check, ...], BeforeValidator(_tuple)] = Field(
        description="The commands that judge a patch, in order."
    )
    tests: Names = Field(
        default=("tests/**",),
        description="Paths that hold tests; what a patch changes there is said, and also run as the base has it.",
    )


class Commands(Section):
    """What may run, and with which tools."""

    toolchains: dict[str, Toolchain] = Field(description="Read-only trees by name.")
    repositories: dict[str, RepositoryCommands] = Field(description="For each writable repository, its commands.")


class NetworkRule(Section):
    """One host that may be reached in a phase."""

    host: str = Field(description="A host name, or one leading wildcard label (*.example.com).")
    port: int = Field(default=443, ge=1, le=65535, description="TCP port.")
    purpose: Literal["registry", "service", "provider"] = Field(
        description="Why it is reachable. service: one internal host, which also gets a door of its own: inside, its "
        "name and port lead there directly, for clients that speak no proxy."
    )
    cidrs: Names = Field(
        default=(),
        description="Networks in which this very host may be although they are private or loopback; nothing else "
        "reaches them by this rule.",
    )
    inspect: bool = Field(
        default=False, description="Whether TLS is opened to judge methods and paths; not enforced by this version."
    )


class Network(Section):
    """What can be reached from a sandbox, by phase. Default deny."""

    setup: Annotated[tuple[NetworkRule, ...], BeforeValidator(_tuple)] = Field(description="While set-up commands run.")
    agent: Annotated[tuple[NetworkRule, ...], BeforeValidator(_tuple)] = Field(
        description="While the agent works (the model gateway needs no rule here)."
    )
    validation: Annotated[tuple[NetworkRule, ...], BeforeValidator(_tuple)] = Field(description="While checks run.")


class Pattern(Section):
    """A format of secrets that only this organisation has."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Shown in place of what was found.")
    pattern: str = Field(min_length=4, description="RE2 syntax.")


class Redaction(Section):
    """What never reaches a log. Known values and the built-in formats are always redacted."""

    patterns: Annotated[tuple[Pattern, ...], BeforeValidator(_tuple)] = Field(
        default=(), description="Formats beside the built-in ones."
    )


class Logs(Section):
    """What is kept of a run, for how long, and who may read it."""

    retention: Seconds = Field(description="Logs, bundles and artifacts older than this are removed by `sweep`.")
    readers: Names = Field(description="Who may read them, as people know them.")
    access: Literal["owner"] = Field(description="owner: files are readable by the worker's user alone (0700, 0600).")
    exchanges: Literal["full", "digest"] = Field(
        description="full: prompts and answers are kept, redacted. digest: only their digests."
    )
    redaction: Redaction = Field(description="What never reaches a log.")


class Route(Section):
    """One approved way to a model."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="A short name for reports.")
    provider: Literal["replay", "openai"] = Field(
        description="replay: a recorded script, no model. openai: any endpoint that speaks Chat Completions."
    )
    endpoint: str = Field(
        description="openai: base URL up to and with /v1. replay: absolute path of the recorded script."
    )
    models: Names = Field(min_length=1, description="Model names that may be asked for; no patterns.")
    credential: str | None = Field(
        default=None, description="Name of a secret with purpose `model`; none if not needed."
    )
    repositories: Names = Field(description="Repositories whose content may be sent.")
    data_classes: Annotated[tuple[DataClass, ...], BeforeValidator(_tuple)] = Field(
        description="Data classes that may be sent."
    )
    prompts_logged: str = Field(min_length=1, description="Where the provider's side logs prompts, in words.")
    outputs_logged: str = Field(min_length=1, description="Where the provider's side logs outputs, in words.")
    retention: str = Field(
        min_length=1, description="The provider's retention: disabled, or by which contract restricted."
    )
    internal: bool = Field(default=False, description="True when the endpoint is inside the organisation.")


class Models(Section):
    """Which models may be called, and what happens when one cannot be."""

    routes: Annotated[tuple[Route, ...], BeforeValidator(_tuple)] = Field(description="The approved ways to a model.")
    default: str | None = Field(
        default=None, description="route/model that agents are given; none in a pure observe pilot."
    )
    fallback: Literal["none"] | Names = Field(
        description="none: when the route fails, the run stops. Or routes in order."
    )
    first_byte_timeout: Seconds = Field(
        default=60,
        json_schema_extra={"default": "60s"},
        description="A provider that has sent nothing by then has failed.",
    )
    idle_timeout: Seconds = Field(
        default=60,
        json_schema_extra={"default": "60s"},
        description="A stream that is silent for this long has failed.",
    )


class SecretUse(Section):
    """A secret by name and what it may be used for. Where its value is kept stands in the settings."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="The name that settings and routes use.")
    purpose: Literal["checkout", "publish", "model", "registry"] = Field(description="The one thing it is for.")
    repositories: Names = Field(default=(), description="For checkout and publish: the repositories it may touch.")


class Tickets(Section):
    """Which tickets become runs."""

    types: Names = Field(min_length=1, description="Allowed ticket types.")
    requesters: Names = Field(min_length=1, description="People whose tickets are taken; no patterns, no apps.")
    approvers: Names = Field(description="A ticket needs the approval of one of these; empty: none is needed.")


class RunLimits(Section):
    """When a run ends, whatever happened."""

    time: Seconds = Field(description="Wall clock of a whole run.")
    attempts: int = Field(ge=1, le=10, description="Agent attempts: the first and its repairs.")
    turns: int = Field(ge=1, le=500, description="Model turns of one attempt.")
    requests: int = Field(ge=1, description="Model requests of a run.")
    input_tokens: int = Field(ge=1, description="Tokens sent to models in a run.")
    output_tokens: int = Field(ge=1, description="Tokens received from models in a run.")


class SandboxLimits(Section):
    """What one sandbox may use."""

    memory: Size = Field(description="Resident memory with its tmpfs pages.")
    processes: int = Field(ge=8, description="Processes and threads at once.")
    cpus: float = Field(gt=0, description="Processors' worth of time.")
    cpu_time: Seconds = Field(description="CPU seconds of one process.")
    file: Size = Field(description="Largest single file.")
    disk: Size = Field(description="The working tree with everything in it.")
    temporary: Size = Field(description="Each of /tmp, /home and /dev/shm.")
    output: Size = Field(description="What a command may print; it is ended beyond.")
    cgroup: Literal["required", "preferred"] = Field(
        description="required: no run without a cgroup. preferred: else rlimits and a watch, and the evidence says so."
    )


class PatchLimits(Section):
    """How large a patch may be."""

    files: int = Field(ge=1, description="Changed paths.")
    file: Size = Field(description="Largest changed file.")
    total: Size = Field(description="All changed files together.")


class NetworkLimits(Section):
    """How much may pass the egress proxy in a run."""

    requests: int = Field(default=5000, ge=1, description="Connections and plain requests that are let out.")
    sent: Size = Field(default=256 << 20, json_schema_extra={"default": "256MiB"}, description="Bytes that leave.")
    received: Size = Field(default=8 << 30, json_schema_extra={"default": "8GiB"}, description="Bytes that come in.")


class Limits(Section):
    """Everything that is counted."""

    run: RunLimits = Field(description="When a run ends, whatever happened.")
    sandbox: SandboxLimits = Field(description="What one sandbox may use.")
    patch: PatchLimits = Field(description="How large a patch may be.")
    network: NetworkLimits = Field(
        default=NetworkLimits(),
        json_schema_extra={"default": {"requests": 5000, "sent": "256MiB", "received": "8GiB"}},
        description="How much may pass the egress proxy in a run.",
    )
    brief_tokens: int = Field(ge=500, description="How long a brief may be (estimated, 3.5 bytes a token).")


class Approval(Section):
    """Who lets a change in."""

    pull_request: Literal["draft", "ready"] = Field(description="How pull requests are opened.")
    merge: Literal["human"] = Field(description="Who merges. Ringfence never does.")
    reviewers: int = Field(ge=1, description="Human approvals that a merge needs at the code host.")


class Boundary(Section):
    """The whole document."""

    version: Literal[1] = Field(description="The version of this format.")
    name: str = Field(min_length=1, description="What people call this boundary.")
    owners: Annotated[tuple[Owner, ...], BeforeValidator(_tuple)] = Field(description="Who signed for which section.")
    checkout: Checkout = Field(description="Where repositories are on the worker's disk, and when they go.")
    repositories: Annotated[tuple[Repository, ...], BeforeValidator(_tuple)] = Field(
        description="What may be read and written."
    )
    branches: Branches = Field(description="Which refs may be written.")
    commands: Commands = Field(description="What may run, and with which tools.")
    network: Network = Field(description="What can be reached from a sandbox.")
    logs: Logs = Field(description="What is kept of a run, for how long, and who may read it.")
    models: Models = Field(description="Which models may be called.")
    secrets: Annotated[tuple[SecretUse, ...], BeforeValidator(_tuple)] = Field(
        description="Which secrets exist, and for what."
    )
    tickets: Tickets = Field(description="Which tickets become runs.")
    limits: Limits = Field(description="Everything that is counted.")
    approval: Approval = Field(description="Who lets a change in.")

    def repository(self, name: str) -> Repository | None:
        """The listed repository of that name."""
        return next((r for r in self.repositories if r.name == name), None)

    def network_rules(self, phase: str) -> tuple[NetworkRule, ...]:
        """The rules of a phase; none for what is no phase."""
        return {"setup": self.network.setup, "agent": self.network.agent, "validation": self.network.validation}.get(
            phase, ()
        )

    def route_for(self, model: str) -> Route | None:
        """The route that offers exactly this model name."""
        return next((r for r in self.models.routes if model in r.models), None)
