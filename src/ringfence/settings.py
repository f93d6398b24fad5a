"""The operator's settings: where things are. The only module that reads the environment.

What may happen stands in the boundary, never here: no setting widens it. The file is TOML, by default
`ringfence.toml` in the working directory; `RINGFENCE_SETTINGS` names another. Relative paths are
relative to the file.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ringfence.domain.errors import InputError

VARIABLE = "RINGFENCE_SETTINGS"
DEFAULT = "ringfence.toml"


def _path(value: object) -> object:
    return Path(value) if isinstance(value, str) else value


LocalPath = Annotated[Path, BeforeValidator(_path)]


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


class SecretFile(_Section):
    """Where one secret is kept."""

    file: LocalPath = Field(description="A file with the value, mode 0600.")


class SandboxSettings(_Section):
    """User ids for sandboxes of a worker that runs as root."""

    uid_base: int = Field(default=720_000, ge=1000, description="First of the unused user ids.")
    uid_count: int = Field(default=64, ge=2, le=10_000, description="How many there are.")


class EgressSettings(_Section):
    """How the egress proxy finds hosts, and whom programs inside sandboxes trust."""

    authorities: LocalPath | None = Field(
        default=None, description="PEM certificates that programs inside trust; else the bundle of the system."
    )
    hosts: dict[str, list[str]] = Field(
        default={}, description="Addresses of hosts by name; others are looked up as the worker's host does."
    )


class Settings(_Section):
    """The whole file."""

    worker: WorkerSettings
    tracker: TrackerSettings
    code_host: CodeHostSettings
    secrets: dict[str, SecretFile] = Field(default={})
    sandbox: SandboxSettings = SandboxSettings()
    egress: EgressSettings = EgressSettings()

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
    """Read the settings. Errors: `InputError` that names every faulty key."""
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
    return _anchored(found, path.parent)


def _anchored(found: Settings, root: Path) -> Settings:
    """The settings with every path absolute."""
    return found.model_copy(
        update={
            "worker": found.worker.model_copy(
                update={"state": root / found.worker.state, "boundary": root / found.worker.boundary}
            ),
            "tracker": found.tracker.model_copy(update={"path": root / found.tracker.path}),
            "egress": found.egress.model_copy(
                update={"authorities": root / found.egress.authorities if found.egress.authorities else None}
            ),
            "secrets": {name: SecretFile(file=root / secret.file) for name, secret in found.secrets.items()},
        }
    )
