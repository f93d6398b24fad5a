"""`halt`, `resume`, `quarantine`, `release`, `incident`: the commands of a bad day. docs/incident.md says when."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringfence.cli.runs import RunArgument
from ringfence.cli.work import JsonOption, SettingsOption

if TYPE_CHECKING:
    from ringfence.domain.halt import Scope
    from ringfence.settings import Settings

RunOption = Annotated[str | None, typer.Option("--run", help="This run alone.")]
RepositoryOption = Annotated[str | None, typer.Option("--repository", help="All runs of this repository.")]
AllOption = Annotated[bool, typer.Option("--all", help="All runs of this worker.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is shown to everybody whom it stops.")]
#: The halt is in force, but not everything could be confirmed.
UNCONFIRMED = 9


def halt(
    reason: ReasonOption,
    run: RunOption = None,
    repository: RepositoryOption = None,
    everything: AllOption = False,
    patience: Annotated[float, typer.Option(help="Seconds that the worker has to close its runs.", min=0)] = 5.0,
    settings: SettingsOption = None,
    json: JsonOption = False,
) -> None:
    """Stop runs now: their sandboxes are killed, doors closed, grants let go, pushes aborted, new runs refused.

    It kills by itself and does not wait for the worker, so it works when the worker hangs or the database is locked or
    broken; with --all, a worker that does not answer is ended too. It stays in force over restarts until
    `ringfence resume`. Exit code 0: all of it is confirmed; 9: in force, but not everything could be confirmed; 3:
    something is still running.
    """
    from dataclasses import asdict, replace

    from ringfence.cli.order import put_in_force
    from ringfence.cli.screen import plain, show_json, user
    from ringfence.domain.halt import Halt
    from ringfence.settings import load

    scope, name = _scope(run, repository, everything)
    found = load(settings)  # before libraries come in: see `settings.load`
    wanted = put_in_force(found.state, Halt(scope, name, reason, user()))
    from ringfence.emergency import halt as pull

    done = pull(found, wanted, patience)
    if done.orphaned:
        from ringfence.wiring import revoke_grants  # only now: it brings everything in

        grants, left = revoke_grants(found, wanted)
        done = replace(done, grants=grants, open=(*done.open, *left))
    if json:
        show_json({**asdict(done), "confirmed": done.confirmed})
    else:
        print(plain(f"{done.what}: halted"))
        print(f"processes      {done.processes} ended, {done.left} left; none there {_after(done.last_process)}")
        print(f"worker         {done.worker}" + (f": {plain(' '.join(done.runs))}" if done.runs else ""))
        print(f"doors          the last closed {_after(done.last_door)}")
        if done.grants:
            print(f"grants         {done.grants} revoked, which nobody else was there to give back")
        for sentence in done.open:
            print(f"NOT CONFIRMED  {plain(sentence)}")
        print("in force until `ringfence resume`")
    if not done.confirmed:
        raise typer.Exit(3 if done.left else UNCONFIRMED)


def resume(
    run: RunOption = None,
    repository: RepositoryOption = None,
    everything: AllOption = False,
    settings: SettingsOption = None,
    json: JsonOption = False,
) -> None:
    """Lift the halt of exactly this scope. Runs that it ended stay ended: start new ones of their tickets."""

    from ringfence.settings import load

    scope, name = _scope(run, repository, everything)
    found = load(settings)  # before libraries come in: see `settings.load`
    from ringfence.adapters.clock import SystemClock
    from ringfence.cli.screen import plain, show_json, user
    from ringfence.pipeline.orders import Orders

    orders = Orders(found.state)
    lifted = orders.resume(scope, name)
    orders.note("resume", halted=[halt.line for halt in lifted], by=user(), since=SystemClock().now())
    left = orders.halts()
    if json:
        show_json({"lifted": [halt.line for halt in lifted], "in_force": [halt.line for halt in left]})
        return
    for halt in lifted:
        print(plain(f"lifted: {halt.line}"))
    if not lifted:
        print("there is no such halt")
    for halt in left:
        print(plain(f"still in force: {halt.line}"))


def quarantine(
    run: RunArgument, reason: ReasonOption, settings: SettingsOption = None, json: JsonOption = False
) -> None:
    """Freeze a run's processes and keep its sandbox, trees and log as they are, for inspection.

    Nothing of it executes, nothing of it is removed and nothing leaves, until `ringfence release RUN` ends it.
    """

    from ringfence.settings import load

    found = load(settings)  # before libraries come in: see `settings.load`
    from ringfence.adapters.clock import SystemClock
    from ringfence.cli.screen import plain, show_json, user
    from ringfence.domain.events import RunQuarantined
    from ringfence.emergency import quarantine as freeze
    from ringfence.pipeline.orders import Quarantine

    by = user()
    frozen = freeze(found, run, Quarantine(reason, by, SystemClock().now()))
    noted = _record(found, run, RunQuarantined(by, reason, len(frozen.processes), frozen.how))
    if json:
        show_json({"run": run, "processes": frozen.processes, "how": frozen.how, "on_the_log": not noted})
        return
    print(
        plain(f"{run}: {len(frozen.processes)} processes frozen by {frozen.how}; kept in {found.state / 'runs' / run}")
    )
    print(plain(noted) if noted else f"`ringfence incident {run}` exports it, `ringfence release {run}` ends it")


def release(run: RunArgument, settings: SettingsOption = None, json: JsonOption = False) -> None:
    """End a quarantined run: its frozen processes are killed, then its worker, or the next one, removes its trees."""

    from ringfence.settings import load

    found = load(settings)  # before libraries come in: see `settings.load`
    from ringfence.cli.screen import plain, show_json, user
    from ringfence.domain.events import RunReleased
    from ringfence.emergency import release as let_go

    by = user()
    ended, noted = let_go(found, run, by, lambda count: _record(found, run, RunReleased(by, count)))
    if json:
        show_json({"run": run, "processes": ended, "on_the_log": not noted})
        return
    print(f"{run}: released, {ended} processes ended; a worker that is at work, or the next one, cleans up")
    if noted:
        print(plain(noted))


def incident(
    run: RunArgument,
    output: Annotated[Path | None, typer.Option(help="Where to write it; default RUN.incident.tar.")] = None,
    settings: SettingsOption = None,
    json: JsonOption = False,
) -> None:
    """Export what is known of a run for people who look into it: log, timeline, processes and files, redacted.

    Files of its trees are listed with size and digest, never copied. It changes nothing, and works while a run is
    quarantined, at work, or over.
    """
    from ringfence.settings import load

    found = load(settings)  # before libraries come in: see `settings.load`
    from ringfence.cli.screen import place, show_json
    from ringfence.emergency import sandboxes_of
    from ringfence.pipeline.incident import Scene, export
    from ringfence.wiring import reading

    target = output or Path(f"{run}.incident.tar")
    with reading(found) as look:
        look.view(run)
        scene = Scene(look.log, look.places, sandboxes_of(found), look.boundary_text, look.redactor.redact_text)
        names = export(scene, run, target, now=look.clock.now())
    if json:
        show_json({"run": run, "file": str(target), "members": names})
        return
    print(f"{place(target)}: {', '.join(names)}")


def _scope(run: str | None, repository: str | None, everything: bool) -> "tuple[Scope, str]":
    from ringfence.domain.errors import InputError
    from ringfence.domain.halt import file_name, from_file

    if sum((run is not None, repository is not None, everything)) != 1:
        raise InputError("it is not said what is meant", mend="give one of --run RUN, --repository NAME and --all")
    if everything:
        return "all", ""
    scope: Scope = "run" if run is not None else "repository"
    name = run or repository or ""
    if (meant := from_file(file_name(scope, name), b"", 0.0)).scope != scope or meant.name != name:
        raise InputError(f"{name!r} is no {scope}", mend="`ringfence runs` lists runs, the boundary repositories")
    return scope, name


def _record(found: "Settings", run: str, event: object) -> str:
    """Put an event on the run's log; why that was not possible, or nothing."""
    from typing import cast

    from ringfence.domain.errors import RingfenceError
    from ringfence.domain.events import Event
    from ringfence.domain.run import RunState
    from ringfence.wiring import reading

    try:
        with reading(found) as look:
            if look.view(run).state is RunState.ENDED:
                return "not on the run's log: it has ended"
            look.log.append(run, cast(Event, event))
    except RingfenceError as failure:
        return f"not on the run's log, only in interventions.jsonl: {failure.what}"
    return ""


def _after(seconds: float | None) -> str:
    if seconds is None:
        return "NOT CONFIRMED"
    return f"{seconds:.2f} s after the command" if seconds else "before the command: there was none"
