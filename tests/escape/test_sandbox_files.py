"""Group C: ways to files that the sandbox does not show. Ids are those of the threat catalogue."""

import os
import socket
import tempfile
from pathlib import Path

import pytest
from caging import USR, Cage, limits

from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes
from ringfence.domain.errors import ControlMissing
from ringfence.ports.sandbox import Mount


def test_c01_write_through_a_symlink_out_of_the_workspace(cage: Cage) -> None:
    outside = cage.state / "outside"
    outside.write_text("untouched")
    outside.chmod(0o666)
    cage.attack(f"""
os.symlink({str(outside)!r}, "link")
os.symlink({str(outside.parent)!r}, "folder")
os.symlink("../" * 20 + {str(outside)!r}[1:], "relative")
for name in ("link", "folder/outside", "folder/new", "relative", "/proc/1/root" + {str(outside)!r}):
    attempt(name, lambda: open(name, "w").write("overwritten"))
""")
    assert outside.read_text() == "untouched"
    assert not (cage.state / "new").exists()


def test_c02_read_a_denied_file_through_a_symlink(cage: Cage) -> None:
    cage.attack(f"""
secret = {str(cage.canary_file)!r}
os.symlink(secret, "link")
os.symlink("link", "link-to-link")
os.symlink("/proc/self/root", "root")
ways = ["link", "link-to-link", "root" + secret, "/proc/1/root" + secret, "/proc/self/cwd/../.." + secret,
        "/proc/thread-self/root" + secret, "/oldroot" + secret, "/newroot" + secret, "/../../.." + secret]
for way in ways:
    attempt(way, lambda: open(way).read())
attempt("hard link", lambda: os.link(secret, "hard"))
attempt("cat", lambda: sh("cat " + secret))
""")


def test_c03_create_a_protected_file_that_did_not_exist(cage: Cage) -> None:
    cage.attack(
        """
for path in ("/etc/ld.so.preload", "/etc/profile", "/etc/gitconfig", "/etc/resolv.conf", "/usr/lib/sitecustomize.py",
             "/usr/local/bin/git", "/opt/policy/extra", "/.profile", "/home/.bashrc", "/dev/evil", "/proc/sys/evil"):
    attempt(path, lambda: open(path, "w").write("evil"))
attempt("replace", lambda: os.replace("/tmp/x", "/opt/policy/rules") if open("/tmp/x", "w").write("evil") else None)
attempt("unlink", lambda: os.unlink("/opt/policy/rules"))
attempt("move the folder", lambda: os.rename("/opt/policy", "/opt/gone"))
attempt("link over", lambda: os.symlink("/tmp/x", "/etc/ld.so.preload"))
""",
        files={"/opt/policy/rules": b"deny all\n"},
    )


def test_c05_environment_command_line_and_memory_of_other_processes(cage: Cage, secretive_neighbour: int) -> None:
    cage.attack(f"""
import glob
for kind in ("environ", "cmdline", "maps", "mem", "fd", "root", "cwd"):
    attempt(f"host {{kind}}", lambda: os.stat(f"/proc/{secretive_neighbour}/{{kind}}"))
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    sys.stdout.write(open(path, "rb").read().decode(errors="replace").replace("GOT", "got").replace(chr(10), " "))
print()
""")


def test_c14_inherited_descriptors_and_passed_ones(cage: Cage) -> None:
    with cage.canary_file.open("rb") as secret:
        os.set_inheritable(secret.fileno(), True)
        cage.attack("""
for fd in range(3, 256):
    try:
        target = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        continue
    print(f"GOT descriptor {fd}: {target}")
attempt("descriptor 3", lambda: os.read(3, 100))
""")
    # The other way: a guest that passes descriptors to the worker finds nobody who takes them.
    ours, theirs = socket.socketpair()
    with ours, theirs:
        before = {entry.name for entry in Path("/proc/self/fd").iterdir()}
        program = "import socket; s = socket.socket(fileno=1); socket.send_fds(s, [b'take'], [0])"
        cage.run(cage.spec("/usr/bin/env", "python3", "-c", program), stdout=theirs.fileno())
        assert ours.recv(100) == b"take"
        assert {entry.name for entry in Path("/proc/self/fd").iterdir()} == before


def test_c15_container_engine_socket_is_not_there_and_cannot_be_mounted(cage: Cage) -> None:
    # Not below the test's own directory: the name of a socket is short.
    with tempfile.TemporaryDirectory(prefix="engine-", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as engine:
        Path(folder).chmod(0o755)
        place = Path(folder, "docker.sock")
        engine.bind(str(place))
        engine.listen()
        place.chmod(0o666)
        with socket.socket(socket.AF_UNIX) as neighbour:
            neighbour.connect(str(place))  # the way is a real one
        cage.attack(f"""
for path in ({str(place)!r}, "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"):
    attempt(path, lambda: socket.socket(socket.AF_UNIX).connect(path))
""")
        spec = cage.spec("true", mounts=(USR, Mount(place, "/run/docker.sock")))
        with pytest.raises(ControlMissing, match="neither a directory nor a file"), cage.sandboxes.hold(spec):
            pass


def test_c20_predictable_temporary_names_are_not_shared(cage: Cage, tmp_path: Path) -> None:
    name = f"ringfence-{tmp_path.name}-{os.getpid()}"
    host = Path("/tmp", name)
    host.write_text("the host's")
    host.chmod(0o666)
    try:
        cage.attack(f"""
attempt("read", lambda: open("/tmp/{name}").read())
os.symlink("/etc/passwd", "/tmp/{name}")
open("/tmp/{name}-made", "w").write("inside")
attempt("follow", lambda: open("/tmp/{name}", "w").write("x"))
""")
        assert host.read_text() == "the host's"
        assert not Path(f"{host}-made").exists()
    finally:
        host.unlink()


def test_c20_disk_watch_is_not_led_out_by_a_swapped_folder(cage: Cage) -> None:
    program = """
import os, time
end = time.monotonic() + 2.5
while time.monotonic() < end:
    os.mkdir("d"); os.rmdir("d"); os.symlink("/", "d"); os.unlink("d"); os.symlink("/usr", "d"); os.unlink("d")
"""
    attempt = cage.run(cage.spec("/usr/bin/env", "python3", "-c", program, limits=limits(disk="1MiB")))
    assert (attempt.event.exit_code, attempt.event.stopped) == (0, None)


def test_c27_nothing_of_a_run_is_left_for_the_next(cage: Cage) -> None:
    places = "/tmp /home/agent /dev/shm /var/tmp /run /opt"
    cage.run(cage.spec("sh", "-c", f"for d in {places}; do echo residue-6612 > $d/left; done; true", workspace=None))
    spec = cage.spec("sh", "-c", f"grep -rs residue-6612 {places} /workspace && echo GOT; echo DONE", workspace=None)
    attempt = cage.run(spec)
    assert attempt.text == "DONE\n"


# --- facts that changed the design ---


def test_fact_1_a_sandbox_is_never_started_as_root(cage: Cage) -> None:
    attempt = cage.attack("""
print("uid", os.getuid(), open("/proc/self/uid_map").read().split()[1])
for name in ("core_pattern", "modprobe", "hotplug", "panic", "randomize_va_space", "ngroups_max"):
    for mode in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        attempt(name, lambda: os.open(f"/proc/sys/kernel/{name}", mode))
attempt("vm", lambda: os.open("/proc/sys/vm/drop_caches", os.O_WRONLY))
attempt("fs", lambda: os.open("/proc/sys/fs/binfmt_misc/register", os.O_WRONLY))
""")
    assert "uid 0" not in attempt.text
    assert " 0\n" not in attempt.text.splitlines()[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could start a sandbox as root")
def test_fact_1_a_pool_that_holds_root_is_refused(cage: Cage, tmp_path: Path) -> None:
    wrong = BubblewrapSandboxes(tmp_path / "wrong", uid_base=0, uid_count=1, leases=tmp_path / "leases")
    with pytest.raises(ControlMissing), wrong.hold(cage.spec("true", workspace=None)):
        pass


def test_fact_2_a_link_in_the_workspace_leads_no_mount_to_the_host(cage: Cage) -> None:
    """CVE-2026-87766: bubblewrap below 0.12 follows `/oldroot` links when it mounts beneath an untrusted bind."""
    target = cage.state / "reached"
    target.mkdir()
    target.chmod(0o777)
    (cage.tree / ".cache").symlink_to(f"/oldroot{target}")
    for beneath in (
        {"files": {"/workspace/.cache/evil": b"owned"}},
        {"mounts": (USR, Mount(Path("/usr"), "/workspace/.cache/evil"))},
        {"mounts": (USR, Mount(Path("/usr"), "/workspace"))},
    ):
        with (
            pytest.raises(ControlMissing, match="lies in the workspace"),
            cage.sandboxes.hold(cage.spec("true", **beneath)),
        ):
            pass
    cage.attack("attempt('through', lambda: open('/workspace/.cache/evil', 'w').write('owned'))")
    assert list(target.iterdir()) == []


def test_fact_2_workspace_is_bound_after_everything_else(cage: Cage) -> None:
    attempt = cage.run(cage.spec("cat", "/proc/self/mountinfo"))
    targets = [line.split(" ")[4] for line in attempt.text.splitlines()]
    assert targets[-1] == "/workspace"
    assert not [target for target in targets if target.startswith("/workspace/")]


def test_fact_3_vsock_and_its_like_are_refused(cage: Cage) -> None:
    cage.attack("""
for name, family in (("vsock", 40), ("packet", 17), ("alg", 38), ("xdp", 44), ("bluetooth", 31), ("can", 29)):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        attempt(name, lambda: socket.socket(family, kind))
attempt("the hypervisor", lambda: socket.socket(40, socket.SOCK_STREAM).connect((2, 1024)))
attempt("socketpair", lambda: checked(libc.socketpair(30, 1, 0, (ctypes.c_int * 2)())))
""")
