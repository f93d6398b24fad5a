"""Group C: ways out by processes, privileges, limits and the supervisor. Ids are those of the threat catalogue."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from caging import LIMITS, RUN, Cage, limits
from container_escapes import ESCAPES

from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes

BASH = ("/usr/bin/env", "bash", "-c")


def test_c07_copied_and_fileless_programs_are_confined_alike(cage: Cage) -> None:
    """Nothing here goes by the name of a program: a copy, the loader and a memory file meet the same walls."""
    cage.attack(f"""
import glob, shutil
inner = '''import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
core = "/proc/sys/kernel/core_pattern"
for do in (lambda: socket.socket(40), lambda: open({str(cage.canary_file)!r}), lambda: open(core, "w")):
    try: do(); print("GOT through")
    except OSError as e: print("blocked inner", e)
print("GOT unshare" if libc.unshare(0x10000000) == 0 else "blocked inner unshare")
'''
shutil.copy(os.path.realpath("/usr/bin/python3"), "/tmp/innocent")
loader = glob.glob("/lib64/ld-linux*.so*") + glob.glob("/lib/ld-linux*.so*")
fd = os.memfd_create("innocent")
os.write(fd, open("/tmp/innocent", "rb").read())
for words in (["/tmp/innocent"], [loader[0], "/tmp/innocent"], [f"/proc/{{os.getpid()}}/fd/{{fd}}"]):
    done = subprocess.run([*words, "-I", "-S", "-c", inner], capture_output=True, text=True, pass_fds=[fd])
    print(done.stdout, done.stderr[:300])
    assert done.stdout.count("blocked inner") == 4, done
""")


def test_c08_nothing_that_is_asked_for_turns_the_sandbox_off(cage: Cage) -> None:
    asked = dict.fromkeys(("SANDBOX", "RINGFENCE_SANDBOX", "NO_SANDBOX", "BWRAP", "AGENT_SANDBOX"), "off")
    with (
        cage.sandboxes.hold(cage.spec("true")) as plain,
        cage.sandboxes.hold(cage.spec("true", environment={**asked, "dangerouslyDisableSandbox": "true"})) as asking,
    ):
        assert asking.controls == plain.controls
    attempt = cage.attack(
        f"""
lines = ("bwrap --bind / / cat {cage.canary_file}", "unshare -Urm true", "nsenter -t 1 -a true", "nsenter -t 1 -n true",
         "chroot /proc/1/root true", "sudo -n true", "su -c true", "setpriv --reuid 0 true", "systemd-run true",
         "nsenter --net=/proc/2/ns/net true")
for line in lines:
    attempt(line, lambda: sh(line))
    attempt("again: " + line, lambda: sh(line))
""",
        environment=asked,
    )
    assert attempt.event.argv[0] == "/usr/bin/env"


@pytest.mark.parametrize(
    "line",
    [
        "cat $SECRET", "c'a't $SECRET", r"c\at $SECRET", "cat$IFS$SECRET", "{cat,$SECRET}", "$'\\x63at' $SECRET",
        "eval $(echo Y2F0 | base64 -d) $SECRET", "python3 -c \"print(open('$SECRET').read())\"", "/???/c?t $SECRET",
        "while read l; do echo $l; done < $SECRET", "$(printf '\\143\\141\\164') $SECRET", "a=c;b=at;$a$b $SECRET",
        "exec 3<$SECRET; cat <&3", "find / -name token -exec cat {} + 2>/dev/null; false",
    ],
)  # fmt: skip
def test_c10_no_spelling_of_a_command_matters(cage: Cage, line: str) -> None:
    spec = cage.spec(*BASH, line, environment={"SECRET": str(cage.canary_file)})
    attempt = cage.run(spec)
    assert attempt.event.exit_code != 0
    assert attempt.event.argv == (*BASH, line)


@pytest.mark.parametrize(
    "line",
    [
        "git --version && cat $SECRET", "docker ps; cat $SECRET", "make -v | cat - $SECRET", "npm -v; cat $SECRET",
        "cd /tmp && echo ok\ncat $SECRET", "git log --format=$(cat $SECRET)", "(sleep 0; cat $SECRET) & wait $!",
        "ssh -V; exec cat $SECRET", "env git --version; env cat $SECRET", "if :; then cat $SECRET; fi; git status",
    ],
)  # fmt: skip
def test_c09_no_command_of_a_line_takes_the_rest_outside(cage: Cage, line: str) -> None:
    """There is no list of commands that run elsewhere: one process tree, one sandbox, whatever the line begins with."""
    attempt = cage.run(cage.spec(*BASH, f"set -o pipefail; {line}", environment={"SECRET": str(cage.canary_file)}))
    assert attempt.event.exit_code != 0 or "git log" in line or "if :" in line
    assert "No such file" in attempt.text or "Permission denied" in attempt.text or "not found" in attempt.text


def test_c11_poisoned_variables_reach_the_command_alone(cage: Cage) -> None:
    """`LD_PRELOAD` and its like are the command's own affair: no program of the worker has seen them."""
    (cage.tree / "evil.sh").write_text("echo sourced\n")
    poison = {
        "LD_PRELOAD": "/workspace/evil.so", "LD_LIBRARY_PATH": "/workspace", "BASH_ENV": "/workspace/evil.sh",
        "ENV": "/workspace/evil.sh", "PAGER": "/workspace/evil.sh", "GIT_PAGER": "/workspace/evil.sh",
        "GIT_SSH_COMMAND": "/workspace/evil.sh", "GIT_EXTERNAL_DIFF": "/workspace/evil.sh",
        "PYTHONSTARTUP": "/workspace/evil.sh", "PYTHONPATH": "/workspace", "PROMPT_COMMAND": "/workspace/evil.sh",
        "PATH": "/workspace:/usr/bin", "LD_AUDIT": "",
    }  # fmt: skip
    attempt = cage.run(cage.spec("/usr/bin/bash", "-c", ":", environment=poison))
    # The loader complains once for each program that saw the variable: bash. nsenter, prlimit and bwrap did not.
    assert attempt.text.count("/workspace/evil.so") == 1
    assert "sourced" in attempt.text
    assert not Path("/workspace").exists()


def test_c14_abstract_sockets_of_the_host(cage: Cage) -> None:
    name = f"ringfence-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX) as host, socket.socket(socket.AF_UNIX) as check:
        host.bind("\0" + name)
        host.listen()
        check.connect("\0" + name)  # it answers on the host
        cage.attack(f"""
attempt("stream", lambda: socket.socket(socket.AF_UNIX).connect("\\0{name}"))
attempt("bus", lambda: socket.socket(socket.AF_UNIX).connect("/run/dbus/system_bus_socket"))
print(open("/proc/net/unix").read().count("{name}") and "GOT a listing")
""")


def test_c17_memory_of_processes_of_the_same_user(cage: Cage, secretive_neighbour: int) -> None:
    cage.attack(f"""
child = subprocess.Popen(["sleep", "5"])
vector = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
for pid in (child.pid, 1, os.getppid(), {secretive_neighbour}):
    attempt(f"attach {{pid}}", lambda: checked(libc.ptrace(16, pid, 0, 0)))
    attempt(f"seize {{pid}}", lambda: checked(libc.ptrace(0x4206, pid, 0, 0)))
    attempt(f"read {{pid}}", lambda: checked(libc.process_vm_readv(pid, vector, 1, vector, 1, 0)))
    attempt(f"write {{pid}}", lambda: checked(libc.process_vm_writev(pid, vector, 1, vector, 1, 0)))
attempt("traceme", lambda: checked(libc.ptrace(0, 0, 0, 0)))
for path in ("/proc/1/mem", "/proc/1/task/1/mem", "/proc/1/environ", "/proc/1/fd/0"):
    attempt(path, lambda: os.open(path, os.O_RDWR))
child.kill(); child.wait()
""")


@pytest.mark.parametrize("name", ESCAPES)
def test_c19_container_escape(cage: Cage, name: str) -> None:
    cage.attack(ESCAPES[name])


def test_fact_4_tracing_the_first_process_does_not_wedge_the_worker(cage: Cage) -> None:
    began = time.monotonic()
    cage.attack("""
attempt("attach", lambda: checked(libc.ptrace(16, 1, 0, 0)))
attempt("seize", lambda: checked(libc.ptrace(0x4206, 1, 0, 0)))
attempt("memory", lambda: os.open("/proc/1/mem", os.O_RDWR))
os.kill(1, 19); os.kill(1, 9); os.kill(1, 15)  # signals to it from inside are ignored by the kernel
""")
    assert time.monotonic() - began < 5


# --- what a guest does to outlive or exhaust ---


def test_c23_background_process_edits_nothing_after_the_end(cage: Cage) -> None:
    script = """
    echo original > file
    for i in 1 2 3; do
      setsid -f python3 -I -S -c "
import os, signal, time
for number in range(1, 32):
    try: signal.signal(number, signal.SIG_IGN)
    except OSError: pass
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
while True:
    time.sleep(0.15); open('/workspace/file', 'w').write('edited afterwards')" >/dev/null 2>&1
    done
    """
    attempt = cage.run(cage.spec("sh", "-c", script))
    assert attempt.event.exit_code == 0
    (cage.tree / "file").write_text("validated")
    time.sleep(0.6)
    assert (cage.tree / "file").read_text() == "validated"


def test_c25_fork_bomb(cage: Cage) -> None:
    began = time.monotonic()
    attempt = cage.run(cage.spec(*BASH, "bomb() { bomb | bomb & }; bomb; sleep 15", limits=limits(processes=40)))
    assert (attempt.event.exit_code, attempt.event.stopped) == (None, "processes")
    assert time.monotonic() - began < 10


def test_c25_memory_hog(cage: Cage) -> None:
    program = "b = []\nwhile True: b.append(bytearray(b'x' * (1 << 20)))"
    attempt = cage.run(cage.spec("/usr/bin/env", "python3", "-c", program, limits=limits(memory="64MiB")))
    assert attempt.event.stopped == "memory"


def test_c25_memory_hog_in_temporary_files_is_bounded(cage: Cage) -> None:
    script = "for d in /tmp /dev/shm /home/agent; do head -c 1G /dev/zero > $d/fill; done; df -B1 --output=size /tmp"
    attempt = cage.run(cage.spec("sh", "-c", script))
    assert attempt.text.count("No space left") == 3
    assert attempt.text.split()[-1] == str(16 << 20)


@pytest.mark.parametrize(
    "script",
    [
        "i=0; while :; do i=$((i+1)); head -c 8000000 /dev/zero > $i; done",
        "mkdir .git; i=0; while :; do i=$((i+1)); head -c 8000000 /dev/zero > .git/$i; done",
        "d=.; i=0; while :; do i=$((i+1)); d=$d/deep; mkdir $d; [ $i -gt 200 ] && sleep 20; done",
    ],
    ids=["files", "hidden files", "depth"],
)
def test_c25_disk_fill(cage: Cage, script: str) -> None:
    attempt = cage.run(cage.spec("sh", "-c", script))
    assert (attempt.event.exit_code, attempt.event.stopped) == (None, "disk")
    shutil.rmtree(cage.tree)
    cage.tree.mkdir()


def test_c25_inode_fill(cage: Cage) -> None:
    program = """
import os
i = 0
while True:
    i += 1
    os.close(os.open(f"e{i}", os.O_CREAT | os.O_WRONLY))
"""
    attempt = cage.run(cage.spec("/usr/bin/env", "python3", "-c", program, limits=limits(disk="1MiB")))
    assert attempt.event.stopped == "disk"
    assert len(list(cage.tree.iterdir())) < 400_000


def test_c25_log_flood_and_huge_line(cage: Cage) -> None:
    for script in ("yes", "head -c 1G /dev/zero", "tr '\\0' x < /dev/zero"):
        attempt = cage.run(cage.spec("sh", "-c", script))
        assert (attempt.event.exit_code, attempt.event.stopped) == (None, "output")
        assert len(attempt.outcome.output) == 256 << 10
        assert attempt.event.output_bytes > 256 << 10


def test_c25_zip_bomb(cage: Cage) -> None:
    program = """
import zipfile
with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as z:
    for i in range(6): z.writestr(f"part{i}", b"\\0" * 20_000_000)
for number in range(500):
    zipfile.ZipFile("bomb.zip").extractall(f"out{number}")
print("GOT it all")
"""
    attempt = cage.run(cage.spec("/usr/bin/env", "python3", "-c", program))
    assert (attempt.event.exit_code, attempt.event.stopped) == (None, "disk")
    assert attempt.got == []


# --- the supervisor and what it needs ---

WORKER = """
import json, sys
from pathlib import Path
from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.domain.boundary import SandboxLimits
from ringfence.domain.errors import ControlMissing
from ringfence.ports.sandbox import Mount, SandboxSpec, Workspace
state, tree, script, limits = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
sandboxes = BubblewrapSandboxes(state)
spec = SandboxSpec("escape", "agent", ("/bin/sh", "-c", script), SandboxLimits.model_validate(limits), 60.0,
                   Workspace(tree), (Mount(Path("/usr"), "/usr"),), doors=(3128,))
try:
    sandboxes.own("escape", tree)
    with sandboxes.hold(spec) as held:
        print("held", flush=True)
        print(held.run())
except ControlMissing as refused:
    print("REFUSED", refused)
"""
#: A worker in a user namespace that may make no further ones, with every id mapped so that it is root there.
FULL_MAP = """
import ctypes, os, sys
ready, mapped = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x10000000 | 0x20000) == 0
    os.write(ready[1], b"x"); os.read(mapped[0], 1)
    open("/proc/sys/user/max_user_namespaces", "w").write("0")
    os.execv(sys.argv[1], sys.argv[1:])
os.read(ready[0], 1)
for kind in ("uid_map", "gid_map"):
    open(f"/proc/{pid}/{kind}", "w").write("0 0 4294967295")
os.write(mapped[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def worker_words(cage: Cage, script: str) -> list[str]:
    return [sys.executable, "-c", WORKER, str(cage.state), str(cage.tree), script, json.dumps(LIMITS)]


def said_by(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_c21_without_the_sandbox_program_nothing_runs(cage: Cage) -> None:
    words = worker_words(cage, "touch ran")
    if os.geteuid() == 0:
        hide = 'mount --bind /dev/null /usr/bin/bwrap && exec "$@"'
        said = said_by(["unshare", "--mount", "sh", "-c", hide, "sh", *words])
    else:
        said = said_by(["bwrap", "--dev-bind", "/", "/", "--ro-bind", "/dev/null", "/usr/bin/bwrap", "--", *words])
    assert "REFUSED bwrap is not installed" in said
    assert "apt-get install bubblewrap" in said
    assert list(cage.tree.iterdir()) == []


def test_c21_without_user_namespaces_nothing_runs(cage: Cage) -> None:
    words = worker_words(cage, "touch ran")
    if os.geteuid() == 0:
        said = said_by([sys.executable, "-c", FULL_MAP, *words])
    else:
        said = said_by(["bwrap", "--unshare-user", "--disable-userns", "--dev-bind", "/", "/", "--", *words])
    assert "REFUSED the sandbox cannot be made" in said
    assert "namespace" in said
    assert "sysctl" in said
    assert list(cage.tree.iterdir()) == []


def test_c28_killed_supervisor_takes_the_sandbox_and_its_door_along(cage: Cage) -> None:
    script = 'python3 -I -S -c \'import time\nwhile True: open("/workspace/beat", "a").write("."); time.sleep(0.02)\''
    worker = subprocess.Popen(worker_words(cage, script), stdout=subprocess.PIPE)
    assert worker.stdout is not None
    try:
        assert worker.stdout.readline() == b"held\n"
        beat = cage.tree / "beat"
        deadline = time.monotonic() + 10
        while not beat.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert beat.exists()
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
    time.sleep(0.3)
    size = beat.stat().st_size
    time.sleep(0.3)
    assert beat.stat().st_size == size
    assert BubblewrapSandboxes(cage.state).reclaim(RUN) == 0
