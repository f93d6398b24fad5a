"""`runs`, `show`, `logs`, `cancel`: what has happened, and the end of what is happening."""

from typing import Annotated

import typer

from ringfence.cli.work import JsonOption, SettingsOption

RunArgument = Annotated[str, typer.Argument(help="Id of the run, for example INV-7-r1; `ringfence runs` lists them.")]


def runs(settings: SettingsOption = None, json: JsonOption = False) -> None:
    """List runs, the newest first."""
    from ringfence.settings import load

    found = load(settings)  # before libraries come in: see `settings.load`

    from dataclasses import asdict

    from ringfence.cli.screen import moment, show_json, table
    from ringfence.wiring import reading

    with reading(found) as look:
        views = [(look.log.records(run)[0].time, look.view(run)) for run in look.runs()]
    if json:
        show_json([{"began": began, **asdict(view)} for began, view in views])
        return
    rows = [
        (view.id, moment(began), view.state.value, view.outcome or view.stage, view.pull_request or view.reason)
        for began, view in views
    ]
    if not rows:
        print("no runs yet: `ringfence run TICKET` starts one")
        return
    table(("run", "began (UTC)", "state", "outcome", "pull request or reason"), rows)


def show(
    run: RunArgument,
    settings: SettingsOption = None,
    json: JsonOption = False,
    network: Annotated[bool, typer.Option("--network", help="List every attempt to leave by the network.")] = False,
    models: Annotated[bool, typer.Option("--models", help="List every call to a model.")] = False,
    content: Annotated[str, typer.Option("--content", help="Print what the log names by this digest, redacted.")] = "",
) -> None:
    """Show one run: how it ended, its checks before and after, what left the sandbox, and its evidence."""
    from ringfence.settings import load

    found = load(settings)  # before libraries come in: see `settings.load`

    from ringfence.cli.report import show_content, show_models, show_network, show_run
    from ringfence.wiring import reading

    with reading(found) as look:
        if content:
            show_content(look, run, content, json=json)
            return
        (show_network if network else show_models if models else show_run)(look, run, json=json)


def logs(
    run: RunArgument,
    settings: SettingsOption = None,
    json: JsonOption = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
) -> None:
    """Print the audit log of a run, record by record."""
    from ringfence.settings import load

    found = load(settings)  # before libraries come in: see `settings.load`

    from dataclasses import asdict

    from ringfence.cli.progress import record_as_text
    from ringfence.cli.screen import show_json
    from ringfence.wiring import reading

    with reading(found) as look:
        look.view(run)
        for record in look.log.follow(run) if follow else look.log.records(run):
            if json:
                show_json(asdict(record))
            else:
                print(record_as_text(record), flush=True)


def cancel(run: RunArgument, settings: SettingsOption = None, json: JsonOption = False) -> None:
    """End a run: its sandbox is killed within a second, its trees are removed, and the log says who asked."""
    from ringfence.settings import load

    found = load(settings)  # before libraries come in: see `settings.load`

    from ringfence.cli.screen import show_json, user
    from ringfence.wiring import reading

    with reading(found) as look:
        asked = look.cancel(run, user())
    if json:
        show_json({"run": run, "cancelled": asked})
    else:
        print(f"{run} will end now" if asked else f"{run} has ended already")
