"""The evidence bundle as a file: a plain tar of a fixed set of members, the same bytes for the same contents.

Read by hand and strictly, because bundles come from anywhere: regular files with known names and bounded sizes,
each once, and nothing else that tar can express (links, paths, sparse files, extensions). It judges form only;
evidence.py judges contents.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ringfence.domain.errors import EvidenceBroken

_BLOCK = 512
#: Where the log begins, which is the first member.
LOG_AT = _BLOCK
_END = bytes(2 * _BLOCK)
#: Larger bundles are refused unread; the boundary's limits keep real ones far below.
LARGEST = 1 << 30
_MOST_MEMBERS = 50_000
_HEX = frozenset("0123456789abcdef")
_FOLDER = "artifacts/"
_NAMES = {
    "log.jsonl": "log",
    "closing.dsse.json": "closing",
    "statement.dsse.json": "statement",
    "boundary.yaml": "boundary",
    "commit": "commit",
    "public-key.pem": "public_key",
}


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is handed over of a run. What a run did not come to is None; artifacts are by their `sha256:` digest."""

    log: bytes  # chain.to_lines
    closing: bytes | None  # envelope of attestation.checkpoint
    boundary: bytes | None  # the document, as it was read
    public_key: bytes | None  # for people; verification takes the key it is given
    statement: bytes | None = None  # envelope of attestation.statement
    commit: bytes | None = None  # the raw commit object that was pushed
    artifacts: Mapping[str, bytes] = field(default_factory=dict)


def write_bundle(bundle: Bundle) -> bytes:
    """The file."""
    members = {name: getattr(bundle, attribute) for name, attribute in _NAMES.items()}
    files = {name: content for name, content in members.items() if content is not None}
    for digest in sorted(bundle.artifacts):
        files[_FOLDER + digest.removeprefix("sha256:")] = bundle.artifacts[digest]
    return b"".join([*(_member(name, content) for name, content in files.items()), _END])


def read_bundle(content: bytes) -> Bundle:
    """The contents of a file. Errors: `EvidenceBroken` for anything that `write_bundle` would not write."""
    if len(content) > LARGEST:
        raise EvidenceBroken(f"the bundle is larger than {LARGEST} bytes")
    files: dict[str, bytes] = {}
    for name, member in _members(content):
        if name in files:
            raise EvidenceBroken(f"the bundle holds {name} twice")
        files[name] = member
        if len(files) > _MOST_MEMBERS:
            raise EvidenceBroken("the bundle holds too many files")
    if "log.jsonl" not in files:
        raise EvidenceBroken("the bundle holds no log.jsonl")
    known = {attribute: files.get(name) for name, attribute in _NAMES.items()}
    artifacts = {"sha256:" + name.removeprefix(_FOLDER): member for name, member in files.items() if name not in _NAMES}
    return Bundle(
        log=files["log.jsonl"],
        closing=known["closing"],
        boundary=known["boundary"],
        public_key=known["public_key"],
        statement=known["statement"],
        commit=known["commit"],
        artifacts=artifacts,
    )


def _member(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + bytes(-len(content) % _BLOCK)


def _header(name: str, size: int) -> bytes:
    """A ustar header without owner, time or anything else that differs from host to host."""
    fields = (
        name.encode().ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0", b"%011o\0" % size,
        b"00000000000\0", b" " * 8, b"0", bytes(100), b"ustar\0", b"00", bytes(64), b"0000000\0", b"0000000\0",
    )  # fmt: skip
    header = b"".join(fields).ljust(_BLOCK, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _members(content: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while content[at : at + _BLOCK] != bytes(_BLOCK):
        header = content[at : at + _BLOCK]
        if len(header) < _BLOCK:
            raise EvidenceBroken("the bundle is cut off")
        name, size = _read_header(header)
        body = content[at + _BLOCK : at + _BLOCK + size]
        padded = size + (-size % _BLOCK)
        if len(body) != size or any(content[at + _BLOCK + size : at + _BLOCK + padded]):
            raise EvidenceBroken(f"the bundle is cut off or changed at {name}")
        yield name, body
        at += _BLOCK + padded
    if content[at:] != _END:
        raise EvidenceBroken("the bundle does not end where it should")


def _read_header(header: bytes) -> tuple[str, int]:
    """Name and size; the header must be, byte for byte, the one that would be written for them."""
    name = header[:100].rstrip(b"\0").decode("ascii", "replace")
    digits = header[124:135]
    if not _is_known(name):
        raise EvidenceBroken(f"the bundle holds {name[:80]!r}, which no bundle has")
    if len(digits) != 11 or not set(digits) <= set(b"01234567"):
        raise EvidenceBroken(f"the bundle is damaged at {name}")
    size = int(digits, 8)
    if size > LARGEST or header != _header(name, size):
        raise EvidenceBroken(f"the bundle holds {name} in a form that no bundle has")
    return name, size


def _is_known(name: str) -> bool:
    digest = name.removeprefix(_FOLDER)
    return name in _NAMES or (digest != name and len(digest) == 64 and _HEX.issuperset(digest))
