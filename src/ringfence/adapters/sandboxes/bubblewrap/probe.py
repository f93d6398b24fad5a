"""The worker attacks its own sandbox: prepares what must stay out of reach, runs the attempts inside, reports each.

A finding is held only when its attempt was really made. It aims at nothing but this worker: a listener on its
own loopback address, a canary file of its own, its own process.
"""

import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ringfence.adapters.sandboxes.bubblewrap import probe_program
from ringfence.domain.limits import SandboxLimits
from ringfence.ports.sandbox import Finding, Mount, Outcome, Sandboxes, SandboxSpec, Workspace

_PROGRAM = "/opt/probe/attempts.py"
_TEMPORARY = 1 << 24
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Bait:
    """What must stay out of reach."""

    canary: Path
    secret: str
    outside: Path
    listener: socket.socket
    abstract: str


def attack(sandboxes: Sandboxes, state: Path) -> tuple[Finding, ...]:
    """Make every attempt in a sandbox of this host. Errors: `ControlMissing` when none can be made."""
    _sweep(sandboxes, state)
    token = secrets.token_hex(8)
    run = f"probe-{os.getpid()}-{token}"
    with ExitStack() as stack:
        folder = state / run
        folder.mkdir(mode=0o700, parents=True)
        stack.callback(shutil.rmtree, folder)
        stack.callback(sandboxes.reclaim, run)
        tree = folder / "tree"
        tree.mkdir()
        sandboxes.own(run, tree)
        bait = _set_out(folder, token, stack)
        with sandboxes.hold(_specification(run, tree, bait)) as held:
            outcome = held.run()
    return _read(outcome, bait)


def _sweep(sandboxes: Sandboxes, state: Path) -> None:
    """Remove what probes of killed workers left; their folders are named after the processes that made them."""
    for folder in state.glob("probe-*-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists():
            sandboxes.reclaim(folder.name)
            shutil.rmtree(folder, ignore_errors=True)


def _set_out(folder: Path, token: str, stack: ExitStack) -> _Bait:
    canary = folder / "canary"
    secret = secrets.token_hex(24)
    canary.write_text(secret)
    canary.chmod(0o644)  # only its place keeps it, so that reaching it would be reading it
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    hidden = stack.enter_context(socket.socket(socket.AF_UNIX))
    hidden.bind(f"\0ringfence-probe-{token}")
    hidden.listen()
    return _Bait(canary, secret, folder, listener, f"ringfence-probe-{token}")


def _specification(run: str, tree: Path, bait: _Bait) -> SandboxSpec:
    python, mounts = _interpreter()
    given = {
        "canary": str(bait.canary),
        "outside": str(bait.outside),
        "port": bait.listener.getsockname()[1],
        "abstract": bait.abstract,
        "name": "probe.example.internal",
        "worker": os.getpid(),
        "pid_namespace": str(Path("/proc/self/ns/pid").readlink()),
        "secret_variable": bait.secret,
        "temporary": _TEMPORARY,
    }
    return SandboxSpec(
        run=run,
        role="probe",
        argv=(python, "-I", "-S", _PROGRAM, json.dumps(given)),
        limits=SandboxLimits.model_validate(
            {
                "memory": "512MiB", "processes": 32, "cpus": 1.0, "cpu_time": "30s", "file": "16MiB",
                "disk": "64MiB", "temporary": f"{_TEMPORARY}B", "output": "1MiB", "cgroup": "preferred",
            }
        ),
        timeout=_SECONDS,
        workspace=Workspace(tree),
        mounts=mounts,
        files={_PROGRAM: Path(probe_program.__file__).read_bytes()},
    )  # fmt: skip


def _interpreter() -> tuple[str, tuple[Mount, ...]]:
    """This very interpreter, with the trees it lives in."""
    python = Path(sys.executable).resolve()
    trees = [Path("/usr")]
    if not python.is_relative_to("/usr"):
        trees.append(Path(sys.base_prefix).resolve())
    return str(python), tuple(Mount(tree, str(tree)) for tree in trees)


def _read(outcome: Outcome, bait: _Bait) -> tuple[Finding, ...]:
    """Findings by attempt; an attempt that left no line was not made, and that is a broken control."""
    found: dict[str, Finding] = {}
    for line in outcome.output.splitlines():
        if line.startswith(b"{"):
            said = json.loads(line)
            found[said["name"]] = Finding(said["name"], bool(said["held"]), str(said["detail"]))
    last = outcome.output.decode(errors="replace").strip().splitlines()[-1:]
    missing = f"not made: exit {outcome.exit_code}, stopped {outcome.stopped}, {' '.join(last)[:200]}"
    findings = [found.get(name, Finding(name, False, missing)) for name in probe_program.ATTEMPTS]
    return (*findings, *_outside(outcome, bait, ran=findings[0].held))


def _outside(outcome: Outcome, bait: _Bait, *, ran: bool) -> Sequence[Finding]:
    leaked = bait.secret.encode() in outcome.output
    left = outcome.processes_left
    return (
        Finding("print the secret", ran and not leaked, "the canary is in the output" if leaked else "not there"),
        Finding("outlive the sandbox", ran and left == 0, f"{left} processes left"),
    )
