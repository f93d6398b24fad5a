"""`ringfence`: the commands, put together. Heavy imports wait inside the commands, so that `--help` is quick."""

import sys

import typer

from ringfence.cli import agents, boundary, doctor, host, models, runs, stop, verify, work
from ringfence.cli import demo as demo_command
from ringfence.cli import init as init_command
from ringfence.cli import prove as prove_command
from ringfence.cli.screen import show_error
from ringfence.domain.errors import RingfenceError

app = typer.Typer(
    name="ringfence",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn approved tickets into pull requests with any coding agent, inside a boundary that you wrote down.\n\n"
    "Begin with `ringfence demo`. Then `ringfence init` writes a boundary for a repository of yours, "
    "`ringfence doctor` looks at this host, `ringfence context TICKET` shows what an agent would be given "
    "without calling any model, and `ringfence run TICKET` does the work.\n\n"
    "Exit codes: 0 done; 1 failed; 2 bad input; 3 a control is missing; 4 a host failed; 5 evidence is broken; "
    "6 cancelled; 7 the run stopped with a recorded reason; 8 the ticket was refused; 9 halted, but "
    "not all of it could be confirmed.",
)
app.command("demo")(demo_command.demo)
app.command("init")(init_command.init)
app.add_typer(boundary.app, name="boundary")
app.add_typer(agents.app, name="agents")
app.command("doctor")(doctor.doctor)
app.command("prove")(prove_command.prove)
app.command("context")(work.context)
app.command("run")(work.run)
app.command("worker")(work.worker)
app.command("runs")(runs.runs)
app.command("show")(runs.show)
app.command("logs")(runs.logs)
app.command("cancel")(runs.cancel)
app.command("halt")(stop.halt)
app.command("resume")(stop.resume)
app.command("quarantine")(stop.quarantine)
app.command("release")(stop.release)
app.command("incident")(stop.incident)
app.command("verify")(verify.verify)
app.command("sweep")(work.sweep)
app.add_typer(models.app, name="models")
app.add_typer(host.app, name="host")


def main() -> None:
    """Run a command; an error of ours becomes three lines and an exit code that scripts can use."""
    try:
        app()
    except RingfenceError as error:
        show_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
