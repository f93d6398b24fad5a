"""What every content store must do; the directory by real files, links, kills and threads."""

import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.adapters.artifacts.directory import DirectoryArtifacts
from ringfence.domain.errors import EvidenceBroken
from ringfence.ports.artifacts import Artifacts


def unchanged(content: bytes) -> bytes:
    return content


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def store(root: Path) -> Artifacts:
    return DirectoryArtifacts(root, redact=lambda content: content.replace(b"hunter2!", b"[redacted:known]"))


def only_file(root: Path) -> Path:
    (found,) = [path for path in root.rglob("*") if not path.is_dir()]
    return found


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=2000))
def test_what_was_put_comes_back_by_its_digest(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    store: Artifacts = DirectoryArtifacts(tmp_path_factory.getbasetemp() / "given", redact=unchanged)
    digest = store.put(content)
    assert digest == "sha256:" + hashlib.sha256(content).hexdigest()
    assert store.get(digest) == content


def test_secrets_are_gone_before_anything_is_written(store: Artifacts, root: Path) -> None:
    digest = store.put(b"the password is hunter2!")
    assert store.get(digest) == b"the password is [redacted:known]"
    assert digest == "sha256:" + hashlib.sha256(b"the password is [redacted:known]").hexdigest()
    assert b"hunter2!" not in only_file(root).read_bytes()


def test_same_content_is_kept_once(store: Artifacts, root: Path) -> None:
    assert store.put(b"x") == store.put(b"x")
    assert only_file(root).read_bytes() == b"x"


def test_missing_blob_is_broken_evidence(store: Artifacts) -> None:
    with pytest.raises(EvidenceBroken, match="does not have"):
        store.get("sha256:" + "0" * 64)


def test_changed_blob_is_broken_evidence_and_putting_it_again_mends_it(store: Artifacts, root: Path) -> None:
    digest = store.put(b"what was said")
    only_file(root).write_bytes(b"what was not said")
    with pytest.raises(EvidenceBroken, match="was changed"):
        store.get(digest)
    assert store.put(b"what was said") == digest
    assert store.get(digest) == b"what was said"


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 64, "0" * 64,
               "sha256:" + "0" * 63 + "\n", "sha256:" + "0" * 65]
)  # fmt: skip
def test_what_is_no_digest_opens_no_file(store: Artifacts, digest: str) -> None:
    with pytest.raises(EvidenceBroken, match="is no digest"):
        store.get(digest)


def test_files_are_for_the_owner_alone(store: Artifacts, root: Path) -> None:
    store.put(b"x")
    path = only_file(root)
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (root, path.parent, path)]
    assert modes == [0o700, 0o700, 0o600]


def test_planted_links_are_not_followed(store: Artifacts, root: Path, tmp_path: Path) -> None:
    digest = store.put(b"x")
    path = only_file(root)
    (tmp_path / "target").write_bytes(b"x")
    path.unlink()
    path.symlink_to(tmp_path / "target")
    with pytest.raises(EvidenceBroken, match="does not have"):
        store.get(digest)
    assert store.put(b"x") == digest
    assert not path.is_symlink()
    path.unlink()
    path.parent.rmdir()
    (tmp_path / "elsewhere").mkdir()
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EvidenceBroken, match="cannot be stored"):
        store.put(b"x")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_planted_fifo_does_not_hang(store: Artifacts, root: Path) -> None:
    digest = store.put(b"x")
    path = only_file(root)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(EvidenceBroken, match="does not have"):
        store.get(digest)


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EvidenceBroken) as caught:
        DirectoryArtifacts(tmp_path / "file" / "store", redact=unchanged)
    assert "where:" in str(caught.value)


def test_threads_may_put_the_same_blob_at_once(store: Artifacts, root: Path) -> None:
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.extend(store.put(b"x" * n) for n in range(40))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 160
    assert len(set(seen)) == 40
    assert all(not path.name.startswith(".") for path in root.rglob("*"))


WRITER = """
import os, pathlib, sys
from ringfence.adapters.artifacts.directory import DirectoryArtifacts
store = DirectoryArtifacts(pathlib.Path(sys.argv[1]), redact=bytes)
while True:
    print(store.put(os.urandom(200_000)), flush=True)
"""


def test_killed_writer_leaves_only_whole_blobs_under_their_names(root: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline().strip()]
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    said += [line for line in process.stdout.read().split("\n")[:-1] if line]
    process.wait()
    process.stdout.close()
    store: Artifacts = DirectoryArtifacts(root, redact=unchanged)
    for digest in said:
        assert len(store.get(digest)) == 200_000
    for path in root.rglob("*"):
        if not path.is_dir() and not path.name.startswith("."):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
