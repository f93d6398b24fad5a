"""What every section of the boundary is made of: immutable models, and sizes, durations and lists as they are written.

Sizes are bytes and durations are seconds, written in the document as `512MiB` or `10m`.
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

# At most 12 digits: no number here can overflow a limit that the kernel takes.
_SIZE = re.compile(r"([0-9]{1,12}) ?(B|KiB|MiB|GiB)")
_SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_DURATION = re.compile(r"([0-9]{1,9}) ?(s|m|h|d)")
_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _size(value: Any) -> Any:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a size as a number and a unit, for example 512MiB (B, KiB, MiB, GiB)")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _duration(value: Any) -> Any:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a duration as a number and a unit, for example 10m (s, m, h, d)")
    return int(match[1]) * _DURATION_UNITS[match[2]]


def as_tuple(value: Any) -> Any:
    """A list of the document as the tuple that a model holds."""
    return tuple(value) if isinstance(value, list) else value


def _written(pattern: re.Pattern[str], example: str) -> WithJsonSchema:
    # Editors see what is written in the document, not the number it becomes.
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern.pattern}$", "examples": [example]})


Word = Annotated[str, Field(min_length=1, max_length=500)]
Size = Annotated[int, BeforeValidator(_size), _written(_SIZE, "512MiB")]
Seconds = Annotated[int, BeforeValidator(_duration), _written(_DURATION, "10m")]
Names = Annotated[tuple[Word, ...], BeforeValidator(as_tuple)]
Argv = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=20_000)], ...], BeforeValidator(as_tuple), Field(min_length=1)
]


class Section(BaseModel):
    """A part of the document: immutable, strictly typed, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
