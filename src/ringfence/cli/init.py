"""`ringfence init`: a first boundary for a repository, written by looking at it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ringfence.cli.init_look import Found


def init(
    directory: Annotated[
        Path, typer.Argument(help="A checkout of the repository; it is read, nothing is run.")
    ] = Path(),
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.")] = Path("boundary.yaml"),
    repository: Annotated[str | None, typer.Option(help="owner/name at the code host; else from the remote.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who signs for it. You, for now.")] = None,
    requester: Annotated[str | None, typer.Option(help="Account name of who may ask for changes.")] = None,
    location: Annotated[str, typer.Option(help="Directory of the worker on its host.")] = "/srv/ringfence",
    toolchain: Annotated[str | None, typer.Option(help="Directory with the repository's tools, bin/ in it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented boundary for a repository by looking at it.

    It begins at stage `observe`: a ticket becomes a brief for people, no model is called, nothing is written.
    What cannot be known is marked <…> and refused by `ringfence boundary check` until it is filled in; with
    --owner, --requester and a recognised build file nothing is.

        ringfence init ~/src/shop --owner "Dana Okafor" --requester dana
    """
    from ringfence.adapters.clock import SystemClock
    from ringfence.cli.init_document import Answers, document
    from ringfence.cli.init_look import look
    from ringfence.cli.screen import moment
    from ringfence.domain.errors import InputError

    if not directory.is_dir():
        raise InputError(f"{directory} is no directory", mend="name a checkout of the repository")
    found = look(directory)
    today = moment(SystemClock().now())[:10]
    answers = Answers(owner, requester, repository, location, toolchain, today)
    text = document(found, answers)
    _write(output, text, force=force)
    _report(output, text, found)


def _write(output: Path, text: str, *, force: bool) -> None:
    """Create the file; one that is there is somebody's decision and stays, unless `force`."""
    from ringfence.domain.errors import InputError

    try:
        with output.open("w" if force else "x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except FileExistsError:
        raise InputError(
            f"{output} is there already", mend="name another file with --output, or replace it with --force"
        ) from None
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}", mend="name another file") from None


def _report(output: Path, text: str, found: "Found") -> None:
    from ringfence.cli.screen import plain
    from ringfence.domain.boundary import Boundary
    from ringfence.domain.parse import parse

    print(f"wrote {plain(str(output))}, at stage observe")
    for check in found.checks:
        print(f"  check {check.name}: {plain(' '.join(check.run))} ({check.because})")
    parsed = parse(text, source=str(output))
    if isinstance(parsed, Boundary):
        print(f"it holds; read it with `ringfence boundary show {plain(str(output))}`")
        return
    print("to fill in, then `ringfence boundary check` again:")
    for problem in parsed:
        print(f"  {plain(str(problem))}")
