"""Rooms: trees made, used and taken in inside sandboxes, for the stages that run untrusted commands.

Everything that reads or writes an untrusted tree happens here, in a sandbox: the checkout, the commands,
and the collection of what an agent left. The agent's own git directory is never read by anyone but the
agent; its tree is read with a git directory and an index of ours. The host only sees objects, after fsck.
"""

import os
import socket
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from ringfence.domain.boundary import Boundary, RepositoryCommands
from ringfence.domain.errors import RunStopped
from ringfence.domain.events import CommandRan, SandboxDestroyed, SandboxStarted
from ringfence.pipeline.exits import Exits, stop_when_gone
from ringfence.pipeline.hidden import AT_COLLECTION, HIDDEN, HIDE, Hidden, told
from ringfence.pipeline.trees import remove_tree as remove_tree
from ringfence.ports.artifacts import Artifacts
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.intake import Intake
from ringfence.ports.sandbox import HeldSandbox, Mount, Outcome, Sandboxes, SandboxSpec, Workspace

#: What the worker's own git needs inside a sandbox.
_SYSTEM = Mount(Path("/usr"), "/usr")
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_GIT_TIMEOUT = 900.0
_INDEX_LIMIT = 512 << 20

_CHECKOUT = """set -e
git init -q -b work .
mkdir -p .git/objects/info
echo /mirror/objects > .git/objects/info/alternates
if [ -s /ringfence/patch.pack ]; then git index-pack --stdin --fix-thin < /ringfence/patch.pack > /dev/null; fi
git -c core.hooksPath=/dev/null -c checkout.workers=2 checkout -q -f -B work "$1"
"""

#: Before git looks at the tree: pipes are refused, because it would read them for ever, and so are submodules that are
#: no longer empty, because it would start a git of its own in each, with the configuration that it finds there.
#: A file that set-up made is none of the agent's work while it is as set-up made it, ignored or not: it is left out.
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
if [ -s /ringfence/made ]; then
    git diff --cached --name-only --no-renames --diff-filter=A -z "$1" > /tmp/added
    {
        xargs -0r sh -c 'for path; do [ -L "$path" ] || printf "%s\0" "$path"; done' sh < /tmp/added |
            xargs -0r sha256sum -z -- | sed -z "s/  / /"
        xargs -0r sh -c 'for path; do [ ! -L "$path" ] || printf "%.64s %s\0" "$(readlink -n -- "$path" |
            sha256sum)" "$path"; done' sh < /tmp/added
    } | LC_ALL=C sort -z > /tmp/now
    LC_ALL=C sort -z /ringfence/made | LC_ALL=C comm -z -12 /tmp/now - | LC_ALL=C cut -z -c66- |
        git update-index -z --force-remove --stdin
fi
tree=$(git write-tree)
commit=$(git commit-tree "$tree" -p "$1" -m agent)
git update-ref refs/heads/agent "$commit"
unset GIT_WORK_TREE GIT_INDEX_FILE
exec 1>&3 3>&-
exec git upload-pack --strict --timeout=300 "$GIT_DIR"
""".replace("hidden_files\n", AT_COLLECTION)


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
    #: Trees beneath, the nearest first; then `path` holds only what was changed over them.
    lower: tuple[Path, ...] = ()
    #: What set-up made here: `<sha256> <path>` of each file, each with a NUL at its end. No patch carries it.
    made: bytes = field(default=b"", repr=False)
    #: What was taken away of it for the agent, as lines of gitignore.
    hidden: bytes = b""
    #: What that was.
    taken: Hidden = field(default_factory=Hidden)

    def workspace(self, *, writable: bool = True) -> Workspace:
        """The tree as a sandbox is given it."""
        return Workspace(self.path, writable=writable, lower=self.lower)

    @property
    def levels(self) -> tuple[Path, ...]:
        """The tree as something that lies beneath others."""
        return (self.workspace().written, *self.lower)


class Stock(Protocol):
    """Where rooms come from that share what they are made of."""

    def room(self, rooms: "Rooms", name: str, source: Source) -> Room:
        """A room on a commit, with what set-up makes in it."""
        ...


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
        stock: Stock | None = None,
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
        self._stock = stock

    @property
    def commands(self) -> RepositoryCommands:
        """What the boundary declares for this repository."""
        return self._commands

    def ready(self, name: str, source: Source) -> Room:
        """A tree for an agent or a check: a fresh one of a commit, with what set-up makes in it."""
        if self._stock is not None:
            return self._stock.room(self, name, source)
        room = self.make(name, source)
        self.prepare(room)
        return room

    def make(self, name: str, source: Source, over: Room | None = None) -> Room:
        """A fresh tree of a commit, checked out inside a sandbox; an older one of that name is removed.

        Made over another, which nobody may write any more, it holds what is different.
        """
        path = self._place / name
        remove_tree(path)
        if over is None:
            path.mkdir(parents=True, mode=0o755)
            self._sandboxes.own(self._run, path)
        fresh = Room(path, source, b"", lower=over.levels if over else ())
        spec = self._git_spec("checkout", ("sh", "-c", _CHECKOUT, "sh", source.commit), fresh.workspace(), source)
        outcome, _digest = self.run(spec)
        if outcome.exit_code != 0:
            raise RunStopped("checkout_failed", f"commit {source.commit} could not be checked out", where=_end(outcome))
        index, written = _read_index(fresh.levels[0] / ".git" / "index")
        return replace(fresh, index=index, index_time=written)

    def over(self, name: str, tree: Room, *beneath: Path) -> Room:
        """An empty room over a tree, and over what shows where that has nothing; one of that name is removed."""
        path = self._place / name
        remove_tree(path)
        return replace(tree, path=path, lower=(*tree.levels, *beneath))

    def hide(self, room: Room, hidden: tuple[str, ...]) -> Room:
        """Take away what matches gitignore patterns; it is not missed when the tree is taken in."""
        if not hidden:
            return room
        room = replace(room, hidden="".join(f"{pattern}\n" for pattern in hidden).encode())
        spec = self._git_spec("hide", ("sh", "-c", HIDE), room.workspace(), room.source)
        outcome, digest = self.run(_with_own_index(spec, room))
        if outcome.exit_code != 0:
            raise RunStopped(
                "checkout_failed", "the agent's tree could not be made", where=f"{_end(outcome)} ({digest})"
            )
        return replace(room, taken=told(outcome.output))

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
            workspace=room.workspace(),
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
        argv = ("sh", "-c", _COLLECT, "sh", parent, str(room.index_time))
        spec = self._git_spec("collect", argv, room.workspace(writable=False), room.source)
        spec = _with_own_index(spec, room)
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

    def _git_spec(self, role: str, argv: tuple[str, ...], workspace: Workspace, source: Source) -> SandboxSpec:
        files: Mapping[str, bytes] = {"/ringfence/patch.pack": source.pack} if source.pack else {}
        return SandboxSpec(
            run=self._run,
            role=role,
            argv=argv,
            limits=self._boundary.limits.sandbox,
            timeout=_GIT_TIMEOUT,
            workspace=workspace,
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


def _with_own_index(spec: SandboxSpec, room: Room) -> SandboxSpec:
    """Git with a git directory and an index of the worker's: those of the tree are read by nobody but the agent."""
    return replace(
        spec,
        environment={
            **spec.environment,
            "GIT_DIR": "/tmp/collect",  # noqa: S108 - the sandbox's own tmpfs
            "GIT_WORK_TREE": "/workspace",
            "GIT_INDEX_FILE": "/tmp/index",  # noqa: S108
            **{f"GIT_{who}_{what}": "agent" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        },
        files={**spec.files, "/ringfence/index": room.index, "/ringfence/made": room.made, HIDDEN: room.hidden},
    )


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
