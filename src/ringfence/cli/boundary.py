"""`ringfence boundary`: check a boundary document, show it to its readers, compare two, and help editors."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ringfence.domain.boundary import Boundary

app = typer.Typer(
    no_args_is_help=True,
    help="The boundary document: what a worker may do, in one reviewed file.\n\n"
    "`ringfence init` writes a first one; docs/boundary.md describes every key.",
)

FileArgument = Annotated[Path, typer.Argument(help="A boundary document, for example boundary.yaml.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


class Form(StrEnum):
    """How a page is written."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    HTML = "html"


class Reader(StrEnum):
    """Who reads a page."""

    ALL = "all"
    ENGINEERING = "engineering"
    SECURITY = "security"
    PLATFORM = "platform"


@app.command()
def check(file: FileArgument = Path("boundary.yaml"), json: JsonOption = False) -> None:
    """Check a document and print every problem with its place and what to write instead.

    Exit code 0: it holds. 2: it does not, or it cannot be read.
    """
    from dataclasses import asdict

    from ringfence.cli.screen import plain, show_json
    from ringfence.domain.boundary import Boundary
    from ringfence.domain.parse import digest, parse

    content = _read(file)
    parsed = parse(content.decode("utf-8", "replace"), source=str(file))
    sound = isinstance(parsed, Boundary)
    problems = () if isinstance(parsed, Boundary) else parsed
    if json:
        show_json({"file": str(file), "digest": digest(content), "holds": sound, "problems": [*map(asdict, problems)]})
    elif sound:
        print(f"{plain(str(file))} holds: {digest(content)}")
    else:
        for problem in problems:
            print(plain(str(problem)))
        print(f"{len(problems)} problem{'s' if len(problems) != 1 else ''}")
    if not sound:
        raise typer.Exit(2)


@app.command()
def show(
    file: FileArgument = Path("boundary.yaml"),
    form: Annotated[Form, typer.Option("--format", help="How to write it.")] = Form.TERMINAL,
    reader: Annotated[Reader, typer.Option("--for", help="Whose questions to answer.")] = Reader.ALL,
    json: JsonOption = False,
) -> None:
    """Show a document to people, first of all what leaves, to whom, and who signed for it.

    `--format html > boundary.html` makes one file that loads nothing and can be sent around.
    """
    from dataclasses import asdict

    from ringfence.cli.boundary_page import html, markdown, print_page
    from ringfence.cli.screen import show_json
    from ringfence.domain.describe import describe
    from ringfence.domain.parse import digest

    boundary, content = _sound(file)
    page = describe(boundary, digest(content), reader=None if reader is Reader.ALL else reader.value)
    if json:
        show_json(asdict(page))
    elif form is Form.HTML:
        print(html(page), end="")
    elif form is Form.MARKDOWN:
        print(markdown(page), end="")
    else:
        print_page(page)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="The document as it was.")],
    new: Annotated[Path, typer.Argument(help="The document as it would be.")],
    json: JsonOption = False,
) -> None:
    """Say in words what became reachable, what no longer is, and every other value that changed."""
    from dataclasses import asdict

    from ringfence.cli.screen import plain, show_json
    from ringfence.domain.reach import difference

    found = difference(_sound(old)[0], _sound(new)[0])
    if json:
        show_json(asdict(found))
        return
    if found.empty:
        print("nothing changed")
    for heading, lines in (
        ("became reachable", found.opened),
        ("no longer reachable", found.closed),
        ("every changed value", found.changed),
    ):
        if lines:
            print(f"{heading}:")
            for line in lines:
                print(f"  {plain(line)}")


@app.command()
def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page instead.")] = False,
) -> None:
    """Print the JSON Schema of the document, for editors.

    It knows keys and forms; what the parts say of each other only `check` knows.
    """
    from ringfence.cli.boundary_reference import reference
    from ringfence.domain.boundary import Boundary

    if markdown:
        print(reference(), end="")
        return
    from json import dumps

    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Boundary.model_json_schema()}
    print(dumps(described, indent=2))


def _read(file: Path) -> bytes:
    from ringfence.domain.errors import InputError

    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"the boundary document cannot be read: {error.strerror}",
            where=str(file),
            mend="name the file; `ringfence init` writes a first one",
        ) from None


def _sound(file: Path) -> "tuple[Boundary, bytes]":
    from ringfence.domain.boundary import Boundary
    from ringfence.domain.errors import InputError
    from ringfence.domain.parse import parse

    content = _read(file)
    parsed = parse(content.decode("utf-8", "replace"), source=str(file))
    if isinstance(parsed, Boundary):
        return parsed, content
    raise InputError(
        f"the boundary document does not hold: {len(parsed)} problems, the first: {parsed[0]}",
        where=str(file),
        mend=f"`ringfence boundary check {file}` lists them all",
    )
