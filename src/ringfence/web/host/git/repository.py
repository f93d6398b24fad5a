"""Reading a bare repository of the host, and the one way its protected branches move: a merge by plumbing.

There is never a work tree, no hook or driver of anybody runs, and branches that came from outside are
only ever named in full (refs/heads/…), so that none can be taken for an option or another ref.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from ringfence.adapters.git import environment
from ringfence.adapters.process import Ended, run
from ringfence.domain.errors import HostFailed
from ringfence.ports.objects import Authorship
from ringfence.web.host.git.policy import HEADS, Entry

_CONFIG = ("-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "core.quotePath=true")
_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=none")


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit as pages and the API show it; all of it was written by a stranger."""

    sha: str
    parents: tuple[str, ...]
    author: str
    email: str
    when: int
    message: str


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """One path of a diff; `before` is its old path when it was moved. Counts are None for binary content."""

    path: str
    before: str | None
    status: str
    old_mode: str
    new_mode: str
    blob: str
    added: int | None
    removed: int | None


@dataclass(frozen=True, slots=True)
class Bare:
    """A bare repository of the host."""

    path: Path

    def tip(self, branch: str) -> str | None:
        """The commit of a branch."""
        done = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{HEADS}{branch}^{{commit}}")
        return done.stdout.decode().strip() if done.exit_code == 0 else None

    def has_commit(self, sha: str) -> bool:
        """The commit is there."""
        return self._run("cat-file", "-e", f"{sha}^{{commit}}").exit_code == 0

    def merge_base(self, one: str, other: str) -> str | None:
        """A newest common commit."""
        done = self._run("merge-base", one, other)
        return done.stdout.decode().strip() or None

    def contains(self, tip: str, sha: str) -> bool:
        """`sha` is in the history of `tip`."""
        return self._run("merge-base", "--is-ancestor", sha, tip).exit_code == 0

    def parents(self, sha: str) -> tuple[str, ...]:
        """The parents of a commit."""
        return tuple(self._must("rev-parse", f"{sha}^@").decode().split())

    def commits(self, base: str, head: str, *, limit: int) -> tuple[Commit, ...]:
        """The commits of head that base has not, oldest first; the newest `limit` of them."""
        shape = "--format=%H%x1f%P%x1f%an%x1f%ae%x1f%ct%x1f%B%x1e"
        raw = self._must(
            "log", f"--max-count={limit}", "--encoding=UTF-8", "--no-show-signature", shape, f"{base}..{head}"
        )
        found = []
        for row in raw.decode("utf-8", "replace").split("\x1e"):
            fields = row.lstrip("\n").split("\x1f", 5)
            if len(fields) == 6 and fields[4].isdigit():
                sha, parents, author, email, when, message = fields
                found.append(Commit(sha, tuple(parents.split()), author, email, int(when), message.strip()))
        return tuple(reversed(found))

    def count(self, base: str, head: str) -> int:
        """How many commits head has that base has not."""
        return int(self._must("rev-list", "--count", f"{base}..{head}"))

    def changed_files(self, base: str, head: str) -> tuple[ChangedFile, ...]:
        """All paths that differ, without any cap (ATTACKS B14), in the order of `patch`."""
        raw = self._must("diff-tree", "-r", "-z", "-M", "--raw", *_PLAIN, base, head).split(b"\0")
        counts = iter(self._must("diff-tree", "-r", "-z", "-M", "--numstat", *_PLAIN, base, head).split(b"\0"))
        fields, found = iter(raw), []
        for meta in fields:
            if not meta:
                break
            old_mode, new_mode, _old, blob, status = meta.decode().lstrip(":").split()
            path = _text(next(fields))
            before = None
            if status[0] in "RC":
                before, path = path, _text(next(fields))
            plus, minus, moved = next(counts).split(b"\t")
            if not moved:  # a rename's two paths stand in fields of their own
                next(counts), next(counts)
            lines = (None, None) if plus == b"-" else (int(plus), int(minus))
            found.append(ChangedFile(path, before, status[0], old_mode, new_mode, blob, *lines))
        return tuple(found)

    def entries(self, old: str, new: str) -> list[Entry]:
        """What differs between two trees, moves as removal and addition, for the policy."""
        raw = self._must("diff-tree", "-r", "-z", "--raw", "--no-renames", *_PLAIN, old, new).split(b"\0")
        rows = [(raw[at].decode().split(), _text(raw[at + 1])) for at in range(0, len(raw) - 1, 2)]
        return [Entry(path, words[1], words[3]) for words, path in rows]

    def patch(self, base: str, head: str, limit: int) -> tuple[bytes, bool]:
        """The unified diff and whether it is whole; never more than `limit` bytes are held."""
        argv = [*self._argv(), "diff-tree", "-r", "-M", "-p", "--full-index", *_PLAIN, base, head]
        with subprocess.Popen(
            argv, env=environment("none"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as child:
            assert child.stdout is not None
            text = child.stdout.read(limit + 1)
            child.kill()
        return text[:limit], len(text) <= limit

    def merged_tree(self, base: str, head: str) -> str | None:
        """The tree of both merged, or None when they conflict."""
        done = self._run("merge-tree", "--write-tree", "--no-messages", base, head)
        if done.exit_code > 1:
            raise HostFailed("git could not merge", where=done.stderr.decode("utf-8", "replace")[:200])
        return done.stdout.decode().split("\n", 1)[0] if done.exit_code == 0 else None

    def commit_tree(self, tree: str, parents: tuple[str, ...], message: str, by: Authorship) -> str:
        """Make a commit; the same arguments give the same id."""
        who = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", by.name), ("EMAIL", by.email), ("DATE", f"@{by.when} +0000"))
        }
        argv = ["commit-tree", tree, *(word for parent in parents for word in ("-p", parent))]
        done = run([*self._argv(), *argv], environment={**environment("none"), **who}, stdin=message.encode())
        if done.exit_code != 0:
            raise HostFailed("git could not make the commit", where=done.stderr.decode("utf-8", "replace")[:200])
        return done.stdout.decode().strip()

    def move_branch(self, branch: str, new: str, old: str) -> bool:
        """Point a branch at `new` if it still is at `old`."""
        return self._run("update-ref", f"{HEADS}{branch}", new, old).exit_code == 0

    def _argv(self) -> list[str]:
        return ["git", f"--git-dir={self.path}", *_CONFIG]

    def _run(self, *argv: str) -> Ended:
        return run([*self._argv(), *argv], environment=environment("none"), timeout=120)

    def _must(self, *argv: str) -> bytes:
        done = self._run(*argv)
        if done.exit_code != 0:
            raise HostFailed(f"git {argv[0]} failed", where=done.stderr.decode("utf-8", "replace")[:200])
        return done.stdout


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
