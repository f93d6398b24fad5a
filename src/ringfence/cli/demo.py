"""`demo`: everything set up in one directory, and the sample ticket carried to a pull request; no account, no key."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringfence.cli.work import JsonOption

if TYPE_CHECKING:
    from ringfence.cli.demo_registry import Registry

_MARKER = ".ringfence-demo"
_KEPT = ("toolchain", _MARKER)
_DEPENDENCY = "dependency.txt"
TICKET = "INV-7"


def demo(
    directory: Annotated[Path, typer.Option(help="Where the demo lives; made anew each time.")] = Path(
        "ringfence-demo"
    ),
    json: JsonOption = False,
    serve: Annotated[bool, typer.Option("--serve", help="Keep the code host open afterwards, until Ctrl-C.")] = False,
) -> None:
    """Set up a code host, a sample repository, tickets and a boundary, and carry a ticket to a pull request.

    The model is a recording (provider `replay`) and labelled so wherever it shows: it first makes a change that
    fails a check, is given the failing output, and mends it. Everything else is real: git, the sandbox, the checks,
    the log, the pull request. The sample's tools are fetched from your package index, and its dependency is installed
    from there in set-up, through the proxy, by a sandbox that may reach nothing else.
    """
    from ringfence.cli.interrupt import end_at_once
    from ringfence.cli.progress import follow
    from ringfence.cli.report import show_end
    from ringfence.cli.screen import place
    from ringfence.settings import load
    from ringfence.wiring import working

    root = directory.absolute()
    with _site(root) as (address, registry):
        settings = load(root / "ringfence.toml")
        _say(json, f"code host    {address} (ours, local)")
        _say(json, f"boundary     {place(root / 'boundary.yaml')}")
        _say(json, f"ticket       {place(root / 'tickets' / (TICKET + '.md'))}")
        _say(json, f"registry     {registry.line}\n")
        with working(settings) as worker:
            run = worker.submit(TICKET)
            end_at_once(lambda: "the demo was ended; running it again begins anew")
            follow(worker.reading.log, run, json=json)
            worker.engine.wait(run)
            code = show_end(worker.reading, run, json=json)
            url = worker.reading.view(run).pull_request
        if code == 0:
            code = _verified(root, run)
            _say(
                json,
                "\nverified       the bundle holds: log, signatures, and the pushed tree is the validated tree"
                if code == 0
                else "\nBROKEN         the bundle does not hold",
            )
        _farewell(root, address, url, json=json, serve=serve)
        if serve and code == 0:
            _until_interrupted()
    raise typer.Exit(code)


@contextmanager
def _site(root: Path) -> Iterator[tuple[str, "Registry"]]:
    """The demo's directory, made anew, and its code host, serving; the host's address, and what set-up may reach."""
    import fcntl

    from ringfence.cli.demo_registry import find_registry
    from ringfence.domain.errors import InputError

    _require_ours(root)
    root.mkdir(parents=True, exist_ok=True)
    with (root / _MARKER).open("a") as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("a demo is running here", where=str(root), mend="end it, or use --directory") from None
        _clear(root)
        toolchain = _toolchain(root / "toolchain" / "python")
        registry = find_registry(toolchain / "bin" / "python3", toolchain.parent / _DEPENDENCY)
        _furnish(root, toolchain, registry)
        with _host(root / "host") as address:
            _settle(root, address, registry.certificates)
            yield address, registry


def _require_ours(root: Path) -> None:
    from ringfence.domain.errors import InputError

    if root.exists() and any(root.iterdir()) and not (root / _MARKER).exists():
        raise InputError("this directory is not empty and not a demo's", where=str(root), mend="use --directory")


def _clear(root: Path) -> None:
    from ringfence.pipeline.rooms import remove_tree

    for path in root.iterdir():
        if path.name in _KEPT:
            continue
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink()


def _toolchain(target: Path) -> Path:
    """A virtual environment with the sample's tools, from hash-pinned requirements; made once.

    Beside the tools it has a copy of the sample's dependency, for hosts whose sandboxes can reach no registry.
    """
    import hashlib
    import subprocess
    import sys

    from ringfence.cli.demo_registry import COPY
    from ringfence.demo_content import text
    from ringfence.domain.errors import ControlMissing

    wanted, depends = text("toolchain-requirements.txt"), text("inventory/requirements.txt")
    stamp, digest = target / ".complete", hashlib.sha256((wanted + depends).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return target
    print("preparing the sample's tools (ruff, mypy, pytest) from the package index …", file=sys.stderr, flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    listed, dependency = target.parent / "requirements.txt", target.parent / _DEPENDENCY
    listed.write_text(wanted)
    dependency.write_text(depends)
    pip = [str(target / "bin" / "python3"), "-m", "pip"]
    pinned = ["-q", "--disable-pip-version-check", "--no-input", "--require-hashes", "-r"]
    # The system's interpreter, because that is the one that a sandbox sees below /usr.
    commands = (
        ["/usr/bin/python3", "-m", "venv", "--clear", str(target)],
        [*pip, "install", *pinned, str(listed)],
        [*pip, "download", *pinned, str(dependency), "--only-binary", ":all:", "-d", str(target / COPY)],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ControlMissing(
                "the sample's tools could not be installed",
                where=(done.stderr or done.stdout)[-800:].strip(),
                mend="see that `pip download pytest` works here, and that python3-venv is installed",
            )
    stamp.write_text(digest)
    return target


def _furnish(root: Path, toolchain: Path, registry: "Registry") -> None:
    """Write repositories, tickets, replay and boundary, and make the code host with its principals."""
    from ringfence import demo_content
    from ringfence.web.host.creation import create_host, create_repository
    from ringfence.web.host.git.policy import RepositoryPolicy

    for name in ("inventory", "handbook", "tickets"):
        demo_content.write_tree(name, root / name)
    (root / "replay.json").write_text(demo_content.text("replay.json"), "utf-8")
    boundary = demo_content.boundary_text(
        location=str(root / "state"),
        toolchain=str(toolchain),
        replay=str(root / "replay.json"),
        registry=registry.rules,
        packages=registry.variables,
    )
    (root / "boundary.yaml").write_text(boundary, "utf-8")
    create_host(root / "host")
    policy = RepositoryPolicy(prefix="ringfence/", protected_paths=("pyproject.toml", ".gitignore"))
    create_repository(root / "host", "demo/inventory", policy=policy, from_directory=root / "inventory")
    create_repository(root / "host", "demo/handbook", from_directory=root / "handbook")


def _settle(root: Path, address: str, certificates: str) -> None:
    """Write the worker's one durable credential, and settings."""
    import json

    from ringfence.web.host.creation import NewPrincipal, create_principal, keep_token
    from ringfence.web.host.principals import Permission

    read, write = Permission(), Permission(write_prefix="ringfence/")
    kim = NewPrincipal("kim", "human", {"demo/inventory": Permission(review=True), "demo/handbook": read})
    minter = NewPrincipal("ringfence", "minter", {"demo/inventory": write, "demo/handbook": read})
    create_principal(root / "host", kim)  # she logs in by a link; her token is kept nowhere
    (root / "secrets").mkdir(mode=0o700)
    keep_token(root / "secrets" / "host-mint", create_principal(root / "host", minter))
    (root / "ringfence.toml").write_text(
        f"""[worker]
state = "state"
boundary = "boundary.yaml"

[tracker]
kind = "folder"
path = "tickets"

[code_host]
kind = "local"
url = "{address}"

[secrets.host-mint]
file = "secrets/host-mint"
"""
        + (f"\n[egress]\nauthorities = {json.dumps(certificates)}\n" if certificates else "")
    )


@contextmanager
def _host(root: Path) -> Iterator[str]:
    """The code host as a process of its own; its address."""
    import subprocess
    import sys

    from ringfence.domain.errors import HostFailed

    serving = subprocess.Popen(
        # The host dies with the demo, however the demo ends.
        ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "ringfence.web.host", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        address = serving.stdout.readline().strip() if serving.stdout else ""
        if not address:
            raise HostFailed("the code host did not start", where=str(root), mend="`ringfence host serve` says why")
        yield address
    finally:
        serving.terminate()
        serving.wait(20)


def _verified(root: Path, run: str) -> int:
    """Verify the bundle with the command that the report names; its exit code."""
    import subprocess
    import sys

    bundle = root / "state" / "bundles" / f"{run}.bundle.tar"
    key = root / "state" / "keys" / "evidence.pub"
    command = [sys.executable, "-m", "ringfence.cli.main", "verify", str(bundle), "--key", str(key)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode


def _farewell(root: Path, address: str, url: str, *, json: bool, serve: bool) -> None:
    from urllib.parse import urlsplit

    from ringfence.cli.screen import place, program
    from ringfence.web.host.creation import create_login_link

    if json:
        return
    if serve:
        login = create_login_link(root / "host", "kim")
        print(f"\nLog in as the reviewer Kim, once:  {address}{login}\nThen read the pull request:        {url}")
        return
    me, host = program(), root / "host"
    print(
        f"\nRead the pull request in a browser ({url}):\n"
        f"  {me} host serve --root {place(host)} --port {urlsplit(address).port}\n"
        f"  {me} host login kim --root {place(host)} --url {address}   # logs the reviewer Kim in, once\n"
        f"Look further (also logs, runs, doctor):\n"
        f"  {me} show {TICKET}-r1 --settings {place(root / 'ringfence.toml')}"
    )


def _until_interrupted() -> None:
    import signal
    import time

    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("The code host stays open until Ctrl-C.", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()


def _say(json: bool, text: str) -> None:
    if not json:
        print(text, flush=True)
