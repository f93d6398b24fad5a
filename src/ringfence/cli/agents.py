"""`agents`: which agents can do the work, and their installation from the package registries."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ringfence.cli.work import JsonOption, SettingsOption

app = typer.Typer(no_args_is_help=True, help="Agents that can do the work: what there is, and their installation.")

#: Where the runs of docs/agents.md were made.
TESTED_ON = "Debian 12, x86_64"


@app.command("list")
def list_agents(
    settings: SettingsOption = None,
    json: JsonOption = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read every installed tree and compare digests.")] = False,
) -> None:
    """Show every known agent: pinned version, protocol, whether it is installed, and where it was tested."""
    from ringfence.cli.screen import show_json, table

    rows = [*_rows(settings, verify)]
    if json:
        show_json(rows)
        return
    headings = ("name", "agent", "version", "protocol", "installed", "tested on")
    table(headings, ([str(row[heading.replace(" ", "_")]) for heading in headings] for row in rows))


@app.command("install")
def install(
    names: Annotated[list[str], typer.Argument(help="Names as `ringfence agents list` shows them; or `all`.")],
    settings: SettingsOption = None,
) -> None:
    """Install agents with the machine's own npm and pip, each package checked against its pinned digest.

    Nothing is fetched while a run is going on: an agent that is not installed stops the worker's start.
    """
    from ringfence.adapters.agents.external.table import TABLE
    from ringfence.agents import shelf
    from ringfence.cli.screen import plain
    from ringfence.domain.errors import InputError
    from ringfence.settings import load

    shelved = shelf(load(settings))
    unknown = [name for name in names if name not in TABLE and name != "all"]
    if unknown:
        raise InputError(f"there is no agent {unknown[0]!r}", mend=f"known are {', '.join(TABLE)}")
    everything = "all" in names
    for entry in [entry for entry in TABLE.values() if everything or entry.name in names]:
        fault = shelved.fault(entry)
        if everything and fault:
            print(plain(f"{entry.name}: left out: {fault}"))
            continue
        installed = shelved.install(entry)
        size = installed.size >> 20
        print(
            plain(f"{entry.name} {installed.version}: {size} MiB in {installed.place}, {installed.digest}"), flush=True
        )


def _rows(settings: Path | None, verify: bool) -> Iterator[dict[str, Any]]:
    from ringfence import __version__
    from ringfence.adapters.agents.external.table import TABLE
    from ringfence.agents import shelf
    from ringfence.settings import load

    shelved = shelf(load(settings))
    yield {"name": "builtin", "agent": "the built-in agent", "version": __version__, "protocol": "chat",
           "installed": "comes along", "tested_on": TESTED_ON, "package": None}  # fmt: skip
    for entry in TABLE.values():
        found = shelved.find(entry.name)
        state = "yes" if found else shelved.fault(entry) or "no"
        if found and verify:
            state = "yes, intact" if shelved.intact(found) else "CHANGED since it was installed"
        yield {"name": entry.name, "agent": entry.title, "version": entry.version, "protocol": entry.protocol,
               "installed": state, "tested_on": TESTED_ON, "package": f"{entry.source}: {entry.package}"}  # fmt: skip
