"""Known ways out of containers, each as the program that tries it (see `PRELUDE` in caging.py)."""

ESCAPES = {
    "privileged": """
status = dict(line.rstrip().split(":\\t") for line in open("/proc/self/status") if line.startswith("Cap"))
if any(int(value, 16) for value in status.values()):
    print("GOT", status)
attempt("root", lambda: os.setuid(0))
attempt("groups", lambda: os.setgroups([0]))
""",
    "host disks": """
attempt("mknod", lambda: os.mknod("/tmp/disk", 0o60660, os.makedev(254, 0)))
for name in ("vda", "sda", "nvme0n1", "mem", "kmem", "port", "kvm", "fuse", "net/tun", "loop-control", "vhost-vsock"):
    attempt(name, lambda: os.open("/dev/" + name, os.O_RDONLY))
""",
    "host mounts": """
attempt("disk", lambda: checked(libc.mount(b"/dev/vda", b"/tmp", b"ext4", 0, None)))
attempt("bind", lambda: checked(libc.mount(b"/proc/1/root", b"/tmp", None, 4096, None)))
attempt("remount", lambda: checked(libc.mount(None, b"/proc/sys", None, 32 | 4096, None)))
attempt("umount", lambda: checked(libc.umount2(b"/proc/sys", 2)))
attempt("propagate", lambda: checked(libc.mount(None, b"/", None, 1 << 20, None)))
""",
    "new mount calls": """
for number in (428, 429, 430, 431, 432, 433, 442, 467):
    attempt(number, lambda: syscall(number, -100, b"/", 1, 0, 0))
""",
    "kernel modules": """
for number in ((175, 313, 176, 246, 320) if X86 else (105, 273, 106, 104, 294)):
    attempt(number, lambda: syscall(number, 0, 0, 0))
""",
    "open by handle": """
attempt("handle", lambda: syscall(304 if X86 else 265, -100, ctypes.create_string_buffer(64), 0))
""",
    "release agent": """
attempt("mount", lambda: checked(libc.mount(b"cgroup", b"/tmp", b"cgroup", 0, b"memory")))
attempt("list", lambda: os.listdir("/sys/fs/cgroup"))
attempt("write", lambda: open("/sys/fs/cgroup/memory/release_agent", "w"))
""",
    "core pattern": """
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/fs/binfmt_misc/register",
             "/sys/kernel/uevent_helper", "/proc/sys/kernel/core_pipe_limit"):
    attempt(path, lambda: open(path, "w"))
if os.path.exists("/proc/sysrq-trigger") and os.stat("/proc/sysrq-trigger").st_rdev != os.makedev(1, 3):
    attempt("sysrq", lambda: open("/proc/sysrq-trigger", "w"))
""",
    "leaked descriptors": """
for fd in range(3, 256):
    if os.path.exists(f"/proc/self/fd/{fd}"):
        print("GOT", os.readlink(f"/proc/self/fd/{fd}"))
attempt("working directory", lambda: open("/proc/self/fd/8/../../../../etc/shadow"))
attempt("through the workspace", lambda: open("/workspace/../etc/shadow"))
""",
    "own executable": """
for path in ("/proc/1/exe", "/proc/self/exe", "/usr/bin/bwrap", "/proc/1/task/1/exe"):
    attempt(path, lambda: open(path, "r+b"))
""",
    "namespaces": """
for kind in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x80):
    attempt(hex(kind), lambda: checked(libc.unshare(kind)))
for name in ("mnt", "net", "pid", "user", "cgroup"):
    attempt(name, lambda: checked(libc.setns(os.open(f"/proc/self/ns/{name}", 0), 0)))
""",
    "clone into namespaces": """
def clone(flags):
    if syscall(56 if X86 else 220, flags | 17, 0, 0, 0, 0) == 0:
        os._exit(0)
for kind in (0x20000, 0x10000000, 0x20000000, 0x40000000):
    attempt(hex(kind), lambda: clone(kind))
attempt("clone3", lambda: syscall(435, ctypes.create_string_buffer(88), 88))
""",
    "chroot and pivot": """
attempt("chroot", lambda: os.chroot("/tmp"))
attempt("pivot", lambda: syscall(155 if X86 else 41, b"/", b"/tmp"))
""",
    "keyring": """
for number in ((248, 249, 250) if X86 else (217, 218, 219)):
    attempt(number, lambda: syscall(number, 0, -3, 0, 0, 0))
""",
    "large interfaces": """
for number in ((321, 298, 323, 425, 426, 427, 447, 300) if X86 else (280, 241, 282, 425, 426, 427, 447, 262)):
    attempt(number, lambda: syscall(number, 0, 0, 0, 0, 0))
""",
    "unknown calls": """
for number in (467, 468, 470, 480, 500, 600, 1000):
    attempt(number, lambda: syscall(number, 0, 0, 0, 0, 0))
""",
    "x32 numbers": """
for number in (41, 101, 165, 272) if X86 else ():
    attempt(number, lambda: syscall(0x40000000 | number, 40, 1, 0, 0, 0))
attempt("plain", lambda: syscall(272 if X86 else 97, 0x10000000))
""",
    "setuid programs": """
for line in ("su -c id", "mount -t tmpfs x /tmp", "umount /proc/sys", "passwd -d root", "chsh -s /bin/sh root",
             "echo id -u | newgrp root | grep -x 0", "sudo -n id", "pkexec id"):
    attempt(line, lambda: sh(line + " </dev/null" * ("|" not in line)))
attempt("own", lambda: os.chown("/workspace", 0, 0))
""",
    "terminal": """
import fcntl
for request in (0x5412, 0x541C, 0x5423, 0x100005412):
    attempt(hex(request), lambda: checked(libc.ioctl(0, ctypes.c_ulong(request), b"x")))
""",
    "time and names": """
attempt("time", lambda: time.clock_settime(time.CLOCK_REALTIME, 0))
attempt("host name", lambda: socket.sethostname("evil"))
attempt("kernel log", lambda: syscall(103 if X86 else 116, 3, ctypes.create_string_buffer(64), 64))
""",
    "proc leaks": """
def read(path):
    if not open(path, "rb").read(1):
        raise OSError("empty")
for name in ("kcore", "kmsg", "kallsyms", "keys", "timer_list", "iomem", "vmallocinfo", "cmdline", "config.gz"):
    attempt(name, lambda: read("/proc/" + name))
""",
}
