"""Rooms: trees made, used and taken in inside sandboxes, for the stages that run untrusted commands.

Everything that reads or writes an untrusted tree happens here, in a sandbox: the checkout, the commands,
and the collection of what an agent left. The agent's own git directory is never read by anyone but the
agent; its tree is read with a git directory and an index of ours. The host only sees objects, after fsck.
"""

import itertools
import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from ringfence.domain.boundary import Boundary, RepositoryCommands
from ringfence.domain.errors import RunStopped
from ringfence.domain.events import CommandRan, SandboxDestroyed, SandboxStarted
from ringfence.pipeline.exits import Exits, stop_when_gone
from ringfence.pipeline.hidden import HIDDEN, LEAVE_OUT, TAKE_BACK, patterns
from ringfence.ports.artifacts import Artifacts
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.intake import Intake
from ringfence.ports.sandbox import HeldSandbox, Mount, Outcome, Sandboxes, SandboxSpec, Workspace

#: What the worker's own git needs inside a sandbox.
_SYSTEM = Mount(Path("/usr"), "/usr")
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_GIT_TIMEOUT = 900.0
_INDEX_LIMIT = 512 << 20

_CHECKOUT = f"""set -e
git init -q -b work .
mkdir -p .git/objects/info
echo /mirror/objects > .git/objects/info/alternates
if [ -s /ringfence/patch.pack ]; then git index-pack --stdin --fix-thin < /ringfence/patch.pack > /dev/null; fi
{LEAVE_OUT}git -c core.hooksPath=/dev/null -c checkout.workers=2 checkout -q -f -B work "$1"
"""

#: Before git looks at the tree: pipes are refused, because it would read them for ever, and so are submodules that are
#: no longer empty, because it would start a git of its own in each, with the configuration that it finds there.
#: The index is refreshed before `add` (exit code 1: something did change), for `add` writes an object for every file
#: whose times do not prove it unchanged, whatever is in it, and would fill the temporary space. Nothing changes the
#: tree any more, so that what the refresh has compared is true at any later time, and the index is dated so.
_COLLECT = r"""set -e
exec 3>&1 1>&2
odd=$(find . -path ./.git -prune -o -name '.git*' ! -type f ! -type d ! -type l -print)
if [ -n "$odd" ]; then echo "neither a file nor a link, and git would wait for it for ever: $odd"; exit 1; fi
git init -q -b agent
echo /mirror/objects > "$GIT_DIR/objects/info/alternates"
if [ -s /ringfence/patch.pack ]; then git index-pack --stdin --fix-thin < /ringfence/patch.pack > /dev/null; fi
cp /ringfence/index "$GIT_INDEX_FILE"
filled=$(git ls-files -s -z | sed -zn 's/^160000 [0-9a-f]* 0\t/.\//p' |
    xargs -0r sh -c 'for path; do [ ! -d "$path" ] || find "$path" -mindepth 1 -print -quit; done' sh)
if [ -n "$filled" ]; then echo "something was put into a submodule: $filled"; exit 1; fi
hidden_files
touch -d "@$2" "$GIT_INDEX_FILE"
git update-index -q --ignore-submodules --refresh --force-write-index || [ $? = 1 ]
touch -d @4294967295 "$GIT_INDEX_FILE"
git -c core.hooksPath=/dev/null add -A -- .
tree=$(git write-tree)
commit=$(git commit-tree "$tree" -p "$1" -m agent)
git update-ref refs/heads/agent "$commit"
unset GIT_WORK_TREE GIT_INDEX_FILE
exec 1>&3 3>&-
exec git upload-pack --strict --timeout=300 "$GIT_DIR"
""".replace("hidden_files\n", TAKE_BACK)


@dataclass(frozen=True, slots=True)
class Source:
    """Which commit a room is made of: objects of a mirror, and perhaps a pack with what is not in it yet."""

    mirror: Path
    commit: str
    pack: bytes = b""


@dataclass(frozen=True, slots=True)
class Room:
    """A tree on disk that untrusted commands may change, and the index that git had of it before they did."""

    path: Path
    source: Source
    index: bytes = field(repr=False)
    #: When git wrote the index, in whole seconds: git compares contents of files that were written no earlier, because
    #: a change in the same second cannot be told by its time. A copy with a newer time would hide such a change.
    index_time: int = 0


class Rooms:
    """Makes rooms for one run and runs commands in them; every command is on the log."""

    def __init__(
        self,
        run: str,
        boundary: Boundary,
        repository: str,
        *,
        place: Path,
        sandboxes: Sandboxes,
        log: AuditLog,
        artifacts: Artifacts,
        exits: Exits,
        stop: Callable[[], str | None],
        paused: Callable[[], bool],
    ) -> None:
        self._run = run
        self._boundary = boundary
        self._commands = boundary.commands.repositories[repository]
        self._place = place
        self._sandboxes = sandboxes
        self._log = log
        self._artifacts = artifacts
        self._exits = exits
        self._stop = stop
        self._paused = paused

    @property
    def commands(self) -> RepositoryCommands:
        """What the boundary declares for this repository."""
        return self._commands

    def make(self, name: str, source: Source, *, hidden: tuple[str, ...] = ()) -> Room:
        """A fresh tree of a commit, checked out inside a sandbox; an older one of that name is removed.

        What matches `hidden` (gitignore patterns) is not written to the tree, and not missed when it is taken in.
        """
        path = self._place / name
        remove_tree(path)
        path.mkdir(parents=True, mode=0o755)
        self._sandboxes.own(self._run, path)
        spec = self._git_spec("checkout", ("sh", "-c", _CHECKOUT, "sh", source.commit), source, path)
        if hidden:
            spec = replace(spec, files={**spec.files, HIDDEN: patterns(hidden)})
        outcome, _digest = self.run(spec)
        if outcome.exit_code != 0:
            raise RunStopped("checkout_failed", f"commit {source.commit} could not be checked out", where=_end(outcome))
        index, written = _read_index(path / ".git" / "index")
        return Room(path, source, index, written)

    def remove(self, room: Room) -> None:
        """Take a tree away; that of a quarantined run stays, and goes with the run when it is released."""
        if not self._paused():
            remove_tree(room.path)

    def spec(self, role: str, argv: tuple[str, ...], room: Room, timeout: float) -> SandboxSpec:
        """How to run a declared command or an agent in a room: the boundary's toolchains, limits and ways out."""
        chains = self._boundary.commands.toolchains
        spec = SandboxSpec(
            run=self._run,
            role=role,
            argv=argv,
            limits=self._boundary.limits.sandbox,
            timeout=timeout,
            workspace=Workspace(room.path),
            mounts=(
                Mount(room.source.mirror / "objects", "/mirror/objects"),
                *(Mount(Path(chains[name].source), chains[name].target) for name in self._commands.toolchains),
            ),
            environment={
                "PATH": ":".join(self._commands.path),
                "HOME": "/home/agent",
                "LANG": "C.UTF-8",
                "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own tmpfs
                **self._commands.environment,
            },
        )
        return self._exits.furnish(spec)

    def prepare(self, room: Room) -> None:
        """Run the declared set-up commands in a room. Errors: `RunStopped` when one fails."""
        for argv in self._commands.setup:
            outcome, digest = self.run(self.spec("setup", argv, room, float(self._boundary.limits.run.time)))
            if outcome.exit_code != 0:
                raise RunStopped(
                    "setup_failed", f"set-up command {' '.join(argv)!r} failed", where=f"{_end(outcome)} ({digest})"
                )

    def run(
        self,
        spec: SandboxSpec,
        *,
        held: Callable[[HeldSandbox], Callable[[], str | None]] | None = None,
        output: Callable[[bytes], None] | None = None,
    ) -> tuple[Outcome, str]:
        """Run a command in a sandbox; its outcome and the digest of its redacted output.

        `held` is called while the command waits (to open doors) and gives a further reason to stop.
        `output` sees every piece of what the command prints.
        """
        self._require_wanted()
        with self._sandboxes.hold(spec) as sandbox:
            self._started(spec, sandbox)
            with self._exits.open(spec, sandbox) as gone:
                further = held(sandbox) if held else lambda: None
                stop = lambda: self._stop() or gone() or further()  # noqa: E731
                outcome = sandbox.run(output=output, stop=stop, paused=self._paused)
                code = gone()
        digest = self._ended(spec, outcome)
        stop_when_gone(code)
        return outcome, digest

    def collect(self, room: Room, objects: Intake, intake: Path, *, parent: str, ref: str) -> None:
        """Take the tree of a room into the intake as `ref`, through upload-pack run inside a sandbox."""
        spec = self._git_spec(
            "collect", ("sh", "-c", _COLLECT, "sh", parent, str(room.index_time)), room.source, room.path
        )
        spec = replace(
            spec,
            workspace=Workspace(room.path, writable=False),
            environment={
                **spec.environment,
                "GIT_DIR": "/tmp/collect",  # noqa: S108 - the sandbox's own tmpfs
                "GIT_WORK_TREE": "/workspace",
                "GIT_INDEX_FILE": "/tmp/index",  # noqa: S108
                **{f"GIT_{who}_{what}": "agent" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
            },
            files={**spec.files, "/ringfence/index": room.index},
        )
        self._require_wanted()
        ours, theirs = socket.socketpair()

        def fetch() -> None:
            try:
                objects.fetch_from_sandbox(intake, ours.fileno(), ours.fileno(), ref)
            finally:
                # Nobody reads any more: who still writes inside must end now, not at its own time limit.
                ours.shutdown(socket.SHUT_RDWR)

        with ours, theirs, ThreadPoolExecutor(1) as fetching:
            with self._sandboxes.hold(spec, stdin=theirs.fileno(), stdout=theirs.fileno()) as sandbox:
                theirs.close()
                self._started(spec, sandbox)
                fetched = fetching.submit(fetch)
                outcome = sandbox.run(stop=self._stop, paused=self._paused)
            fault = fetched.exception()
        digest = self._ended(spec, outcome)
        if outcome.exit_code != 0 or fault is not None:
            said = self._artifacts.get(digest).decode("utf-8", "replace").strip().splitlines()
            where = " | ".join(said[-3:])[:600] or (str(fault) if fault else _end(outcome))
            raise RunStopped("collect_failed", "what the agent left could not be taken in", where=where)

    def _git_spec(self, role: str, argv: tuple[str, ...], source: Source, path: Path) -> SandboxSpec:
        files: Mapping[str, bytes] = {"/ringfence/patch.pack": source.pack} if source.pack else {}
        return SandboxSpec(
            run=self._run,
            role=role,
            argv=argv,
            limits=self._boundary.limits.sandbox,
            timeout=_GIT_TIMEOUT,
            workspace=Workspace(path),
            mounts=(_SYSTEM, Mount(source.mirror / "objects", "/mirror/objects")),
            environment={
                "PATH": _SYSTEM_PATH,
                "HOME": "/home/agent",
                "LC_ALL": "C",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_TERMINAL_PROMPT": "0",
            },
            files=files,
        )

    def _started(self, spec: SandboxSpec, sandbox: HeldSandbox) -> None:
        doors = tuple(str(port) for port in spec.doors)
        self._log.append(self._run, SandboxStarted(spec.role, self._sandboxes.level, sandbox.controls, doors))

    def _require_wanted(self) -> None:
        """No further sandbox for a run that is to end, and none while it stands still."""
        if self._paused():
            raise RunStopped("quarantined", "the run stands still, and was between two commands")
        if reason := self._stop():
            raise RunStopped(reason, "the run was ended before a command ran")

    def _ended(self, spec: SandboxSpec, outcome: Outcome) -> str:
        digest = self._artifacts.put(outcome.output)
        self._log.append(
            self._run,
            CommandRan(
                role=spec.role,
                argv=tuple(word if len(word) < 200 else word[:200] + "…" for word in spec.argv),
                exit_code=outcome.exit_code,
                stopped=outcome.stopped,
                seconds=round(outcome.seconds, 3),
                cpu_seconds=round(outcome.cpu_seconds, 3),
                peak_memory=outcome.peak_memory,
                output=digest,
                output_bytes=outcome.output_bytes,
            ),
        )
        self._log.append(self._run, SandboxDestroyed(spec.role, outcome.processes_left))
        # Asked again: whoever ends a run may have killed its sandbox before anybody here looked.
        if reason := "quarantined" if self._paused() else self._stop():
            raise RunStopped(reason, "the run was ended while a command ran")
        return digest


def remove_tree(path: Path) -> int:
    """Remove an untrusted tree, whatever its modes and its depth, without following anything; the bytes of its files.

    Directories are lifted to the top one by one and removed there, so that a tree that is deeper than a path
    can be long, or than this process may recurse or open, is taken away like any other.
    """
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return 0
    top = _open_unlocked(str(path), None)
    try:
        with os.scandir(top) as entries:
            taken = frozenset(entry.name for entry in entries)
        lifted = (free for free in map("lifted-{}".format, itertools.count()) if free not in taken)
        waiting, removed = _empty(top, top, lifted)
        while waiting:
            name = waiting.pop()
            directory = _open_unlocked(name, top)
            try:
                deeper, size = _empty(directory, top, lifted)
            finally:
                os.close(directory)
            os.rmdir(name, dir_fd=top)
            waiting += deeper
            removed += size
    finally:
        os.close(top)
    path.rmdir()
    return removed


def _empty(directory: int, top: int, names: Iterator[str]) -> tuple[list[str], int]:
    """Unlink what is in a directory and lift its directories to the top; what they are called there, and the bytes."""
    waiting, removed = [], 0
    with os.scandir(directory) as entries:
        found = list(entries)
    for entry in found:
        if not entry.is_dir(follow_symlinks=False):
            removed += entry.stat(follow_symlinks=False).st_size
            os.unlink(entry.name, dir_fd=directory)
        elif directory == top:
            waiting.append(entry.name)
        else:
            # Moving a directory writes in it (its `..`), so its owner must be allowed to.
            os.close(_open_unlocked(entry.name, directory))
            waiting.append(next(names))
            os.rename(entry.name, waiting[-1], src_dir_fd=directory, dst_dir_fd=top)
    return waiting, removed


def _open_unlocked(name: str, directory: int | None) -> int:
    """Open a directory to read, never a link, after giving its owner every right to it."""
    place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if stat.S_IMODE(os.fstat(place).st_mode) & stat.S_IRWXU != stat.S_IRWXU:
            Path(f"/proc/self/fd/{place}").chmod(stat.S_IRWXU)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)


def _read_index(path: Path) -> tuple[bytes, int]:
    """Git's index right after the checkout, before anything untrusted ran, and when it was written."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as handle:
        found = os.fstat(handle.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise RunStopped("checkout_failed", "the index of the checkout is not a regular file")
        content = handle.read(_INDEX_LIMIT + 1)
    if len(content) > _INDEX_LIMIT:
        raise RunStopped("checkout_failed", "the index of the checkout is too large")
    return content, int(found.st_mtime)


def _end(outcome: Outcome) -> str:
    return outcome.stopped or f"exit code {outcome.exit_code}"
