"""Bundles that were made to harm whoever verifies them, and bytes that are none."""

import io
import json
import tarfile
from dataclasses import asdict

import pytest
from bundles import CALM, KEY, WHOLE, broken, changed
from hypothesis import given
from hypothesis import strategies as st

from ringfence.domain.bundle import Bundle, write_bundle
from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.evidence import Finding, verify


def tar_of(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=form) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return held.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(tar_of((named("../log.jsonl"), b"x")), id="path out of the folder"),
        pytest.param(tar_of((named("/etc/passwd"), b"x")), id="absolute path"),
        pytest.param(tar_of((named("./log.jsonl"), b"x")), id="another spelling"),
        pytest.param(tar_of((named("artifacts/../log.jsonl"), b"x")), id="path through a folder"),
        pytest.param(tar_of((named("artifacts/" + "A" * 64), b"x")), id="upper-case digest"),
        pytest.param(tar_of((named("log.jsonl", tarfile.SYMTYPE, "/etc/passwd"), b"")), id="symbolic link"),
        pytest.param(tar_of((named("log.jsonl", tarfile.LNKTYPE, "commit"), b"")), id="hard link"),
        pytest.param(tar_of((named("log.jsonl", tarfile.FIFOTYPE), b"")), id="fifo"),
        pytest.param(tar_of((named("log.jsonl", tarfile.CHRTYPE), b"")), id="device"),
        pytest.param(tar_of((named("log.jsonl", tarfile.DIRTYPE), b"")), id="directory"),
        pytest.param(tar_of((named("x" * 200), b"x"), form=tarfile.GNU_FORMAT), id="long name extension"),
        pytest.param(tar_of((named("log.jsonl" + "é" * 60), b""), form=tarfile.PAX_FORMAT), id="pax extension"),
        pytest.param(write_bundle(Bundle(b"", None, None, None)).replace(b"00000000000", b"77777777777", 1), id="size"),
        pytest.param(WHOLE + b"\0" * 512, id="longer end"),
        pytest.param(WHOLE + b"more", id="something behind the end"),
        pytest.param(WHOLE[: len(WHOLE) - 1024] + WHOLE, id="every file twice"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x1f\x8b" + b"\0" * 2000, id="compressed"),
        pytest.param(b"\xff" * 5000, id="noise"),
    ],
)  # fmt: skip
def test_hostile_bundle_is_refused_unread(content: bytes) -> None:
    (finding,) = verify(content, KEY.public)
    assert (finding.check, finding.ok) == ("bundle", False)


@CALM
@given(st.binary(max_size=3000))
def test_any_bytes_are_judged_without_an_error(content: bytes) -> None:
    assert broken(content) != []
    assert broken(WHOLE[:512] + content) != []


@CALM
@given(log=st.binary(max_size=400), other=st.binary(max_size=400))
def test_any_contents_in_a_well_formed_bundle_are_judged_without_an_error(log: bytes, other: bytes) -> None:
    assert broken(changed(log=log)) != []
    assert broken(changed(closing=other)) != []
    assert broken(changed(statement=other)) == ["statement"]
    assert broken(changed(commit=other)) == ["commit"]
    assert broken(changed(boundary=other)) == ["boundary"]
    assert broken(changed(public_key=other))[0] == "key"


def test_key_that_is_no_key_is_an_error_of_the_caller() -> None:
    with pytest.raises(EvidenceBroken, match="public key"):
        verify(WHOLE, b"no key")


def test_findings_are_plain_values_for_scripts() -> None:
    assert verify(b"", KEY.public) == (Finding("bundle", False, "the bundle is cut off"),)
    assert json.loads(json.dumps([asdict(finding) for finding in verify(WHOLE, KEY.public)]))[0]["ok"] is True
