"""Limits that limit: each within a range in which a run can work and a host can live."""

from collections.abc import Iterator

from ringfence.domain.boundary import Boundary
from ringfence.domain.parse.crosschecks.check import CrossCheck
from ringfence.domain.parse.problem import Finding

_MIB, _GIB = 1 << 20, 1 << 30
#: Section, key, least, most, and both as a person writes them.
_RANGES = (
    ("run", "time", 60, 86400, "1m to 1d"),
    ("run", "requests", 1, 100_000, "1 to 100000"),
    ("run", "input_tokens", 1, 10**9, "1 to 1000000000"),
    ("run", "output_tokens", 1, 10**9, "1 to 1000000000"),
    ("sandbox", "memory", 32 * _MIB, 4096 * _GIB, "32MiB to 4096GiB"),
    ("sandbox", "processes", 8, 65536, "8 to 65536"),
    ("sandbox", "cpus", 0.1, 1024, "0.1 to 1024"),
    ("sandbox", "cpu_time", 1, 7 * 86400, "1s to 7d"),
    ("sandbox", "file", _MIB, 4096 * _GIB, "1MiB to 4096GiB"),
    ("sandbox", "disk", _MIB, 4096 * _GIB, "1MiB to 4096GiB"),
    ("sandbox", "temporary", _MIB, 64 * _GIB, "1MiB to 64GiB"),
    ("sandbox", "output", 1 << 10, _GIB, "1KiB to 1GiB"),
    ("layer", "size", _MIB, 4096 * _GIB, "1MiB to 4096GiB"),
    ("layer", "age", 60, 365 * 86400, "1m to 365d"),
    ("layer", "total", _MIB, 4096 * _GIB, "1MiB to 4096GiB"),
    ("patch", "files", 1, 10_000, "1 to 10000"),
    ("patch", "file", 1, _GIB, "1B to 1GiB"),
    ("patch", "total", 1, 4 * _GIB, "1B to 4GiB"),
)


def _ranges(boundary: Boundary) -> Iterator[Finding]:
    for section, key, least, most, words in _RANGES:
        if not least <= getattr(getattr(boundary.limits, section), key) <= most:
            yield Finding(("limits", section, key), f"`{key}` limits nothing, or everything", f"write {words}")
    if boundary.limits.brief_tokens > 1_000_000:
        yield Finding(("limits", "brief_tokens"), "no model reads a brief this long", "write for example 20000")


def _together(boundary: Boundary) -> Iterator[Finding]:
    limits = boundary.limits
    if limits.sandbox.file > limits.sandbox.disk:
        yield Finding(("limits", "sandbox", "file"), "one file may be larger than the disk", "write at most `disk`")
    if limits.layer.size > limits.layer.total:
        what = "one layer may be larger than all together"
        yield Finding(("limits", "layer", "size"), what, "write at most `total`")
    if limits.patch.file > limits.patch.total:
        yield Finding(("limits", "patch", "file"), "one file may be larger than a patch", "write at most `total`")
    if limits.brief_tokens > limits.run.input_tokens:
        what = "the brief alone may be longer than what a run may send"
        yield Finding(("limits", "brief_tokens"), what, "write less than `limits.run.input_tokens`")


def _within_run(boundary: Boundary) -> Iterator[Finding]:
    for name, commands in boundary.commands.repositories.items():
        for place, check in enumerate(commands.checks):
            if check.timeout > boundary.limits.run.time:
                steps = ("commands", "repositories", name, "checks", place, "timeout")
                what = f"check `{check.name}` may take longer than the whole run"
                yield Finding(steps, what, "write less than `limits.run.time`")


CHECKS = (
    CrossCheck(("limits",), _ranges),
    CrossCheck(("limits",), _together),
    CrossCheck(("limits", "commands"), _within_run),
)
