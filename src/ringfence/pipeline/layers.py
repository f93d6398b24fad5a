"""Layers on the worker's disk: what set-up left, sealed, and looked at again before each use.

A shelf holds the layers of one repository, or of one run. No sandbox can write a layer: none has it but read-only,
beneath a tree of its own, or as a copy. What the listing says of each file, its inode and the time of its last change
among it, is compared at each use; whoever changes a file cannot set that time back.
"""

import hashlib
import json
import os
import secrets
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringfence.domain.errors import RunStopped
from ringfence.pipeline.trees import Seen, copy_one, make_durable, open_unlocked, remove_tree, walk

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LISTING_LIMIT = 512 << 20
_NEW, _GONE = ".new-", ".gone-"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, verified."""

    key: str
    content: str  # digest of what it holds: paths, modes, contents, targets of links
    tree: Path
    files: int
    size: int
    made: float  # seconds since the epoch
    #: `<sha256> <path>` of each file and link, each with a NUL at its end.
    contents: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unfit:
    """There is no layer to use, and why."""

    why: str


class Shelf:
    """The layers at one place. Made in a corner of it and moved when they are whole, so that half a one is none."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def find(self, key: str, *, newer_than: float) -> Layer | Unfit:
        """The layer of that key, if it is as it was sealed and was made since. One that is not is put aside."""
        path = self._place / _name(key)
        if not os.path.lexists(path):
            return Unfit("there was none")
        try:
            found = _verified(path, key)
        except (OSError, ValueError, KeyError, TypeError) as error:
            found = Unfit(f"the kept one cannot be read: {error}")
        if isinstance(found, Layer) and found.made < newer_than:
            found = Unfit("the kept one is older than the boundary allows")
        if isinstance(found, Unfit):
            with suppress(FileNotFoundError):
                path.rename(self._place / f"{_GONE}{secrets.token_hex(8)}")
        return found

    def keep(self, key: str, tree: Path, tracked: Collection[str], *, most: int, made: float) -> tuple[Layer, int]:
        """Take what is in a tree and not tracked as the layer of that key; it, and how many names were left out.

        Another run may have made the same meanwhile: the first one stays. Errors: `RunStopped` when it is too large.
        """
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._place / f"{_NEW}{secrets.token_hex(8)}"
        (fresh / "tree").mkdir(mode=0o755, parents=True)
        fresh.chmod(0o700)
        _move_untracked(tree, fresh / "tree", frozenset(tracked))
        digests, left_out = _seal(fresh / "tree")
        found = _look(fresh / "tree")
        if found.size > most:
            remove_tree(fresh)
            raise RunStopped(
                "layer_too_large",
                f"set-up left {found.size} bytes",
                where=f"limits.layer.size: {most}",
                mend="have the limit raised, or let set-up leave less",
            )
        contents = b"".join(f"{digest} ".encode() + os.fsencode(path) + b"\0" for path, digest in digests.items())
        about = {
            "key": key, "content": _digest(found.modes, contents), "files": len(digests), "size": found.size,
            "made": made, "marks": _digest(found.marks), "contents": _digest(contents),
        }  # fmt: skip
        (fresh / "marks").write_bytes(found.marks)
        (fresh / "contents").write_bytes(contents)
        (fresh / "layer.json").write_text(json.dumps(about))
        make_durable(fresh)
        with suppress(OSError):  # there is one by now
            fresh.rename(self._place / _name(key))
        if fresh.exists():
            remove_tree(fresh)
        make_durable(self._place)
        layer = self.find(key, newer_than=0.0)
        if isinstance(layer, Unfit):
            raise RunStopped("layer_changed", "a layer is not what it was sealed as", where=layer.why)
        return layer, left_out

    def sweep(self, *, newer_than: float) -> tuple[str, ...]:
        """Remove what is half made, put aside or too old, while nobody uses any; the names of the layers."""
        removed = []
        for path in sorted(self._place.iterdir()) if self._place.is_dir() else ():
            if path.name.startswith((_NEW, _GONE)):
                remove_tree(path)
            elif _made(path) < newer_than:
                remove_tree(path)
                removed.append(path.name)
        return tuple(removed)

    def layers(self) -> Iterator[tuple[float, int, Path]]:
        """Each layer: when it was made, its bytes, and where it is."""
        for path in self._place.iterdir() if self._place.is_dir() else ():
            if not path.name.startswith("."):
                yield _made(path), _about(path).get("size", 0), path


@dataclass(frozen=True, slots=True)
class _Look:
    """A tree as the filesystem describes it, without reading a file."""

    #: For each name: mode, size, owner, inode, links, times of the last change of content and of anything.
    marks: bytes
    modes: bytes  # what of that does not depend on when and where it was made
    size: int


def _name(key: str) -> str:
    return key.removeprefix("sha256:")


def _about(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_read(path / "layer.json"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _made(path: Path) -> float:
    """When a layer was made; the beginning of time for what says nothing."""
    made = _about(path).get("made")
    return float(made) if isinstance(made, int | float) else 0.0


def _verified(path: Path, key: str) -> Layer | Unfit:
    place = os.lstat(path)
    if not stat.S_ISDIR(place.st_mode) or place.st_uid != os.geteuid() or place.st_mode & 0o077:
        return Unfit("the kept one is not the worker's own directory")
    about, marks, contents = (_read(path / name) for name in ("layer.json", "marks", "contents"))
    said = json.loads(about)
    if (said["key"], said["marks"], said["contents"]) != (key, _digest(marks), _digest(contents)):
        return Unfit("the listing of the kept one was changed")
    found = _look(path / "tree")
    if found.marks != marks:
        odd = sorted({*found.marks.split(b"\0")} ^ {*marks.split(b"\0")}, key=lambda row: row.rpartition(b" ")[2])
        return Unfit(f"the kept one was changed at {odd[0].split(b' ', 8)[-1][:200]!a}")
    content = _digest(found.modes, contents)
    return Layer(key, content, path / "tree", int(said["files"]), found.size, float(said["made"]), contents)


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return f"sha256:{whole.hexdigest()}"


def _look(tree: Path) -> _Look:
    marks, modes, size = [], [], 0
    for seen in walk(tree):
        state, path = seen.state, os.fsencode(seen.path)
        amount = 0 if stat.S_ISDIR(state.st_mode) else state.st_size
        marks.append(
            b"%d %d %d %d %d %d %d %d %b"
            % (
                state.st_mode, amount, state.st_uid, state.st_gid, state.st_ino, state.st_nlink, state.st_mtime_ns,
                state.st_ctime_ns, path,
            )
        )  # fmt: skip
        modes.append(b"%o %b" % (state.st_mode, path))
        size += amount
    return _Look(b"\0".join(marks), b"\0".join(modes), size)


def _move_untracked(tree: Path, target: Path, tracked: frozenset[str]) -> None:
    """Move what a commit does not have, and git's own directory is not, out of a tree; directories whole."""
    above = {path[:place] for path in tracked for place, sign in enumerate(path) if sign == "/"}
    moved = []
    for seen in walk(tree, into=lambda path: path in above):
        shared = seen.path in above and stat.S_ISDIR(seen.state.st_mode)
        if seen.path != ".git" and seen.path not in tracked and not shared and seen.path not in above:
            moved.append(seen.path)
            if stat.S_ISDIR(seen.state.st_mode):
                # Moving a directory writes in it (its `..`), so its owner must be allowed to.
                os.close(open_unlocked(seen.name, seen.directory))
    for path in moved:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).rename(target / path)


def _seal(tree: Path) -> tuple[dict[str, str], int]:
    """Make everything the worker's own, without set-user-id; digests by path, and how many names were left out."""
    digests: dict[str, str] = {}
    left_out, me = 0, (os.geteuid(), os.getegid())
    names = Counter(seen.state.st_ino for seen in walk(tree, unlock=True))
    for seen in walk(tree):
        kind = stat.S_IFMT(seen.state.st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            os.unlink(seen.name, dir_fd=seen.directory)
            left_out += 1
            continue
        os.chown(seen.name, *me, dir_fd=seen.directory, follow_symlinks=False)
        if kind == stat.S_IFLNK:
            target = os.fsencode(os.readlink(seen.name, dir_fd=seen.directory))
            digests[seen.path] = hashlib.sha256(target).hexdigest()
        elif kind == stat.S_IFREG:
            # A further name of it outside of the layer would be another way to it.
            digests[seen.path] = _sealed_file(seen, alone=names[seen.state.st_ino] == seen.state.st_nlink)
    return digests, left_out


def _sealed_file(seen: Seen, *, alone: bool) -> str:
    place = os.open(seen.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=seen.directory)
    try:
        whole = Path(f"/proc/self/fd/{place}")
        whole.chmod(stat.S_IMODE(seen.state.st_mode) & 0o777 | stat.S_IRUSR)
        if not alone:
            own = f".{secrets.token_hex(16)}"
            copy_one(seen, seen.directory, own)
            os.rename(own, seen.name, src_dir_fd=seen.directory, dst_dir_fd=seen.directory)
        with whole.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    finally:
        os.close(place)


def _read(path: Path) -> bytes:
    with os.fdopen(os.open(path, _FILE), "rb") as handle:
        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            raise ValueError(f"{path.name} is no file")
        return handle.read(_LISTING_LIMIT)
