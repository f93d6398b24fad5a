"""`doctor`: what this host has and lacks, each with the mend; nothing is changed."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from ringfence.cli.work import JsonOption, SettingsOption
from ringfence.domain.errors import RingfenceError

CGROUPS = "control groups demanded"


@dataclass(frozen=True, slots=True)
class Finding:
    """One prerequisite: whether it is there, what was seen, and how to mend it."""

    name: str
    ok: bool
    detail: str
    mend: str = ""
    #: False for what is better to have and not demanded here: a control group that the boundary only prefers.
    required: bool = True


def doctor(settings: SettingsOption = None, json: JsonOption = False) -> None:
    """Look at this host and at the settings, and attack the sandbox.

    Exit code 3 when something that a worker needs is missing. Without a settings file only the host is looked at.
    """
    from ringfence.cli.screen import plain, show_json

    configured = list(_configured(settings))
    findings = [*_host(any(finding.name == CGROUPS for finding in configured)), *configured]
    failed = [finding for finding in findings if not finding.ok and finding.required]
    if json:
        show_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            word = "ok  " if finding.ok else "FAIL" if finding.required else "note"
            print(plain(f"{word}  {finding.name:<28} {finding.detail}"))
            if not finding.ok and finding.mend:
                print(plain(f"      mend: {finding.mend}"))
    if failed:
        raise typer.Exit(3)


def _host(cgroups: bool) -> Iterator[Finding]:
    from ringfence.adapters.sandboxes.bubblewrap.prerequisites import prerequisites

    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")
    for found in prerequisites():
        yield Finding(
            found.name, found.ok, found.detail, found.mend, required=cgroups or found.name != "control groups"
        )


def _configured(settings: Path | None) -> Iterator[Finding]:
    from ringfence.settings import load, settings_path

    path = settings_path(settings)
    if not path.exists():
        yield Finding("settings", True, f"none at {path}; only the host was looked at")
        return
    try:
        found = load(settings)
        from ringfence import wiring  # after it: see `settings.load`

        with wiring.reading(found) as look:
            yield Finding("settings", True, str(path))
            yield Finding("boundary", True, f"{found.worker.boundary} ({look.boundary.name})")
            if look.boundary.limits.sandbox.cgroup == "required":
                yield Finding(CGROUPS, True, "limits.sandbox.cgroup: required")
            for name, check in wiring.health(look):
                yield _tried(name, check)
    except RingfenceError as error:
        yield Finding("settings and boundary", False, f"{error.what} {error.where}", error.mend)


def _tried(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except RingfenceError as error:
        return Finding(name, False, f"{error.what} {error.where}".strip(), error.mend)
