"""The worker's attack on itself: every attempt is held here, and the same attempts succeed where nothing holds them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from caging import Cage

from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes, prerequisites, probe_program


def test_every_attempt_on_a_sandbox_of_this_host_is_held(cage: Cage) -> None:
    findings = cage.sandboxes.probe()
    assert [finding for finding in findings if not finding.held] == []
    names = [finding.name for finding in findings]
    assert names[0] == "control: a command runs"
    assert set(probe_program.ATTEMPTS) < set(names)
    assert [path.name for path in cage.state.iterdir() if path.name.startswith("probe-")] == []


def test_attempts_are_real_and_succeed_in_a_careless_sandbox(cage: Cage) -> None:
    """bubblewrap as one would start it in a hurry; with no network, for these attempts are not made outside."""
    folder = Path("/tmp", f"ringfence-careless-{os.getpid()}")
    folder.mkdir(mode=0o755)
    try:
        canary = folder / "canary"
        canary.write_text(cage.canary)
        outside = folder / "outside"
        outside.mkdir()
        outside.chmod(0o777)
        program = folder / "attempts.py"
        program.write_bytes(Path(probe_program.__file__).read_bytes())
        given = {
            "canary": str(canary), "outside": str(outside), "port": 9, "abstract": "nobody", "worker": os.getpid(),
            "pid_namespace": str(Path("/proc/self/ns/pid").readlink()),
            "name": "probe.example.internal", "secret_variable": cage.canary, "temporary": 1 << 24,
        }  # fmt: skip
        careless = ["bwrap", "--unshare-net"]
        for entry in Path("/").iterdir():
            words = ["--symlink", str(entry.readlink())] if entry.is_symlink() else ["--dev-bind-try", str(entry)]
            careless += [*words, str(entry)] if entry.name not in ("home", "tmp") else []
        careless += ["--tmpfs", "/dev/shm", "--tmpfs", "/tmp", "--bind", str(folder), str(folder)]
        careless += ["--dir", "/workspace", "--dir", "/home/agent", "--", "/usr/bin/python3", "-I", "-S"]
        root = os.geteuid() == 0
        done = subprocess.run(
            [*careless, str(program), json.dumps(given)], capture_output=True, timeout=60, check=False,
            env={"PATH": "/usr/bin:/bin", "SECRET": cage.canary},
            user=65534 if root else None, group=65534 if root else None, extra_groups=[] if root else None,
        )  # fmt: skip
        findings = {said["name"]: said for said in map(json.loads, done.stdout.splitlines())}
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    assert findings["control: a command runs"]["held"], done.stderr.decode()
    for name in (
        "make a user namespace", "make a socket that ignores the network namespace",
        "read a secret file of the worker", "write outside the workspace", "trace or read another process",
        "see or signal processes of the host", "see the worker's environment", "use a device", "escape the limits",
    ):  # fmt: skip
        assert findings[name]["held"] is False, findings[name]


def test_sandbox_in_which_nothing_runs_holds_nothing(tmp_path: Path) -> None:
    """The tree of this interpreter is hidden from the worker: the probe cannot run, and says so for every attempt."""
    source = (
        "import sys; sys.executable = '/usr/bin/no-such-python'\n"
        "from pathlib import Path\n"
        "from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes\n"
        "print([f.held for f in BubblewrapSandboxes(Path(sys.argv[1])).probe()])\n"
    )
    said = subprocess.run([sys.executable, "-c", source, str(tmp_path / "state")], capture_output=True, check=True)
    assert set(json.loads(said.stdout.decode().lower())) == {False}


def test_prerequisites_are_met_where_sandboxes_are_made(tmp_path: Path) -> None:
    found = {one.name: one for one in prerequisites()}
    assert {"bubblewrap and util-linux", "system call filter", "user namespaces", "control groups"} <= set(found)
    for name, one in found.items():
        assert one.detail
        assert one.ok or name == "control groups"
        assert bool(one.mend) is not one.ok
    level = BubblewrapSandboxes(tmp_path).level
    assert found["control groups"].ok is ("no cgroup" not in level)


def test_probe_sweeps_what_a_killed_one_left(cage: Cage) -> None:
    gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, check=True).stdout.decode().strip()
    left = cage.state / f"probe-{gone}-0011223344556677"
    (left / "tree").mkdir(parents=True)
    theirs = cage.state / f"probe-{os.getppid()}-0011223344556677"
    theirs.mkdir()
    cage.sandboxes.probe()
    assert not left.exists()
    assert theirs.exists()
