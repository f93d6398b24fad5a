"""What the attacks share: a canary, a real sandbox, a real audit log, and the three facts that each must show.

An attack is a program that really runs inside and says `GOT …` for whatever it reached. `cage.attack` runs it,
records it, and checks that it came to its end, reached nothing, is on the log, and that the canary is nowhere.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ringfence.domain.boundary import SandboxLimits
from ringfence.domain.chain import first_break
from ringfence.domain.events import CommandRan, from_json
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.sandbox import HeldSandbox, Mount, Outcome, Sandboxes, SandboxSpec, Workspace

RUN = "escape"
USR = Mount(Path("/usr"), "/usr")
LIMITS = {
    "memory": "256MiB", "processes": 48, "cpus": 2.0, "cpu_time": "30s", "file": "32MiB", "disk": "64MiB",
    "temporary": "16MiB", "output": "256KiB", "cgroup": "preferred",
}  # fmt: skip
#: What every attacking program begins with.
PRELUDE = """
import ctypes, errno, os, pathlib, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def syscall(number, *arguments):
    return checked(libc.syscall(number, *arguments))
def attempt(name, do):
    try:
        got = do()
    except (OSError, subprocess.SubprocessError) as error:
        print(f"blocked {name}: {error}", flush=True)
    else:
        print(f"GOT {name}: {got!r}", flush=True)
def sh(line):
    return subprocess.run(["sh", "-c", line], check=True, capture_output=True, timeout=10).stdout
"""
EPILOGUE = "\nprint('DONE', flush=True)\n"


def limits(**changes: Any) -> SandboxLimits:
    return SandboxLimits.model_validate({**LIMITS, **changes})


@dataclass(frozen=True)
class Attempt:
    """An attack that was made: how it ended, what it said, and its place on the log."""

    outcome: Outcome
    text: str
    event: CommandRan

    @property
    def got(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.startswith("GOT")]


@dataclass(frozen=True)
class Cage:
    """A sandbox under attack, and what must stay out of its reach."""

    sandboxes: Sandboxes
    log: AuditLog
    log_file: Path
    state: Path
    tree: Path
    canary: str
    canary_file: Path

    def spec(self, *argv: str, **changes: Any) -> SandboxSpec:
        made = SandboxSpec(RUN, "agent", argv, limits(), 20.0, workspace=Workspace(self.tree), mounts=(USR,))
        return replace(made, **changes)

    def record(self, spec: SandboxSpec, outcome: Outcome) -> Attempt:
        """Put a command on the log as the pipeline does, and read it back from there."""
        event = CommandRan(
            role=spec.role,
            argv=spec.argv,
            exit_code=outcome.exit_code,
            stopped=outcome.stopped,
            seconds=outcome.seconds,
            cpu_seconds=outcome.cpu_seconds,
            peak_memory=outcome.peak_memory,
            output="sha256:" + hashlib.sha256(outcome.output).hexdigest(),
            output_bytes=outcome.output_bytes,
        )
        self.log.append(spec.run, event)
        records = self.log.records(spec.run)
        assert first_break(records, spec.run) is None
        stored = from_json(records[-1].event)
        assert isinstance(stored, CommandRan)
        assert replace(stored, argv=()) == replace(event, argv=())
        return Attempt(outcome, outcome.output.decode(errors="replace"), stored)

    def run(
        self, spec: SandboxSpec, *, meanwhile: Callable[[HeldSandbox], None] | None = None, **streams: Any
    ) -> Attempt:
        """Run a command, record it, and look for the canary everywhere that the worker captured something."""
        with self.sandboxes.hold(spec, **streams) as held:
            if meanwhile is not None:
                meanwhile(held)
            outcome = held.run()
        attempt = self.record(spec, outcome)
        assert outcome.processes_left == 0
        self.assert_no_canary(outcome)
        return attempt

    def attack(self, program: str, **changes: Any) -> Attempt:
        """Run an attacking Python program: it came to its end, reached nothing, and is recorded."""
        argv = ("/usr/bin/env", "python3", "-I", "-S", "-c", PRELUDE + program + EPILOGUE)
        attempt = self.run(self.spec(*argv, **changes))
        assert attempt.text.endswith("DONE\n"), attempt.text
        assert attempt.got == [], attempt.text
        assert "blocked" in attempt.text
        assert (attempt.event.exit_code, attempt.event.role) == (0, "agent")
        return attempt

    def assert_no_canary(self, outcome: Outcome) -> None:
        needle = self.canary.encode()
        assert needle not in outcome.output
        for file in [*self.log_file.parent.glob(self.log_file.name + "*"), *self.tree.rglob("*")]:
            if file.is_file() and not file.is_symlink():
                assert needle not in file.read_bytes(), file


#: A network of its own in which addresses answer that no test may ever be aimed at outside.
STRANGE_ADDRESSES = ("169.254.169.254", "10.1.2.3", "172.17.0.1", "192.168.7.7", "100.64.0.1", "203.0.113.9")
STRANGE_ADDRESSES_6 = ("fd00:ec2::254", "2001:db8::9")
STRANGE_PORTS = (22, 25, 53, 80, 443, 2375, 6379, 8080)

STRANGE_WORKER = """
import base64, json, select, socket, subprocess, sys, threading
from pathlib import Path
from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.domain.boundary import SandboxLimits
from ringfence.ports.sandbox import Mount, SandboxSpec, Workspace
given = json.loads(sys.argv[1])
listeners, datagrams = [], []
for family, addresses in ((socket.AF_INET, given["v4"]), (socket.AF_INET6, given["v6"])):
    for address in addresses:
        for port in given["ports"]:
            tcp = socket.socket(family); tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((address, port)); tcp.listen(); listeners.append(tcp)
            udp = socket.socket(family, socket.SOCK_DGRAM); udp.bind((address, port)); datagrams.append(udp)
# Proof that the targets answer from here, outside of the sandbox.
answered = 0
for listener in listeners:
    with socket.create_connection(listener.getsockname()[:2], 5), listener.accept()[0]:
        answered += 1
sandboxes = BubblewrapSandboxes(Path(given["state"]))
sandboxes.own(given["run"], Path(given["tree"]))
spec = SandboxSpec(given["run"], "agent", tuple(given["argv"]), SandboxLimits.model_validate(given["limits"]), 20.0,
                   Workspace(Path(given["tree"])), (Mount(Path("/usr"), "/usr"),), doors=tuple(given["doors"]))
with sandboxes.hold(spec) as held:
    outcome = held.run()
reached, _, _ = select.select(listeners + datagrams, [], [], 0)
fields = {name: getattr(outcome, name) for name in outcome.__dataclass_fields__}
fields["output"] = base64.b64encode(outcome.output).decode()
print(json.dumps({"answered": answered, "reached": [str(s.getsockname()) for s in reached], "outcome": fields}))
sandboxes.reclaim(given["run"])
"""
