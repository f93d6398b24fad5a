"""Fixtures of the attacks: a worker with a canary, a neighbour with secrets, and a network with answers."""

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from caging import (
    EPILOGUE,
    LIMITS,
    PRELUDE,
    RUN,
    STRANGE_ADDRESSES,
    STRANGE_ADDRESSES_6,
    STRANGE_PORTS,
    STRANGE_WORKER,
    Attempt,
    Cage,
)

from ringfence.adapters.audit_logs.sqlite import SqliteAuditLog
from ringfence.adapters.clock import SystemClock
from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.ports.sandbox import Outcome


@pytest.fixture
def cage(tmp_path: Path) -> Iterator[Cage]:
    """A fresh worker with a canary among its secrets."""
    state = tmp_path / "state"
    secret = state / "secrets" / "token"
    secret.parent.mkdir(parents=True, mode=0o700)
    state.chmod(0o700)
    canary = f"canary-{secrets.token_hex(16)}"
    secret.write_text(canary)
    secret.chmod(0o644)  # only its place protects it: reaching it would be reading it
    tree = state / "tree"
    tree.mkdir()
    sandboxes = BubblewrapSandboxes(state)
    sandboxes.own(RUN, tree)
    log_file = state / "audit.sqlite"
    log = SqliteAuditLog(log_file, clock=SystemClock(), redact=lambda text: text)
    yield Cage(sandboxes, log, log_file, state, tree, canary, secret)
    log.close()
    assert sandboxes.reclaim(RUN) == 0


@pytest.fixture
def secretive_neighbour(cage: Cage) -> Iterator[int]:
    """A process of the worker's user with the canary in its environment and its command line."""
    program = f"import os, sys; os.write(1, b'x'); sys.stdin.readline(); os._exit(0)  # {cage.canary}"
    words = [sys.executable, "-S", "-c", program]
    neighbour = subprocess.Popen(words, env={"SECRET": cage.canary}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert neighbour.stdin is not None
    assert neighbour.stdout is not None
    try:
        assert neighbour.stdout.read(1) == b"x"
        # The way is a real one: on the host the same reading finds it.
        assert cage.canary in Path(f"/proc/{neighbour.pid}/cmdline").read_text()
        yield neighbour.pid
    finally:
        neighbour.stdin.close()
        neighbour.stdout.close()
        neighbour.wait()


@pytest.fixture
def strange_network(cage: Cage) -> Callable[..., Attempt]:
    """Attack from a sandbox whose worker lives in a network where metadata, private and public addresses answer."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a network with these addresses for its worker")

    def attack(program: str, *, doors: tuple[int, ...] = ()) -> Attempt:
        argv = ("/usr/bin/env", "python3", "-I", "-S", "-c", PRELUDE + program + EPILOGUE)
        spec = cage.spec(*argv, doors=doors)
        given = {
            "state": str(cage.state), "tree": str(cage.tree), "run": RUN, "argv": argv, "limits": LIMITS,
            "v4": STRANGE_ADDRESSES, "v6": STRANGE_ADDRESSES_6, "ports": STRANGE_PORTS, "doors": doors,
        }  # fmt: skip
        lines = ["ip link set lo up"]
        lines += [f"ip addr add {address}/32 dev lo" for address in STRANGE_ADDRESSES]
        lines += [f"ip -6 addr add {address}/128 dev lo nodad" for address in STRANGE_ADDRESSES_6]
        script = "set -e; " + "; ".join(lines) + '; exec "$@"'
        words = ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, "-c", STRANGE_WORKER]
        done = subprocess.run([*words, json.dumps(given)], capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        said = json.loads(done.stdout)
        assert said["answered"] == len(STRANGE_PORTS) * (len(STRANGE_ADDRESSES) + len(STRANGE_ADDRESSES_6))
        assert said["reached"] == []
        fields = {**said["outcome"], "output": base64.b64decode(said["outcome"]["output"])}
        attempt = cage.record(spec, Outcome(**fields))
        cage.assert_no_canary(attempt.outcome)
        assert attempt.text.endswith("DONE\n"), attempt.text
        assert attempt.got == [], attempt.text
        assert "blocked" in attempt.text
        return attempt

    return attack
