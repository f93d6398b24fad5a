"""Claims of the section `branches`: which refs are written, and which changes become a commit at all.

Patches are real: made in a sandbox, taken in through upload-pack from another one, and judged as objects.
"""

from collections.abc import Iterator
from functools import partial

from ringfence.adapters.git import GitTransport
from ringfence.domain.decision import Allow, Deny
from ringfence.domain.patch import FileChange
from ringfence.domain.rules import judge_patch, may_write_ref
from ringfence.ports.objects import Authorship
from ringfence.prove import inside
from ringfence.prove.claim import Claim, Result, all_allowed, all_denied, broken, holds, judged, untestable
from ringfence.prove.ground import RUN, Ground, How, objects

_LARGEST_FILE = 256 << 20


def claims(ground: Ground) -> Iterator[Claim]:
    """The claims, in the order in which people ask."""
    branches, patch = ground.boundary.branches, ground.boundary.limits.patch
    prefix = branches.prefix
    yield Claim("branches", f"nothing outside refs/heads/{prefix}… is written", lambda: _refs(ground))
    shown = ", ".join(branches.protected) or "no branch is listed; the bases are"
    yield Claim("branches", f"protected: {shown}", lambda: _protected_refs(ground))
    shown = ", ".join(branches.protected_paths) or "no path is listed"
    yield Claim("branches", f"no patch touches {shown}", partial(_paths, ground))
    yield Claim("branches", "a link that leads out of the tree is refused", lambda: _link(ground))
    yield Claim("branches", "a patch that holds a secret is refused", lambda: _secret(ground))
    yield Claim("branches", f"a changed file has at most {patch.file} bytes", lambda: _large(ground))
    yield Claim("branches", f"a patch changes at most {patch.files} paths", lambda: _many(ground))
    yield Claim(
        "branches",
        "the code host enforces the same on its side",
        lambda: untestable("it is the code host's own configuration, and prove aims at nothing outside of this host"),
    )
    yield Claim("branches", f"branches of tickets below {prefix} are written", lambda: _mine(ground), benign=True)
    yield Claim("branches", "an ordinary change becomes a commit", lambda: _plain(ground), benign=True)


def _writable(ground: Ground) -> list[str]:
    return [one.name for one in ground.boundary.repositories if one.access == "write" and one.stage != "observe"]


def _refs(ground: Ground) -> Result:
    prefix = ground.boundary.branches.prefix
    names = (
        "refs/heads/feature",
        f"refs/tags/{prefix}X-1-y",
        f"refs/heads/{prefix}",
        f"refs/heads/{prefix}../main",
        f"refs/heads/x/{prefix}y",
        "HEAD",
        f"{prefix}X-1-y",
        f"refs/heads/{prefix}X-1-y:refs/heads/main",
        f"refs/heads/{prefix}X .lock",
        "refs/remotes/origin/main",
        f"refs/heads/{prefix.swapcase()}X-1-y",
    )
    asked = {ref: may_write_ref(ground.boundary, name, ref) for name in _writable(ground)[:1] for ref in names}
    asked |= {"an unlisted repository": may_write_ref(ground.boundary, "stranger/x", f"refs/heads/{prefix}X-1-y")}
    return all_denied(asked)


def _protected_refs(ground: Ground) -> Result:
    patterns = [*ground.boundary.branches.protected, *(one.base for one in ground.boundary.repositories)]
    names = sorted({pattern.replace("**", "x/y").replace("*", "x") for pattern in patterns})
    repository = (_writable(ground) or ["stranger/x"])[0]
    return all_denied({name: may_write_ref(ground.boundary, repository, f"refs/heads/{name}") for name in names})


def _mine(ground: Ground) -> Result:
    ref = f"refs/heads/{ground.boundary.branches.prefix}X-1-change"
    names = _writable(ground)
    if not names:
        return untestable("no repository may be written under this boundary")
    return all_allowed({f"{name} {ref}": may_write_ref(ground.boundary, name, ref) for name in names})


def _taken(ground: Ground, given: inside.Given) -> tuple[tuple[FileChange, ...], str, str]:
    """Make a change in a room and take it in: what changed, the tree, and how the attempt ended."""
    git, intake = objects()
    rooms = ground.rooms()
    room = rooms.make("patch", ground.source)
    place = ground.places.intake(RUN)
    GitTransport(ground.places.state / "mirrors").make_intake(place, ground.mirror, ground.base)
    try:
        answer = ground.attack(inside.change, given, room=room, how=How(role="checks:patch"))
        if answer.came != "changed":
            return (), "", answer.end
        rooms.collect(room, intake, place, parent=ground.base, ref="refs/quarantine/1")
    finally:
        rooms.remove(room)
    tree = git.tree_of(place, "refs/quarantine/1")
    return git.changes(place, ground.base, tree), tree, answer.end


def _refused(ground: Ground, given: inside.Given, rule: str) -> Result:
    changes, _, end = _taken(ground, given)
    decision = judge_patch(ground.boundary, changes) if changes else None
    if isinstance(decision, Deny):
        said = f"a tree made in a sandbox was refused by {decision.rule}: {decision.detail}"
        return judged(decision.rule == rule, said)
    return broken(f"not refused: {decision or end}")


def _sample(pattern: str) -> str:
    """A path that the pattern speaks of; empty when none was derived."""
    name = pattern.removeprefix("/").replace("**", "prove").replace("*", "prove").replace("?", "x").strip("/")
    return "" if any(mark in name for mark in "[]{}!\\") else name


def _paths(ground: Ground) -> Result:
    """All of them in one tree that is made in a sandbox; each change is then judged by itself."""
    patterns = ground.boundary.branches.protected_paths
    samples = {pattern: _sample(pattern) for pattern in patterns}
    if not any(samples.values()):
        return untestable("no path is listed, or none was derived from the patterns")
    files = {f"/workspace/{name}": "changed"[::-1] for name in samples.values() if name}
    changes, _, end = _taken(ground, {"files": files})
    decisions = {change.path: judge_patch(ground.boundary, (change,)) for change in changes}
    through = [path for path, decision in decisions.items() if not isinstance(decision, Deny)]
    missing = [name for name in samples.values() if name and name not in decisions]
    whole = judge_patch(ground.boundary, changes) if changes else None
    if through or missing or not isinstance(whole, Deny):
        return broken(f"let through: {through}; not seen: {missing}; the whole: {whole or end}")
    skipped = [pattern for pattern, name in samples.items() if not name]
    said = f"a tree made in a sandbox: {', '.join(decisions)} each refused"
    return holds(said + (f"; no path derived from {', '.join(skipped)}" if skipped else ""))


def _link(ground: Ground) -> Result:
    return _refused(ground, {"links": {"/workspace/out": "../../../etc/passwd"}}, "patch.link")


def _large(ground: Ground) -> Result:
    size = ground.boundary.limits.patch.file + 1
    room = min(ground.boundary.limits.sandbox.file, ground.boundary.limits.sandbox.disk, _LARGEST_FILE)
    if size >= room:
        return untestable(f"a file of {size} bytes does not fit into a sandbox here")
    return _refused(ground, {"sized": {"/workspace/large": size}}, "limits.patch.file")


def _many(ground: Ground) -> Result:
    count = ground.boundary.limits.patch.files + 1
    if count > 5000:
        return untestable(f"{count} files are more than is reasonable to make here")
    return _refused(ground, {"sized": {f"/workspace/n{n}": 1 for n in range(count)}}, "limits.patch.files")


def _secret(ground: Ground) -> Result:
    changes, _, end = _taken(ground, {"files": {"/workspace/notes.txt": f"key = {ground.canary}\n"[::-1]}})
    found = _found(ground, changes)
    return judged(bool(found), f"the gate found {', '.join(found)}" if found else f"a known secret passed: {end}")


def _found(ground: Ground, changes: tuple[FileChange, ...]) -> list[str]:
    git, _ = objects()
    present = [change.blob for change in changes if change.new_mode == "100644"]
    contents = git.blobs(ground.places.intake(RUN), present)
    return [finding.name for content in contents for finding in ground.redactor.find(content)]


def _plain(ground: Ground) -> Result:
    git, _ = objects()
    changes, tree, end = _taken(ground, {"files": {"/workspace/value.txt": "2\n"[::-1]}})
    decision = judge_patch(ground.boundary, changes) if changes else None
    found = _found(ground, changes)
    if not isinstance(decision, Allow) or found:
        return broken(f"refused: {decision or end}, secrets: {found}")
    place = ground.places.intake(RUN)
    commit = git.commit_tree(place, tree, ground.base, "Change", Authorship("prove", "prove@localhost", 1000000001))
    content = git.read(place, commit, "value.txt", 10)
    return holds(f"commit {commit[:12]}") if content == b"2\n" else broken(f"the commit holds {content!r}")
