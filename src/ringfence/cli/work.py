"""`context`, `run`, `worker`, `sweep`: the commands that carry tickets."""

import time
from pathlib import Path
from typing import Annotated

import typer

SettingsOption = Annotated[
    Path | None, typer.Option("--settings", help="Settings file; default ringfence.toml, or $RINGFENCE_SETTINGS.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for scripts.")]
TicketArgument = Annotated[str, typer.Argument(help="Id of the ticket, for example INV-7.")]


def context(ticket: TicketArgument, settings: SettingsOption = None, json: JsonOption = False) -> None:
    """Show the brief that an agent would be given, without calling any model.

    This is the read-only test of a pilot's first days: the ticket is admitted, the repository is read with the
    checkout grant, and what would be sent is printed part by part with its provenance and trust. Nothing is changed.
    """
    from ringfence.settings import load

    found = load(settings)  # before libraries come in: see `settings.load`

    from ringfence.cli.screen import plain, show_json
    from ringfence.wiring import brief_of, reading

    with reading(found) as look:
        brief = brief_of(look, ticket)
    if json:
        parts = [
            {"kind": p.kind, "title": p.title, "provenance": p.provenance, "trust": p.trust.value} for p in brief.parts
        ]
        show_json(
            {
                "tokens": brief.tokens,
                "digest": brief.digest,
                "parts": parts,
                "left_out": brief.left_out,
                "text": brief.text,
            }
        )
        return
    print(plain(brief.text))
    print(f"\n{brief.line}; no model was called")
    for part in brief.parts:
        print(f"  {part.kind:<13} {part.trust.value:<10} {plain(part.provenance)}")
    for name in brief.left_out:
        print(f"  left out: {plain(name)}")


def run(
    ticket: TicketArgument,
    settings: SettingsOption = None,
    json: JsonOption = False,
    detach: Annotated[bool, typer.Option("--detach", help="Only queue it, for a worker that is at work.")] = False,
) -> None:
    """Carry one ticket to a pull request, showing progress.

    When a worker is at work on the same state directory it takes the run, and this command follows it; else this
    process is the worker. A run that was cut off is taken up again where it was. Ctrl-C leaves the run resumable;
    `ringfence cancel RUN` ends it.
    """
    from ringfence.settings import load

    found = load(settings)  # before libraries come in: see `settings.load`

    from ringfence.cli.interrupt import end_at_once, halt_on_signal
    from ringfence.cli.progress import follow
    from ringfence.cli.report import show_end
    from ringfence.wiring import reading, submit_elsewhere, working

    with reading(found) as look:
        name = submit_elsewhere(look, ticket)
        if name is not None:
            if detach:
                print(name)
                return
            follow(look.log, name, json=json)
            raise typer.Exit(show_end(look, name, json=json))
    with working(found) as at_work:
        halt_on_signal(found.state)
        name = at_work.submit(ticket)
        end_at_once(lambda: f"{name} is kept: `ringfence run {ticket}` goes on, `ringfence cancel {name}` ends it")
        follow(at_work.reading.log, name, json=json)
        at_work.engine.wait(name)
        code = show_end(at_work.reading, name, json=json)
    raise typer.Exit(code)


def worker(
    settings: SettingsOption = None,
    json: JsonOption = False,
    once: Annotated[bool, typer.Option("--once", help="End when no ticket is due and no run is unfinished.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between looks at the tracker.", min=0.2)] = 5.0,
) -> None:
    """Take approved tickets from the tracker and carry each to a pull request.

    A ticket is taken once as it stands; editing it makes it due again. Stop with Ctrl-C or SIGTERM: unfinished runs
    go on when a worker starts again. SIGUSR1 halts all runs.
    """
    from ringfence.settings import load

    found = load(settings)  # before libraries come in: see `settings.load`

    from ringfence.cli.interrupt import end_at_once, halt_on_signal
    from ringfence.cli.screen import plain, show_json
    from ringfence.wiring import working

    with working(found) as at_work:
        halt_on_signal(at_work.reading.places.state)
        running: set[str] = set(at_work.resumed)
        end_at_once(lambda: f"stopped; unfinished runs are kept: {' '.join(sorted(running)) or 'none'}")
        _say(json, "worker.ready", resumed=sorted(running))
        while True:
            for ticket in at_work.due():
                name = at_work.submit(ticket.id)
                if name not in running:
                    running.add(name)
                    _say(json, "run.queued", run=name, ticket=ticket.id)
            for name in sorted(running - set(at_work.engine.unfinished())):
                running.discard(name)
                view = at_work.reading.view(name)
                if json:
                    show_json({"event": "run.ended", "run": name, "outcome": view.outcome, "url": view.pull_request})
                else:
                    print(plain(f"{name}: {view.outcome} {view.pull_request or view.reason}"), flush=True)
            if once and not running and not at_work.due():
                return
            time.sleep(min(every, 0.5) if running else every)


def sweep(settings: SettingsOption = None, json: JsonOption = False) -> None:
    """Remove what the boundary no longer keeps: left-over checkouts, old mirrors, layers, model exchanges and logs."""
    from ringfence.settings import load

    found = load(settings)  # before libraries come in: see `settings.load`

    from dataclasses import asdict

    from ringfence.cli.screen import plain, show_json
    from ringfence.wiring import reading, sweep_now

    with reading(found) as look:
        removed = sweep_now(look)
    if json:
        show_json(asdict(removed))
        raise typer.Exit(1 if removed.left else 0)
    for kind, names in (
        ("checkout", removed.checkouts),
        ("mirror", removed.mirrors),
        ("layer", removed.layers),
        ("model exchanges of", removed.bodies),
        ("run", removed.runs),
    ):
        for name in names:
            print(plain(f"removed {kind} {name}"))
    counts = f"{len(removed.checkouts)} checkouts, {len(removed.mirrors)} mirrors, {len(removed.layers)} layers"
    print(f"{counts}, {len(removed.runs)} runs and {removed.blobs} blobs of the content store removed")
    for sentence in removed.left:
        print(plain(f"LEFT  {sentence}"))
    if removed.left:
        raise typer.Exit(1)


def _say(json: bool, event: str, **fields: object) -> None:
    from ringfence.cli.screen import plain, show_json

    if json:
        show_json({"event": event, **fields})
    else:
        said = "  ".join(f"{key}={value}" for key, value in fields.items() if value)
        print(plain(f"{event}  {said}".rstrip()), flush=True)
