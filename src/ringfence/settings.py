"""The operator's settings: where things are. The only module that reads the environment.

What may happen stands in the boundary, never here: no setting widens it. The file is TOML, by default
`ringfence.toml` in the working directory; `RINGFENCE_SETTINGS` names another. Relative paths are
relative to the file.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from ringfence.domain.errors import InputError
from ringfence.ports.broker import Secret

VARIABLE = "RINGFENCE_SETTINGS"
DEFAULT = "ringfence.toml"


def _path(value: object) -> object:
    return Path(value) if isinstance(value, str) else value


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


LocalPath = Annotated[Path, BeforeValidator(_path)]
Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_tuple)]
#: One path below a vault's API: no dots, no empty parts, nothing that an address gives a meaning to.
VaultPath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.@-]*(/[A-Za-z0-9_-][A-Za-z0-9_.@-]*)*$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class WorkerSettings(_Section):
    """The worker itself."""

    state: LocalPath = Field(description="Directory for mirrors, checkouts, logs, keys and bundles; made 0700.")
    boundary: LocalPath = Field(description="The boundary document.")
    concurrency: int = Field(default=2, ge=1, le=64, description="Runs at once.")


class TrackerSettings(_Section):
    """Where tickets are."""

    kind: Literal["folder"] = Field(description="folder: Markdown files with front matter.")
    path: LocalPath = Field(description="The folder.")


class CodeHostSettings(_Section):
    """Where repositories are."""

    kind: Literal["local"] = Field(description="local: the code host that comes with Ringfence.")
    url: str = Field(pattern=r"^https?://", description="Its root address.")


class VaultItemSettings(_Section):
    """A value in a vault."""

    path: VaultPath = Field(description="Where it stands, below its mount.")
    field: str = Field(min_length=1, description="Which field of it.")
    mount: VaultPath | None = Field(default=None, description="A KV version 2 mount; none for an engine that leases.")


class SecretSettings(_Section):
    """Where one secret is kept: in exactly one of these places."""

    file: LocalPath | None = Field(default=None, description="A file with the value, mode 0600.")
    env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="A variable of the worker.")
    command: Words | None = Field(default=None, min_length=1, description="A command that prints it: words, no shell.")
    vault: VaultItemSettings | None = Field(default=None, description="A value in the vault of section [vault].")
    timeout: float = Field(default=10.0, gt=0, le=120, description="For command: seconds until it is ended.")
    inherit: Words = Field(default=(), description="For command: variables of the worker that it is given.")

    @model_validator(mode="after")
    def _in_one_place(self) -> "SecretSettings":
        if sum(place is not None for place in (self.file, self.env, self.command, self.vault)) != 1:
            raise ValueError("write exactly one of file, env, command and vault")
        if self.command is None and (self.inherit or "timeout" in self.model_fields_set):
            raise ValueError("timeout and inherit belong to command")
        return self


class VaultSettings(_Section):
    """A HashiCorp Vault or OpenBao server, and how the worker logs in: with a token, or by AppRole."""

    url: str = Field(
        pattern=r"^(https://[^/@\s]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?)/?$",
        description="Its root address; plain http only on loopback.",
    )
    token: str | None = Field(default=None, description="The name of the secret that is a token.")
    role_id: str | None = Field(default=None, min_length=1, description="For AppRole: the role's id.")
    secret_id: str | None = Field(
        default=None, description="For AppRole: the name of the secret that is its secret id."
    )
    mount: VaultPath = Field(default="approle", description="For AppRole: where the method is mounted.")
    namespace: VaultPath | None = Field(default=None, description="Sent with every request.")
    ca: LocalPath | None = Field(default=None, description="Certificates that count instead of the system's.")

    @model_validator(mode="after")
    def _by_one_way(self) -> "VaultSettings":
        if (self.token is None) == (self.role_id is None) or (self.role_id is None) != (self.secret_id is None):
            raise ValueError("write token, or role_id and secret_id")
        return self


class SandboxSettings(_Section):
    """User ids for sandboxes of a worker that runs as root."""

    uid_base: int = Field(default=720_000, ge=1000, description="First of the unused user ids.")
    uid_count: int = Field(default=64, ge=2, le=10_000, description="How many there are.")


class EgressSettings(_Section):
    """How the egress proxy finds hosts and gets out, and whose word on who they are counts."""

    authorities: LocalPath | None = Field(
        default=None,
        description="PEM certificates by which servers are verified, by programs inside and, where the proxy opens "
        "TLS, by the proxy; else the bundle of the system.",
    )
    upstream: str | None = Field(
        default=None,
        pattern=r"^http://[A-Za-z0-9.-]+:[0-9]{1,5}/?$",
        description="The proxy of your own network, by which everything goes out: http://host:port.",
    )
    upstream_credential: str | None = Field(
        default=None, description="The name of a secret, `user:password`, for that proxy."
    )
    hosts: dict[str, list[str]] = Field(
        default={}, description="Addresses of hosts by name; others are looked up as the worker's host does."
    )


class AgentSettings(_Section):
    """Which agent does the work, where installed ones are, and an agent of one's own."""

    name: str = Field(default="builtin", min_length=1, description="As `ringfence agents list` shows it.")
    mode: Literal["full", "small"] = Field(
        default="full", description="For builtin. small: for models that can call no tools; one function of one file."
    )
    directory: LocalPath | None = Field(default=None, description="Installed agents; else `agents` beside the state.")
    python: LocalPath | None = Field(
        default=None, description="The tree of a newer interpreter (with bin/python3), for agents that need one."
    )
    command: Words = Field(default=(), description="For the agents `command` and `acp`: a program and its arguments.")


class Settings(_Section):
    """The whole file."""

    worker: WorkerSettings
    tracker: TrackerSettings
    code_host: CodeHostSettings
    secrets: dict[str, SecretSettings] = Field(default={})
    vault: VaultSettings | None = None
    agent: AgentSettings = AgentSettings()
    sandbox: SandboxSettings = SandboxSettings()
    egress: EgressSettings = EgressSettings()
    _variables: dict[str, Secret] = PrivateAttr(default_factory=dict)

    def variable(self, name: str) -> Secret | None:
        """What a variable that these settings name had in the worker's environment when they were read."""
        return self._variables.get(name)

    @model_validator(mode="after")
    def _vault_is_named(self) -> "Settings":
        places = self.secrets.values()
        if self.vault is None and any(place.vault is not None for place in places):
            raise ValueError("a secret is kept in a vault, and there is no section [vault]")
        by = self.egress.upstream_credential
        if by is not None and (by not in self.secrets or self.egress.upstream is None):
            raise ValueError(f"egress.upstream_credential is {by!r}: it needs egress.upstream and [secrets.{by}]")
        login = self.vault and (self.vault.token or self.vault.secret_id)
        if login and (login not in self.secrets or self.secrets[login].vault is not None):
            raise ValueError(f"[vault] logs in with {login!r}, which is no secret outside of the vault")
        return self

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.worker.state


def settings_path(given: Path | None) -> Path:
    """The settings file: the one given, else the one that the environment names, else the default."""
    if given is not None:
        return given
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(DEFAULT)


def load(given: Path | None = None) -> Settings:
    """Read the settings, and take the secrets that they name out of the environment.

    Commands do so before they import what carries runs: libraries start programs that inherit the environment,
    some while they are imported. Errors: `InputError` that names every faulty key.
    """
    path = settings_path(given).absolute()
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(
            "there is no settings file",
            where=str(path),
            mend=f"write one (docs/settings.md), or name it with --settings or {VARIABLE}",
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"the settings cannot be read: {error}", where=str(path), mend="see docs/settings.md"
        ) from None
    try:
        found = Settings.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(f"the settings do not hold: {faults}", where=str(path), mend="see docs/settings.md") from None
    anchored = _anchored(found, path.parent)
    anchored._variables.update(_taken(found))
    return anchored


def _taken(found: Settings) -> dict[str, Secret]:
    """What the settings name of the environment; secrets are not left in it."""
    places = found.secrets.values()
    handed = {name: Secret(os.environ[name]) for place in places for name in place.inherit if name in os.environ}
    kept = {place.env for place in places if place.env is not None and place.env in os.environ}
    return handed | {name: Secret(os.environ.pop(name)) for name in kept}


def _anchored(found: Settings, root: Path) -> Settings:
    """The settings with every path absolute."""
    return found.model_copy(
        update={
            "worker": found.worker.model_copy(
                update={"state": root / found.worker.state, "boundary": root / found.worker.boundary}
            ),
            "tracker": found.tracker.model_copy(update={"path": root / found.tracker.path}),
            "agent": found.agent.model_copy(
                update={
                    "directory": root / (found.agent.directory or found.worker.state.parent / "agents"),
                    "python": root / found.agent.python if found.agent.python is not None else None,
                }
            ),
            "egress": found.egress.model_copy(
                update={"authorities": root / found.egress.authorities if found.egress.authorities else None}
            ),
            "secrets": {
                name: secret.model_copy(update={"file": root / secret.file}) if secret.file is not None else secret
                for name, secret in found.secrets.items()
            },
            "vault": found.vault.model_copy(update={"ca": root / found.vault.ca})
            if found.vault is not None and found.vault.ca is not None
            else found.vault,
        }
    )
