"""`ringfence host`: the local code host; make it, serve it, give out tokens and login links."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringfence.domain.errors import InputError

if TYPE_CHECKING:
    from ringfence.web.host.principals import Permission

app = typer.Typer(
    no_args_is_help=True,
    help="The code host that comes with Ringfence: bare repositories over HTTP, one principal a token, "
    "a ref policy of its own, pull requests with a review page.",
)
Root = Annotated[Path, typer.Option("--root", help="The host's directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("init")
def init(root: Root) -> None:
    """Make the directory of a host, or complete it."""
    from ringfence.web.host.creation import create_host

    print(create_host(root).root)


@app.command("serve")
def serve(
    root: Root,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 0,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    url: Annotated[str | None, typer.Option(help="The https:// address of the TLS proxy before it, if any.")] = None,
    json: AsJson = False,
) -> None:
    """Serve a host until SIGTERM. The address is the first line printed."""
    from ringfence.cli.screen import show_json
    from ringfence.web.host.serve import serve as serving

    def ready(address: str) -> None:
        if json:
            show_json({"url": address})
        else:
            print(address, flush=True)

    raise typer.Exit(serving(root, host, port=port, url=url, ready=ready))


@app.command("add-repository")
def add_repository(
    root: Root,
    name: Annotated[str, typer.Argument(help="owner/name")],
    source: Annotated[Path | None, typer.Option("--from", help="A directory whose files are its first commit.")] = None,
    policy: Annotated[Path | None, typer.Option(help="A JSON file with the policy; see docs/code-host.md.")] = None,
) -> None:
    """Make a repository."""
    import json

    from ringfence.web.host.creation import create_repository
    from ringfence.web.host.git.policy import RepositoryPolicy

    try:
        rules = RepositoryPolicy.from_json(json.loads(policy.read_text("utf-8"))) if policy else RepositoryPolicy()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"the policy cannot be used: {error}", where=str(policy), mend="see docs/code-host.md"
        ) from None
    print(create_repository(root, name, policy=rules, from_directory=source))


@app.command("add-principal")
def add_principal(
    root: Root,
    name: Annotated[str, typer.Argument(help="Its name, a-z, 0-9 and . _ -")],
    kind: Annotated[str, typer.Option(help="worker, human or minter; only humans review and merge.")],
    allow: Annotated[
        list[str], typer.Option(help="owner/name=read, owner/name=write:PREFIX, owner/name=review; repeat it.")
    ],
    token_file: Annotated[Path | None, typer.Option(help="Write the token here, 0600, instead of printing it.")] = None,
    days: Annotated[float | None, typer.Option(help="How long the token lives.", min=0.0)] = None,
) -> None:
    """Make a principal. Its token is shown this once: the host keeps only a digest."""
    from ringfence.adapters.clock import SystemClock
    from ringfence.web.host.creation import NewPrincipal, create_principal, keep_token
    from ringfence.web.host.principals import kind_of

    expires = SystemClock().now() + days * 86_400 if days is not None else None
    token = create_principal(root, NewPrincipal(name, kind_of(kind), _permissions(allow), expires))
    if token_file is None:
        print(token)
    else:
        keep_token(token_file, token)
        print(token_file)


@app.command("remove-principal")
def remove_principal(root: Root, name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Take a principal out: its token and its sessions end at once."""
    from ringfence.adapters.clock import SystemClock
    from ringfence.web.host.layout import Layout
    from ringfence.web.host.principals import Principals

    if not Principals(Layout(root.absolute()).principals, SystemClock()).remove(name):
        raise InputError(f"there is no principal {name!a}", where=str(root))


@app.command("login")
def login(
    root: Root,
    name: Annotated[str, typer.Argument(help="A human principal.")],
    url: Annotated[str, typer.Option(help="The host's address, to print the whole link.")] = "",
) -> None:
    """Print a link that logs a human in, once, within a quarter of an hour."""
    from ringfence.web.host.creation import create_login_link

    print(url.rstrip("/") + create_login_link(root, name))


def _permissions(words: list[str]) -> dict[str, "Permission"]:
    from dataclasses import replace

    from ringfence.web.host.principals import Permission

    found: dict[str, Permission] = {}
    for word in words:
        repository, _, what = word.partition("=")
        permission = found.get(repository, Permission())
        if what.startswith("write:"):
            permission = replace(permission, write_prefix=what.removeprefix("write:"))
        elif what == "review":
            permission = replace(permission, review=True)
        elif what != "read":
            raise InputError(f"{word!a} is no permission", mend="use owner/name=read, =write:PREFIX or =review")
        found[repository] = permission
    return found
