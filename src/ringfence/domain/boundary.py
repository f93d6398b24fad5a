"""The boundary document: one reviewed file that says what a worker may do, a section for each question.

Models only: what a section holds and which single values are legal. `parse.py` turns text into a
`Boundary` with every problem placed; `rules.py` decides by it. Sizes are bytes, durations are seconds,
written in the document as `512MiB` or `10m`.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from ringfence.domain.agents import BUILTIN, AgentUse
from ringfence.domain.limits import DayLimits as DayLimits
from ringfence.domain.limits import Limits as Limits
from ringfence.domain.limits import NetworkLimits as NetworkLimits
from ringfence.domain.limits import PatchLimits as PatchLimits
from ringfence.domain.limits import RunLimits as RunLimits
from ringfence.domain.limits import SandboxLimits as SandboxLimits
from ringfence.domain.model_section import DataClass as DataClass
from ringfence.domain.model_section import Models as Models
from ringfence.domain.model_section import Route as Route
from ringfence.domain.network_section import Network as Network
from ringfence.domain.network_section import NetworkRule as NetworkRule
from ringfence.domain.prices import Prices as Prices
from ringfence.domain.section import Argv as Argv
from ringfence.domain.section import Names as Names
from ringfence.domain.section import Seconds as Seconds
from ringfence.domain.section import Section as Section
from ringfence.domain.section import Size as Size
from ringfence.domain.section import Word as Word
from ringfence.domain.section import as_tuple

_BODIES = 14 * 86400

Role = Literal["engineering", "security", "platform", "procurement", "compliance"]
Stage = Literal["observe", "branch", "pull_request"]
CheckKind = Literal["lint", "types", "test", "build", "policy"]
SectionName = Literal[
    "checkout", "repositories", "branches", "commands", "network", "logs", "models",
    "secrets", "tickets", "limits", "approval",
]  # fmt: skip


class Owner(Section):
    """A person who signed for sections of this document."""

    name: str = Field(min_length=1, description="Who signed, as people know them.")
    role: Role = Field(description="For which side they speak.")
    sections: Annotated[tuple[SectionName, ...], BeforeValidator(as_tuple)] = Field(
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
    setup: Annotated[tuple[Argv, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Commands that prepare a tree before agents and checks, once for the same inputs."
    )
    setup_inputs: Names = Field(
        default=(),
        description="Files that set-up is made from, such as lock files, by globs; none: every file of the tree.",
    )
    checks: Annotated[tuple[Check, ...], BeforeValidator(as_tuple)] = Field(
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
    agents: Annotated[tuple[AgentUse, ...], BeforeValidator(as_tuple)] = Field(
        default=BUILTIN,
        json_schema_extra={"default": [{"name": "builtin"}]},
        description="Agents that may work; any other is refused.",
    )


class Pattern(Section):
    """A format of secrets that only this organisation has."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Shown in place of what was found.")
    pattern: str = Field(min_length=4, description="RE2 syntax.")


class Redaction(Section):
    """What never reaches a log. Known values and the built-in formats are always redacted."""

    patterns: Annotated[tuple[Pattern, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Formats beside the built-in ones."
    )


class Logs(Section):
    """What is kept of a run, for how long, and who may read it."""

    retention: Seconds = Field(description="Logs, bundles and artifacts older than this are removed by `sweep`.")
    bodies: Seconds | None = Field(
        default=None,
        description="What models were told and answered is removed by `sweep` after this, from the content store and "
        "from bundles; the digests stay in the log. At most `retention`. Left out: 14d, or `retention` where that is "
        "less.",
    )
    readers: Names = Field(description="Who may read them, as people know them.")
    access: Literal["owner"] = Field(description="owner: files are readable by the worker's user alone (0700, 0600).")
    exchanges: Literal["full", "digest"] = Field(
        description="full: prompts and answers are kept, redacted. digest: only their digests."
    )
    redaction: Redaction = Field(description="What never reaches a log.")

    @property
    def bodies_kept(self) -> int:
        """How long the bodies of model exchanges are kept after the end of their run."""
        return min(_BODIES, self.retention) if self.bodies is None else self.bodies


class SecretUse(Section):
    """A secret by name and what it may be used for. Where its value is kept stands in the settings."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="The name that settings and routes use.")
    purpose: Literal["checkout", "publish", "model", "registry", "canary", "mint"] = Field(
        description="The one thing it is for. registry: the egress proxy puts it on requests. canary: a made-up value "
        "that opens nothing, and that the proxy looks for in what leaves. mint: it makes short-lived tokens at the "
        "code host and does nothing else."
    )
    repositories: Names = Field(default=(), description="For checkout and publish: the repositories it may touch.")
    kind: Literal["minted", "durable"] | None = Field(
        default=None,
        description="For checkout and publish. minted: a token for one repository and a few minutes, made when it is "
        "needed. durable: a value that outlives the run; only with a reason, where nothing narrower can be had.",
    )
    minter: str | None = Field(default=None, description="For minted: the secret with purpose `mint` that makes it.")
    lifetime: Seconds = Field(
        default=600,
        json_schema_extra={"default": "10m"},
        description="For minted: the token ends by itself after this long; at most 1h.",
    )
    reason: str | None = Field(
        default=None, min_length=12, description="For durable: why no narrower credential can be had."
    )


class Tickets(Section):
    """Which tickets become runs."""

    types: Names = Field(min_length=1, description="Allowed ticket types.")
    requesters: Names = Field(min_length=1, description="People whose tickets are taken; no patterns, no apps.")
    approvers: Names = Field(description="A ticket needs the approval of one of these; empty: none is needed.")


class Approval(Section):
    """Who lets a change in."""

    pull_request: Literal["draft", "ready"] = Field(description="How pull requests are opened.")
    merge: Literal["human"] = Field(description="Who merges. Ringfence never does.")
    reviewers: int = Field(ge=1, description="Human approvals that a merge needs at the code host.")


class Boundary(Section):
    """The whole document."""

    version: Literal[1] = Field(description="The version of this format.")
    name: str = Field(min_length=1, description="What people call this boundary.")
    owners: Annotated[tuple[Owner, ...], BeforeValidator(as_tuple)] = Field(description="Who signed for which section.")
    checkout: Checkout = Field(description="Where repositories are on the worker's disk, and when they go.")
    repositories: Annotated[tuple[Repository, ...], BeforeValidator(as_tuple)] = Field(
        description="What may be read and written."
    )
    branches: Branches = Field(description="Which refs may be written.")
    commands: Commands = Field(description="What may run, and with which tools.")
    network: Network = Field(description="What can be reached from a sandbox.")
    logs: Logs = Field(description="What is kept of a run, for how long, and who may read it.")
    models: Models = Field(description="Which models may be called.")
    secrets: Annotated[tuple[SecretUse, ...], BeforeValidator(as_tuple)] = Field(
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

    def secret(self, name: str) -> SecretUse | None:
        """The listed secret of that name."""
        return next((use for use in self.secrets if use.name == name), None)

    def route_for(self, model: str) -> Route | None:
        """The route that offers exactly this model name."""
        return next((r for r in self.models.routes if model in r.models), None)
