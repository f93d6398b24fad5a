"""A run as its log tells it, with real digests and a real commit object, for the tests of evidence and summary."""

import hashlib
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringfence.domain import events as e
from ringfence.domain.attestation import envelope, key_id, pae
from ringfence.domain.chain import GENESIS, Record, link
from ringfence.domain.commit import BOUNDARY, RUN, TICKET
from ringfence.domain.evidence import Sources, bundle_of, seal

ID = "INV-7-r1"
BOUNDARY_TEXT = b"version: 1\nname: test\nlogs:\n  exchanges: full\n"
BASE, TREE, OLD_TREE = "1" * 40, "2" * 40, "3" * 40


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


STORE = {digest(blob): blob for blob in (b"brief", b"diff 1", b"diff 2", b"out", b"ask", b"answer")}


def commit_object(tree: str = TREE, parent: str = BASE, run: str = ID) -> bytes:
    message = f"Fix the total\n\n{TICKET}: INV-7\n{RUN}: {run}\n{BOUNDARY}: {digest(BOUNDARY_TEXT)}\n"
    who = "Ringfence <ringfence@localhost> 1790000000 +0000"
    return f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\n{message}".encode()


def object_id(raw: bytes) -> str:
    return hashlib.sha1(b"commit %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()


RAW = commit_object()
COMMIT = object_id(RAW)


class Key:
    """An Ed25519 key of one test."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.id = key_id(self.public)

    def sign(self, payload: bytes, payload_type: str) -> bytes:
        return envelope(payload, payload_type, self.id, self._key.sign(pae(payload, payload_type)))


def check(side: str, attempt: int, tree: str, name: str, passed: bool, *, required: bool = True) -> e.CheckEnded:
    code = 0 if passed else 1
    return e.CheckEnded(
        side, attempt, tree, name, "test", ("make", name), passed, code, None, 1.5, digest(b"out"), required
    )


def called(*, replayed: bool = True, decision: str = "allow") -> e.ModelCalled:
    return e.ModelCalled(
        "agent/1", "local", "replay", "scripted", decision, "models.routes", "", 200, 900, 120, True, 1.0, 2.0,
        digest(b"ask"), digest(b"answer"), replayed,
    )  # fmt: skip


def work(run: str = ID) -> list[e.Event]:
    """Until the evidence: a failing attempt, a repair, a passing one."""
    return [
        e.TicketAdmitted(
            "INV-7", "sha256:" + "a" * 64, "demo/inventory", "pull_request", "tickets", digest(BOUNDARY_TEXT), "kim"
        ),
        e.RunStarted("host/1", "0.1.0", "bubblewrap", False),
        e.CheckoutReady("demo/inventory", BASE, BASE, "ringfence/INV-7-fix", ()),
        e.BriefAssembled(1, digest(b"brief"), 900, ("ticket:INV-7:untrusted",), ()),
        e.SandboxStarted("checks:base", "bubblewrap", ("seccomp", "no network"), ()),
        check("base", 0, OLD_TREE, "lint", True),
        check("base", 0, OLD_TREE, "test", False),
        e.SandboxStarted("agent", "bubblewrap", ("seccomp", "no network"), ("model",)),
        called(),
        e.AgentEnded(1, "builtin", "0.1.0", "finished", 3, 2, 900, 80, "done", digest(b"out")),
        e.PatchProduced(1, "4" * 40, "5" * 40, 1, 2, 1, digest(b"diff 1")),
        check("patch", 1, "5" * 40, "lint", True),
        check("patch", 1, "5" * 40, "test", False),
        e.RepairRequested(1, ("test",)),
        called(),
        e.PatchProduced(2, COMMIT, TREE, 2, 5, 1, digest(b"diff 2")),
        check("patch", 2, TREE, "lint", True),
        check("patch", 2, TREE, "test", True),
    ]


def publication() -> list[e.Event]:
    return [
        e.GrantMinted("g1", "publish", "demo/inventory", "host-write"),
        e.BranchPushed("demo/inventory", "ringfence/INV-7-fix", COMMIT, True),
        e.PullRequestOpened("demo/inventory", 1, "http://127.0.0.1/1", COMMIT, True, True),
        e.GrantRevoked("g1", "forgotten"),
        e.CheckoutRemoved(1000),
        e.RunEnded("pull_request", 12.0),
    ]


def chain_of(history: Sequence[e.Event], run: str = ID) -> list[Record]:
    records: list[Record] = []
    for number, event in enumerate(history):
        previous = records[-1].hash if records else GENESIS
        records.append(link(run, number, 1_790_000_000.25 + number, e.to_json(event), previous))
    return records


def extended(records: Sequence[Record], more: Sequence[e.Event]) -> list[Record]:
    return chain_of([*(e.from_json(record.event) for record in records), *more], records[0].run)


def whole_run(
    key: Key, before: Sequence[e.Event] | None = None, after: Sequence[e.Event] | None = None
) -> list[Record]:
    """A sealed and published run; its parts can be replaced."""
    records = chain_of(work() if before is None else before)
    _, sealed = seal(records, key.sign, key.id)
    return extended(records, [sealed, *(publication() if after is None else after)])


def bundle(
    key: Key, records: Sequence[Record], commit: bytes | None = RAW, fetch: Callable[[str], bytes | None] = STORE.get
) -> bytes:
    return bundle_of(records, Sources(key.sign, key.public, BOUNDARY_TEXT, commit, fetch))
