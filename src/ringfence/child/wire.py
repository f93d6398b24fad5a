"""The control channel between the worker and a process of its own: frames of one JSON object and blobs.

Pure: bytes to frames and back. Both ends are ours, but the other end reads hostile bytes all day, so
the worker's end trusts no length and no field of it.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: No frame is longer; the largest holds one request and one answer at their caps.
MAX_FRAME = 64 << 20
_HEAD = struct.Struct(">II")


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    header: dict[str, Any]
    blobs: tuple[bytes, ...] = ()

    @property
    def kind(self) -> str:
        """What the message is."""
        return str(self.header.get("kind", ""))


def encode(header: dict[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """A frame as bytes."""
    text = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode()
    body = b"".join(blobs)
    if len(text) + len(body) > MAX_FRAME:
        raise ValueError("a frame that is too long")
    return _HEAD.pack(len(text), len(body)) + text + body


class Frames:
    """Takes bytes as they come and gives back whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, received: bytes) -> list[Frame]:
        """The frames that are complete now. Raises ValueError on anything that is no frame."""
        self._buffer += received
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        if len(self._buffer) < _HEAD.size:
            return None
        text, body = _HEAD.unpack_from(self._buffer)
        if text + body > MAX_FRAME:
            raise ValueError("a frame that is too long")
        end = _HEAD.size + text + body
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as whole:
            frame = _decode(bytes(whole[_HEAD.size : _HEAD.size + text]), whole[end - body : end])
        del self._buffer[:end]
        return frame


def _decode(text: bytes, body: memoryview) -> Frame:
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError("a frame without an object")
    lengths = header.pop("blobs", None)
    if not isinstance(lengths, list) or not all(isinstance(n, int) and n >= 0 for n in lengths):
        raise ValueError("a frame without blob lengths")
    if sum(lengths) != len(body):
        raise ValueError("a frame whose blobs do not add up")
    blobs, at = [], 0
    for length in lengths:
        blobs.append(bytes(body[at : at + length]))
        at += length
    return Frame(header, tuple(blobs))
