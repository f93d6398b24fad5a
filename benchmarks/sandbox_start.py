"""How long a sandbox takes to start and end, and until both doors are served; bare bubblewrap, and fork and exec.

Rounds are interleaved, so that a busy moment of the machine hits every row alike. Run as root or as an ordinary
user: `python benchmarks/sandbox_start.py [rounds]`.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.domain.boundary import SandboxLimits
from ringfence.domain.hosts import HostRule
from ringfence.egress.process import EgressProcess
from ringfence.gateway.call import RouteConfig
from ringfence.gateway.process import GatewayProcess
from ringfence.ports.egress import EgressPolicy
from ringfence.ports.gateway import DoorPolicy
from ringfence.ports.sandbox import Mount, SandboxSpec, Workspace

LIMITS = {
    "memory": "256MiB", "processes": 64, "cpus": 2.0, "cpu_time": "60s", "file": "64MiB", "disk": "128MiB",
    "temporary": "64MiB", "output": "1MiB", "cgroup": "preferred",
}  # fmt: skip
UNUSED_UID = 719_999
USER = 64925 if os.geteuid() == 0 else None
ROUTE = RouteConfig("main", "openai", "http://127.0.0.1:9/v1", ("m",), None)
MODEL = DoorPolicy("bench", "agent/1", "m", "main", 10**6, 10**12, 10**12, 30.0, 30.0)
EGRESS = EgressPolicy(
    run="bench", door="agent@1", role="agent", phase="agent", command="true",
    rules=(HostRule("network.agent.bench", "packages.example.internal", 443),), requests=10**6, sent=1 << 40,
    received=1 << 40, longest=30.0, idle_timeout=30.0,
)  # fmt: skip


def drop() -> dict[str, object]:
    """As a sandbox is started: never as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": UNUSED_UID, "group": UNUSED_UID, "extra_groups": []}


def bare(workspace: Path) -> list[str]:
    """bubblewrap with the same namespaces and trees, without filter, masks, limits, doors or watch."""
    return [
        "bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", "--clearenv", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin",
        "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev",
        "--tmpfs", "/tmp", "--bind", str(workspace), "/workspace", "--chdir", "/workspace", "--", "/usr/bin/true",
    ]  # fmt: skip


def milliseconds(do: Callable[[], object]) -> float:
    """One measurement."""
    began = time.perf_counter()
    do()
    return (time.perf_counter() - began) * 1e3


def cases(state: Path, open_place: Path, stack: ExitStack) -> dict[str, Callable[[], float]]:
    """What is compared, in the order of the table; each gives its milliseconds."""
    sandboxes = BubblewrapSandboxes(state)
    tree = state / "tree"
    tree.mkdir()
    sandboxes.own("bench", tree)
    limits = SandboxLimits.model_validate(LIMITS)
    dropped = drop()

    def sandbox(doors: tuple[int, ...]) -> None:
        spec = SandboxSpec(
            "bench", "agent", ("/usr/bin/true",), limits, 30.0, Workspace(tree), (Mount(Path("/usr"), "/usr"),),
            doors=doors,
        )  # fmt: skip
        with sandboxes.hold(spec) as held:
            assert held.run().exit_code == 0

    gateway = stack.enter_context(GatewayProcess((ROUTE,), lambda _call: None, user=USER))
    egress = stack.enter_context(EgressProcess(lambda _attempt: None, user=USER))

    def ready() -> float:
        """Until the command could go, with the proxy and the gateway serving their doors; the end is not counted."""
        spec = SandboxSpec(
            "bench", "agent", ("/usr/bin/true",), limits, 30.0, Workspace(tree), (Mount(Path("/usr"), "/usr"),),
            doors=(3128, 8321),
        )  # fmt: skip
        began = time.perf_counter()
        with sandboxes.hold(spec) as held, ExitStack() as open_doors:
            proxy, model = (open_doors.enter_context(held.doors[port]) for port in spec.doors)
            open_doors.enter_context(egress.open(proxy, EGRESS))
            open_doors.enter_context(gateway.open(model, MODEL))
            taken = (time.perf_counter() - began) * 1e3
            assert held.run().exit_code == 0
        return taken

    def run(words: list[str]) -> None:
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL, **dropped)  # type: ignore[call-overload]

    print(sandboxes.level)
    return {
        "fork and exec": lambda: milliseconds(lambda: run(["/usr/bin/true"])),
        "bare bubblewrap": lambda: milliseconds(lambda: run(bare(open_place))),
        "sandbox": lambda: milliseconds(lambda: sandbox(())),
        "sandbox with a door": lambda: milliseconds(lambda: sandbox((3128,))),
        "until both doors are served": ready,
    }


def main(rounds: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as state, tempfile.TemporaryDirectory() as open_place, ExitStack() as stack:
        Path(open_place).chmod(0o777)
        compared = cases(Path(state), Path(open_place), stack)
        times: dict[str, list[float]] = {name: [] for name in compared}
        for number in range(rounds + 2):
            # The kernel takes a network namespace down after its last process, and who comes next pays for it in
            # part: in a new order each round, everybody does alike.
            for name in random.sample(list(compared), len(compared)):
                taken = compared[name]()
                if number >= 2:  # the first two rounds fill caches
                    times[name].append(taken)
        BubblewrapSandboxes(Path(state)).reclaim("bench")
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    print(f"{rounds} interleaved rounds, ms{'min':>13}{'median':>9}{'max':>9}{'x fork':>9}{'x bare':>9}{'- bare':>9}")
    for name, taken in times.items():
        fork, plain = medians[name] / medians["fork and exec"], medians[name] / medians["bare bubblewrap"]
        beyond = medians[name] - medians["bare bubblewrap"]
        row = f"{min(taken):11.1f}{medians[name]:9.1f}{max(taken):9.1f}{fork:9.1f}{plain:9.2f}{beyond:9.1f}"
        print(f"{name:<28}{row}")


if __name__ == "__main__":
    main(max(20, int(sys.argv[1]) if len(sys.argv) > 1 else 30))
