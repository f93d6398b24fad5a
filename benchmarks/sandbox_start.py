"""How long a sandbox takes to start and end, against bare bubblewrap and against fork and exec.

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
from pathlib import Path

from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.domain.boundary import SandboxLimits
from ringfence.ports.sandbox import Mount, SandboxSpec, Workspace

LIMITS = {
    "memory": "256MiB", "processes": 64, "cpus": 2.0, "cpu_time": "60s", "file": "64MiB", "disk": "128MiB",
    "temporary": "64MiB", "output": "1MiB", "cgroup": "preferred",
}  # fmt: skip
UNUSED_UID = 719_999


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


def cases(state: Path, open_place: Path) -> dict[str, Callable[[], object]]:
    """What is compared, in the order of the table."""
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

    def run(words: list[str]) -> None:
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL, **dropped)  # type: ignore[call-overload]

    print(sandboxes.level)
    return {
        "fork and exec": lambda: run(["/usr/bin/true"]),
        "bare bubblewrap": lambda: run(bare(open_place)),
        "sandbox": lambda: sandbox(()),
        "sandbox with a door": lambda: sandbox((3128,)),
    }


def main(rounds: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as state, tempfile.TemporaryDirectory() as open_place:
        Path(open_place).chmod(0o777)
        compared = cases(Path(state), Path(open_place))
        times: dict[str, list[float]] = {name: [] for name in compared}
        for number in range(rounds + 2):
            # The kernel takes a network namespace down after its last process, and who comes next pays for it in
            # part: in a new order each round, everybody does alike.
            for name in random.sample(list(compared), len(compared)):
                taken = milliseconds(compared[name])
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
