"""The control channel's frames, and what the worker's end refuses of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.child.wire import Frame, Frames, encode
from ringfence.gateway.call import Call, from_frame, to_frame

CALL = Call(
    id="agent/1#1", phase="ended", run="run-1", door="agent/1", route="main", provider="openai", model="m",
    decision="allow", rule="models.routes", reason="", status=200, input_tokens=1, output_tokens=2,
    tokens_estimated=False, first_byte_ms=0.5, seconds=1.5, replayed=False, request=b"{}", response=b"\x00",
)  # fmt: skip


@given(st.lists(st.lists(st.binary(max_size=50), max_size=3), max_size=4), st.integers(1, 40))
def test_frames_survive_any_split(blobs: list[list[bytes]], size: int) -> None:
    sent = b"".join(encode({"kind": "x", "n": n}, some) for n, some in enumerate(blobs))
    frames, got = Frames(), []
    for at in range(0, len(sent), size):
        got += frames.feed(sent[at : at + size])
    assert got == [Frame({"kind": "x", "n": n}, tuple(some)) for n, some in enumerate(blobs)]


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff\xff\xff\xff\x00\x00\x00\x00",
        b"\x00\x00\x00\x00\xff\xff\xff\xff",
        b"\x00\x00\x00\x02\x00\x00\x00\x00[]",
        b"\x00\x00\x00\x02\x00\x00\x00\x00{}",
        b"\x00\x00\x00\x02\x00\x00\x00\x00{{",
        b"\x00\x00\x00\x0d\x00\x00\x00\x00" + b'{"blobs":[1]}',
        b"\x00\x00\x00\x0e\x00\x00\x00\x00" + b'{"blobs":[-1]}',
    ],
)
def test_what_is_no_frame_is_an_error(sent: bytes) -> None:
    with pytest.raises(ValueError):
        Frames().feed(sent)


def test_a_call_crosses_unchanged() -> None:
    assert from_frame(*to_frame(CALL)) == CALL


@pytest.mark.parametrize("change", [{"status": "200"}, {"run": 5}, {"replayed": 1}, {"extra": 1}, {"seconds": None}])
def test_a_call_with_a_field_of_another_type_is_refused(change: dict[str, object]) -> None:
    header, request, response = to_frame(CALL)
    with pytest.raises(ValueError, match="wrong fields"):
        from_frame({**header, **change}, request, response)


def test_a_call_in_no_known_phase_is_refused() -> None:
    header, request, response = to_frame(CALL)
    with pytest.raises(ValueError, match="phase"):
        from_frame({**header, "phase": "over"}, request, response)


def test_a_call_with_a_field_too_few_is_refused() -> None:
    header, request, response = to_frame(replace(CALL, status=1))
    del header["rule"]
    with pytest.raises(ValueError, match="wrong fields"):
        from_frame(header, request, response)
