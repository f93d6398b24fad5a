"""Host-side git: only ever with `--git-dir` set to a bare repository that no agent can write, never with a work tree.

The environment of every call is built from empty, system and user configuration are off, hooks and
automatic maintenance are off, and what comes in is checked object by object (fsck). Credentials go
through a pipe that git's credential helper reads: they stand in no argument, no configuration file
and no environment variable. Rules: docs/git.md.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ringfence.adapters.process import Ended, run
from ringfence.domain.errors import ControlMissing, EvidenceBroken, HostFailed, RunStopped
from ringfence.domain.marks import MARK
from ringfence.domain.patch import FileChange
from ringfence.ports.broker import Grant
from ringfence.ports.git import FREE, Leash
from ringfence.ports.objects import Authorship, TreeEntry

_ALWAYS = (
    "core.hooksPath=/dev/null",
    "gc.auto=0",
    "maintenance.auto=false",
    "core.fsmonitor=false",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    "protocol.version=2",
    "credential.helper=",
    "core.askPass=/bin/false",
    "http.followRedirects=false",
    "advice.detachedHead=false",
)
_ZERO = "0" * 40
_LINK_LIMIT = 4096


def environment(protocols: str) -> dict[str, str]:
    """The whole environment of a host-side git; `protocols` as in GIT_ALLOW_PROTOCOL."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_ALLOW_PROTOCOL": protocols,
    }


class GitObjects:
    """Plumbing over the objects of a trusted bare repository; implements ports/objects.py."""

    def resolve(self, repo: Path, rev: str) -> str | None:
        """The commit that a ref or id names, or None."""
        if rev.startswith("-"):
            return None
        done = _git(repo, "rev-parse", "--verify", "--quiet", "--end-of-options", rev + "^{commit}")
        return done.stdout.decode().strip() if done.exit_code == 0 else None

    def tree_of(self, repo: Path, commit: str) -> str:
        """The tree id of a commit."""
        return _must(repo, "rev-parse", "--verify", "--quiet", "--end-of-options", commit + "^{tree}").decode().strip()

    def entries(self, repo: Path, commit: str) -> tuple[TreeEntry, ...]:
        """All blobs of a commit's tree."""
        listing = _must(repo, "ls-tree", "-r", "-z", "-l", "--full-tree", commit)
        found = []
        for row in listing.split(b"\0"):
            if not row:
                continue
            meta, path = row.split(b"\t", 1)
            mode, _kind, blob, size = meta.decode().split()
            found.append(TreeEntry(_text(path), mode, blob, 0 if size == "-" else int(size)))
        return tuple(found)

    def read(self, repo: Path, commit: str, path: str, limit: int) -> bytes | None:
        """At most `limit` bytes of a regular file of a commit; None when there is none."""
        listing = _must(repo, "ls-tree", "-z", "--full-tree", commit, "--", path)
        rows = [row for row in listing.split(b"\0") if row]
        if len(rows) != 1 or not rows[0].startswith((b"100644 ", b"100755 ")):
            return None
        blob = rows[0].split(b"\t", 1)[0].decode().split()[2]
        return self.blob(repo, blob)[:limit]

    def blob(self, repo: Path, blob: str) -> bytes:
        """The content of a blob."""
        return _must(repo, "cat-file", "blob", blob)

    def search(self, repo: Path, commit: str, words: tuple[str, ...], limit: int) -> tuple[tuple[str, int, str], ...]:
        """Fixed-string hits (path, line number, line) in a commit."""
        if not words:
            return ()
        options = [option for word in words for option in ("-e", word)]
        done = _git(
            repo, "grep", "-I", "-n", "-z", "-F", "--max-count=50", "--no-color", "--no-textconv", *options, commit
        )
        if done.exit_code > 1:
            raise HostFailed("git grep failed", where=_last_line(done.stderr))
        hits = []
        for row in done.stdout.split(b"\n")[:limit]:
            fields = row.split(b"\0", 2)
            if len(fields) == 3:
                path = _text(fields[0]).partition(":")[2]
                hits.append((path, int(fields[1]), _text(fields[2])))
        return tuple(hits)

    def changes(self, repo: Path, old: str, new: str) -> tuple[FileChange, ...]:
        """What differs between two trees or commits, without rename detection."""
        listing = _must(
            repo,
            "diff-tree",
            "-r",
            "-z",
            "--raw",
            "--no-renames",
            "--no-ext-diff",
            "--ignore-submodules=none",
            old,
            new,
        )
        fields = listing.split(b"\0")
        rows = [(*fields[i].decode().lstrip(":").split(), _text(fields[i + 1])) for i in range(0, len(fields) - 1, 2)]
        present = [row[3] for row in rows if row[1] not in ("000000", "160000")]
        sizes = self._sizes(repo, present)
        small_links = [row[3] for row in rows if row[1] == "120000" and sizes[row[3]] <= _LINK_LIMIT]
        links = {blob: _text(target) for blob, target in zip(small_links, self.blobs(repo, small_links), strict=True)}
        return tuple(
            FileChange(
                path=path,
                status=status[0],
                old_mode=old_mode,
                new_mode=new_mode,
                blob=blob,
                size=sizes.get(blob, 0),
                # A target too long to be read is shown as one that leaves the tree, so that it is refused.
                link=links.get(blob, "/too-long") if new_mode == "120000" else None,
            )
            for old_mode, new_mode, _old, blob, status, path in rows
        )

    def _sizes(self, repo: Path, blobs: Sequence[str]) -> dict[str, int]:
        done = _git(repo, "cat-file", "--batch-check", stdin="".join(f"{blob}\n" for blob in blobs).encode())
        rows = [line.split() for line in done.stdout.decode().splitlines()]
        if done.exit_code != 0 or len(rows) != len(blobs) or any(len(row) != 3 for row in rows):
            raise EvidenceBroken("an object of the patch is missing", where=_last_line(done.stderr))
        return {row[0]: int(row[2]) for row in rows}

    def blobs(self, repo: Path, blobs: Sequence[str]) -> Iterator[bytes]:
        """The contents of blobs, in order."""
        done = _git(repo, "cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in blobs).encode())
        position = 0
        for blob in blobs:
            end = done.stdout.index(b"\n", position)
            header = done.stdout[position:end].split()
            if len(header) != 3 or header[0].decode() != blob:
                raise EvidenceBroken(f"object {blob} of the patch is missing")
            size = int(header[2])
            yield done.stdout[end + 1 : end + 1 + size]
            position = end + 1 + size + 1

    def diff(self, repo: Path, old: str, new: str) -> tuple[bytes, int, int]:
        """The unified diff, insertions and deletions; no external drivers, no textconv."""
        plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--ignore-submodules=none")
        text = _must(repo, "diff-tree", "-r", "-p", *plain, old, new)
        counts = _must(repo, "diff-tree", "-r", "-z", "--numstat", *plain, old, new)
        rows = [row.split(b"\t")[:2] for row in counts.split(b"\0") if row]
        added = sum(int(plus) for plus, _minus in rows if plus != b"-")
        removed = sum(int(minus) for _plus, minus in rows if minus != b"-")
        return text, added, removed

    def commit_tree(self, repo: Path, tree: str, parent: str, message: str, by: Authorship) -> str:
        """Make a commit; the same arguments give the same id."""
        who = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", by.name), ("EMAIL", by.email), ("DATE", f"@{by.when} +0000"))
        }
        done = _git(repo, "commit-tree", tree, "-p", parent, stdin=message.encode(), extra=who)
        if done.exit_code != 0:
            raise HostFailed("git could not make the commit", where=_last_line(done.stderr))
        return done.stdout.decode().strip()

    def graft(self, repo: Path, commit: str, base: str, paths: Sequence[str]) -> str:
        """The tree of `commit`, but with `paths` as `base` has them: those that it does not have are gone."""
        wanted = {entry.path: entry for entry in self.entries(repo, base)}
        there = [path for path in paths if path in wanted]
        gone = "".join(f"0 {_ZERO}\t{path}\0" for path in paths)
        kept = "".join(f"{wanted[path].mode} {wanted[path].blob}\t{path}\0" for path in there)
        with tempfile.TemporaryDirectory(prefix="ringfence-") as place:
            index = {"GIT_INDEX_FILE": f"{place}/index"}
            for argv, stdin in (
                (("read-tree", commit), b""),
                (("update-index", "-z", "--index-info"), gone.encode("utf-8", "surrogateescape")),
                (("update-index", "--replace", "-z", "--index-info"), kept.encode("utf-8", "surrogateescape")),
            ):
                done = _git(repo, *argv, stdin=stdin, extra=index)
                if done.exit_code != 0:
                    raise HostFailed(f"git {argv[0]} failed", where=_last_line(done.stderr))
            done = _git(repo, "write-tree", extra=index)
        if done.exit_code != 0:
            raise HostFailed("git write-tree failed", where=_last_line(done.stderr))
        return done.stdout.decode().strip()

    def raw(self, repo: Path, kind: str, object_id: str) -> bytes:
        """The raw bytes of an object, checked against its id."""
        content = _must(repo, "cat-file", kind, object_id)
        computed = hashlib.sha1(b"%s %d\0" % (kind.encode(), len(content)) + content, usedforsecurity=False)
        if computed.hexdigest() != object_id:
            raise EvidenceBroken(f"object {object_id} does not have the id it claims")
        return content

    def keep(self, repo: Path, ref: str, commit: str) -> None:
        """Point a ref of a trusted repository at a commit."""
        _must(repo, "update-ref", ref, commit)

    def heads(self, repo: Path, prefix: str) -> dict[str, str]:
        """Branches whose name begins with a prefix, and their commits."""
        listing = _must(
            repo, "for-each-ref", "--sort=refname", "--format=%(refname) %(objectname)", "refs/heads/"
        ).decode()
        rows = [line.removeprefix("refs/heads/").rsplit(" ", 1) for line in listing.splitlines()]
        return {name: commit for name, commit in rows if name.startswith(prefix)}

    def trailers(self, repo: Path, base: str, head: str, key: str) -> frozenset[str]:
        """The values of a trailer in `head` itself and in the commits that it has beyond `base`."""
        shown = ("log", "--no-show-signature", f"--format=%(trailers:key={key},valueonly)")
        listings = _must(repo, *shown, head, f"^{base}") + _must(repo, *shown, "-1", head)
        return frozenset(line.strip() for line in listings.decode("utf-8", "replace").splitlines() if line.strip())


class GitIntake:
    """How objects come out of a sandbox and get in; implements ports/intake.py."""

    def fetch_from_sandbox(self, intake: Path, reading: int, writing: int, ref: str) -> None:
        """Take `refs/heads/agent` in, as `ref`, from an upload-pack on two descriptors; every object is checked.

        The sandbox's side ran untrusted; on any fault nothing is kept and `HostFailed` says what git said.
        """
        argv = ("fetch", "-q", "--no-tags", "--no-write-fetch-head", f"fd::{reading},{writing}/intake",
                f"+refs/heads/agent:{ref}")  # fmt: skip
        done = run(
            ["git", f"--git-dir={intake}", *_config(), *argv],
            environment=environment("fd"),
            descriptors=(reading, writing),
        )
        if done.exit_code != 0:
            raise HostFailed("the agent's tree was not taken in", where=_last_line(done.stderr))

    def pack(self, repo: Path, want: str, have: str) -> bytes:
        """A thin pack with what `want` has beyond `have`."""
        done = _git(repo, "pack-objects", "-q", "--revs", "--thin", "--stdout", stdin=f"{want}\n^{have}\n".encode())
        if done.exit_code != 0:
            raise HostFailed("git could not pack the patch", where=_last_line(done.stderr))
        return done.stdout


class GitTransport:
    """Mirrors, fresh intakes and the push; implements ports/git.py. Only the worker may write `mirrors`."""

    def __init__(self, mirrors: Path, *, protocols: str = "http:https") -> None:
        self._mirrors = mirrors
        self._protocols = protocols

    def refresh_mirror(self, repository: str, url: str, grant: Grant, leash: Leash = FREE) -> Path:
        """Make the mirror hold what the host has now; safe when several runs want it."""
        mirror = self.mirror(repository)
        self._mirrors.mkdir(parents=True, exist_ok=True)
        with _locked(self._mirrors / (mirror.name + ".lock")):
            if not (mirror / "HEAD").exists():
                shutil.rmtree(mirror, ignore_errors=True)
                fresh = mirror.with_suffix(".new")
                shutil.rmtree(fresh, ignore_errors=True)
                _init(fresh)
                fresh.rename(mirror)
            refspecs = ("+refs/heads/*:refs/heads/*",)
            fetch = ("fetch", "-q", "--prune", "--no-tags", "--no-write-fetch-head", url, *refspecs)
            # Without the mark: killed at once it would leave its lock files, and it carries nothing out.
            self._with_credential(mirror, url, grant, fetch, Leash(stop=leash.stop))
            os.utime(mirror)
        return mirror

    def mirror(self, repository: str) -> Path:
        """Where the mirror of a repository is, whether or not it exists: an opaque name, seen inside sandboxes."""
        return self._mirrors / (hashlib.sha256(repository.encode()).hexdigest()[:24] + ".git")

    def make_intake(self, path: Path, mirror: Path, base: str) -> Path:
        """A fresh bare repository that borrows the mirror's objects."""
        shutil.rmtree(path, ignore_errors=True)
        _init(path)
        (path / "objects" / "info" / "alternates").write_text(f"{mirror / 'objects'}\n")
        _must(path, "update-ref", "refs/ringfence/base", base)
        return path

    def push(self, repo: Path, url: str, commit: str, ref: str, grant: Grant, leash: Leash = FREE) -> bool:
        """Push exactly `commit` to `ref`, never by force; False when the host had it already."""
        if grant.purpose != "publish":
            raise ControlMissing(f"grant {grant.id} is for {grant.purpose}, not for pushing")
        if self.remote_ref(url, ref, grant, leash) == commit:
            return False
        push = ("push", "-q", "--no-follow-tags", "--no-verify", url, f"{commit}:{ref}")
        self._with_credential(repo, url, grant, push, leash)
        return True

    def remote_ref(self, url: str, ref: str, grant: Grant, leash: Leash = FREE) -> str | None:
        """What the host has at `ref`."""
        listing = self._with_credential(None, url, grant, ("ls-remote", "--refs", url, ref), leash).decode()
        rows = [line.split("\t") for line in listing.splitlines()]
        return next((row[0] for row in rows if row[1] == ref), None)

    def _with_credential(self, repo: Path | None, url: str, grant: Grant, argv: Sequence[str], leash: Leash) -> bytes:
        """Run git with the grant's secret in a pipe; git's credential helper reads it once, when the host asks."""
        if grant.host and not url.startswith(grant.host.rstrip("/") + "/"):
            raise ControlMissing(f"grant {grant.id} is for {grant.host} alone", where=url, mend="see the settings")
        reading, writing = os.pipe()
        try:
            os.write(writing, f"username={grant.username}\npassword={grant.secret.reveal()}\n".encode())
            os.close(writing)
            answer = f'credential.helper=!f() {{ test "$1" = get && cat /dev/fd/{reading}; }}; f'
            where = [f"--git-dir={repo}"] if repo else ["--git-dir=/nonexistent"]
            done = run(
                ["git", *where, *_config(), "-c", answer, *argv],
                environment={**environment(self._protocols), **({MARK: leash.mark} if leash.mark else {})},
                descriptors=(reading,),
                stop=leash.stop,
            )
        finally:
            os.close(reading)
        if done.exit_code != 0 and (reason := leash.stop()):
            raise RunStopped(reason, f"git {argv[0]} was ended")
        if done.exit_code != 0:
            raise HostFailed(
                f"git {argv[0]} was refused or failed",
                where=_last_line(done.stderr),
                mend="see the code host's message; check the grant's scope and the boundary's branches section",
            )
        return done.stdout


def _init(path: Path) -> None:
    done = run(
        ["git", *_config(), "init", "-q", "--bare", "--template=", "-b", "main", str(path)],
        environment=environment("none"),
    )
    if done.exit_code != 0:
        raise HostFailed("git could not make a repository", where=_last_line(done.stderr))
    (path / "objects" / "info").mkdir(exist_ok=True)


def _config() -> list[str]:
    return [word for setting in _ALWAYS for word in ("-c", setting)]


def _git(repo: Path, *argv: str, stdin: bytes = b"", extra: dict[str, str] | None = None) -> Ended:
    return run(
        ["git", f"--git-dir={repo}", *_config(), *argv],
        environment={**environment("none"), **(extra or {})},
        stdin=stdin,
    )


def _must(repo: Path, *argv: str) -> bytes:
    done = _git(repo, *argv)
    if done.exit_code != 0:
        raise HostFailed(f"git {argv[0]} failed", where=_last_line(done.stderr))
    return done.stdout


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _last_line(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    # What the host says comes first: it names the rule that refused a push; git's own lines only say that it did.
    said = [line for line in lines if line.startswith("remote: ")]
    return " | ".join(said[:3] or lines[-3:])[:600]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
