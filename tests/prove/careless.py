"""Sandboxes with one control left out, each a real one that runs what it is given: the proof must notice."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ringfence.adapters.sandboxes.bubblewrap import BubblewrapSandboxes, probe
from ringfence.ports.sandbox import Finding, Mount, Outcome, SandboxSpec
from ringfence.settings import Settings

USER = 65534 if os.geteuid() == 0 else os.geteuid()


class Showing(BubblewrapSandboxes):
    """Our own sandboxes, but that the worker's state is mounted in each, as a thoughtless toolchain would."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self._shown = state

    @contextmanager
    def hold(self, spec: SandboxSpec, *, stdin: int | None = None, stdout: int | None = None) -> Iterator[object]:  # type: ignore[override]
        self._shown.chmod(0o755)
        more = replace(spec, mounts=(*spec.mounts, Mount(self._shown, str(self._shown))))
        with super().hold(more, stdin=stdin, stdout=stdout) as held:
            yield held


def showing(settings: Settings) -> Showing:
    return Showing(settings.state)


@dataclass
class _Held:
    """A command that is not held at all until it is run."""

    words: list[str]
    spec: SandboxSpec
    listeners: Mapping[int, socket.socket]
    streams: tuple[int | None, int | None]
    controls = ("careless",)

    @property
    def doors(self) -> Mapping[int, socket.socket]:
        return self.listeners

    def run(
        self,
        *,
        output: Callable[[bytes], None] | None = None,
        stop: Callable[[], str | None] | None = None,
        paused: Callable[[], bool] | None = None,
    ) -> Outcome:
        began = time.monotonic()
        stdin, stdout = self.streams
        root = os.geteuid() == 0
        with subprocess.Popen(
            self.words, stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE if stdout is None else stdout, stderr=subprocess.STDOUT if stdout is None else None,
            env={}, user=USER if root else None, group=USER if root else None, extra_groups=[] if root else None,
        ) as command:  # fmt: skip
            stopped = None
            try:
                said = command.communicate(timeout=min(self.spec.timeout, 10.0))[0]
            except subprocess.TimeoutExpired:  # an attempt to trace the first process wedges this one
                command.kill()
                said, stopped = command.communicate()[0], "timeout"
        code = None if stopped else command.returncode
        return Outcome(code, stopped, said or b"", len(said or b""), time.monotonic() - began, 0.0, 0, 0)


class Networked:
    """bubblewrap with one word too many: the network of whoever starts it is shared."""

    level = "careless: shares the network"

    def __init__(self, state: Path) -> None:
        self._state = state

    @contextmanager
    def hold(self, spec: SandboxSpec, *, stdin: int | None = None, stdout: int | None = None) -> Iterator[_Held]:
        for mount in spec.mounts:
            self._open(mount.source)
        with ExitStack() as stack:
            words = ["bwrap", "--unshare-all", "--unshare-user", "--share-net", "--disable-userns", "--cap-drop", "ALL"]
            words += ["--new-session", "--die-with-parent", "--clearenv", "--proc", "/proc"]
            words += ["--dev", "/dev", "--tmpfs", "/tmp", "--dir", "/home/agent", "--dir", "/etc"]
            for name, value in spec.environment.items():
                words += ["--setenv", name, value]
            for mount in spec.mounts:
                words += ["--ro-bind", str(mount.source), mount.target]
            for name in ("bin", "lib", "lib64"):
                words += ["--symlink", f"usr/{name}", f"/{name}"]
            for path, content in spec.files.items():
                file = stack.enter_context(_file(content))
                words += ["--ro-bind", str(file), path]
            if spec.workspace:
                kind = "--bind" if spec.workspace.writable else "--ro-bind"
                words += [kind, str(spec.workspace.path), spec.workspace.target, "--chdir", spec.workspace.target]
            listeners = {port: socket.create_server(("127.0.0.1", port)) for port in spec.doors}
            for listener in listeners.values():
                stack.callback(listener.close)
            yield _Held([*words, "--", *spec.argv], spec, listeners, (stdin, stdout))

    def own(self, run: str, path: Path) -> None:
        self._open(path)
        os.chown(path, USER, USER) if os.geteuid() == 0 else None

    def _open(self, path: Path) -> None:
        """So that another user finds the way; everything below the state of a proof is the proof's own."""
        for place in (path, *path.parents):
            if place.is_relative_to(self._state.parent):
                place.chmod(0o755)

    def reclaim(self, run: str) -> int:
        return 0

    def probe(self) -> tuple[Finding, ...]:
        return probe.attack(self, self._state)


@contextmanager
def _file(content: bytes) -> Iterator[Path]:
    path = Path("/tmp", f"ringfence-careless-{os.getpid()}-{time.monotonic_ns()}")
    path.write_bytes(content)
    path.chmod(0o644)
    try:
        yield path
    finally:
        path.unlink()


def networked(settings: Settings) -> Networked:
    return Networked(settings.state)
