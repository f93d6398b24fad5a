"""The pre-receive hook: `python -m ringfence.web.host.git.gate POLICY`, with git's ref updates on standard input.

It runs inside git's quarantine, before any ref moves; a non-zero end throws the objects away. The policy
comes from the server as an argument, never from the pusher. Every fault of its own is a refusal.
"""

import json
import subprocess
import sys
from dataclasses import dataclass

from ringfence.web.host.git.policy import (
    ABSENT,
    GITLINK,
    HEADS,
    SYMLINK,
    ZERO,
    Entry,
    Refusal,
    RepositoryPolicy,
    judge_entries,
    judge_new,
    judge_update,
    matches_branch,
)

MAX_REFS = 16


@dataclass(frozen=True, slots=True)
class Push:
    """Who pushes, by which rules."""

    principal: str
    kind: str
    prefix: str | None
    policy: RepositoryPolicy


def main(argv: list[str]) -> int:
    """Judge one push; the refusals go to the pusher's terminal by standard error."""
    try:
        given = json.loads(argv[1])
        push = Push(given["principal"], given["kind"], given["prefix"], RepositoryPolicy.from_json(given["policy"]))
    except (IndexError, KeyError, TypeError, ValueError):
        print("refused: [no-policy] this push did not come through the code host's server", file=sys.stderr)
        return 1
    updates = [line.split(" ", 2) for line in sys.stdin.read().splitlines()]
    if len(updates) > MAX_REFS:
        print(f"refused: [ref-count] at most {MAX_REFS} refs in one push", file=sys.stderr)
        return 1
    refused = False
    for old, new, ref in updates:
        try:
            refusal = judge(push, old, new, ref)
        except (subprocess.CalledProcessError, OSError, ValueError, IndexError):
            refusal = Refusal("unreadable", "what was pushed could not be judged, so it is not taken")
        if refusal is not None:
            print(f"refused: {ascii(ref)[1:-1]}: {refusal}", file=sys.stderr)
            refused = True
    return 1 if refused else 0


def judge(push: Push, old: str, new: str, ref: str) -> Refusal | None:
    """Judge one ref: its name, how it moves, and every commit that is new to the host."""
    refusal = judge_update(push.policy, push.prefix, ref, new)
    if refusal is not None:
        return refusal
    if _git("cat-file", "-t", new).strip() != b"commit":
        return Refusal("not-a-commit", "a branch holds commits only")
    if old != ZERO and _ends("merge-base", "--is-ancestor", old, new) != 0:
        return Refusal("non-fast-forward", "history that was pushed stays; there is no force")
    limit = push.policy.max_commits
    commits = _git("rev-list", f"--max-count={limit + 1}", new, "--not", "--all")
    if commits.count(b"\n") > limit:
        return Refusal("commit-count", f"more than {limit} new commits")
    # Against all parents at once (-c): a merge that takes a path as one side had it changes nothing here …
    entries = _entries(_git("diff-tree", "--stdin", "-c", "--no-commit-id", *_RAW, stdin=commits))
    refusal = judge_entries(push.policy, entries, by_worker=push.kind == "worker")
    # … and against the protected branches, where a merge that brings an old version back does.
    return refusal or _judge_whole(push, new) or _judge_blobs(push.policy, entries)


_RAW = ("-r", "-z", "--raw", "--root", "--no-renames", "--no-ext-diff", "--ignore-submodules=none")


def _judge_whole(push: Push, new: str) -> Refusal | None:
    """Seen as a whole from one of the protected branches, the branch leaves protected paths as they are."""
    listed = _git("for-each-ref", "--format=%(objectname) %(refname)", HEADS).decode("utf-8", "replace").splitlines()
    rows = [row.split(" ", 1) for row in listed]
    guarded = [sha for sha, ref in rows if matches_branch(push.policy.protected_branches, ref.removeprefix(HEADS))]
    last = Refusal("unrelated-history", "the branch shares no commit with a protected branch")
    for tip in guarded:
        for start in _output("merge-base", "--all", tip, new).decode().split():
            refusal = judge_entries(
                push.policy,
                _entries(_git("diff-tree", *_RAW, start, new)),
                by_worker=push.kind == "worker",
            )
            if refusal is None:
                return None
            last = refusal
    return last


def _judge_blobs(policy: RepositoryPolicy, entries: list[Entry]) -> Refusal | None:
    present = [entry for entry in entries if entry.mode not in (ABSENT, GITLINK)]
    listing = _git("cat-file", "--batch-check=%(objectsize)", stdin="".join(f"{e.blob}\n" for e in present).encode())
    for entry, size in zip(present, listing.split(), strict=True):
        if int(size) > policy.max_file_bytes:
            return Refusal("file-size", f"{entry.path!a} has {int(size)} bytes, the limit is {policy.max_file_bytes}")
        link = _git("cat-file", "blob", entry.blob) if entry.mode == SYMLINK else None
        refusal = judge_new(entry, link)
        if refusal is not None:
            return refusal
    return None


def _entries(raw: bytes) -> list[Entry]:
    """Read `diff-tree -z --raw` with any number of parents: colons, modes, ids, status, NUL, path, NUL."""
    fields = raw.split(b"\0")
    found = []
    for position in range(0, len(fields) - 1, 2):
        meta = fields[position].decode()
        parents = len(meta) - len(meta.lstrip(":"))
        words = meta.lstrip(":").split()
        path = fields[position + 1].decode("utf-8", "surrogateescape")
        found.append(Entry(path, words[parents], words[2 * parents + 1]))
    return found


def _git(*argv: str, stdin: bytes = b"") -> bytes:
    """Run git in the quarantine, whose place git put into the inherited environment."""
    return subprocess.run(["git", *argv], input=stdin, stdout=subprocess.PIPE, check=True).stdout


def _output(*argv: str) -> bytes:
    return subprocess.run(["git", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False).stdout


def _ends(*argv: str) -> int:
    return subprocess.run(["git", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv))
