"""Redaction: megabytes in a second, of code, of logs and of hostile output. `python benchmarks/redaction.py`"""

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from table import Row, rate, show

from ringfence.domain.redaction import Redactor

RUNS = 20
SIZE = 2_000_000


def rows() -> Iterator[Row]:
    """What is measured, one row after the other."""
    known = [os.urandom(20).hex().encode() for _ in range(20)]
    redactor = Redactor(known)
    code, log = _code(), _log(known)
    yield Row("source code, whole", "MB/s", _rates(redactor, code))
    yield Row("source code, as a stream of 4 KiB pieces", "MB/s", _stream_rates(redactor, code, 4096))
    yield Row("log with a secret in every tenth line", "MB/s", _rates(redactor, log))
    yield Row("one line without an end", "MB/s", _rates(redactor, b"a" * SIZE))
    yield Row(
        "a keyword and a value, again and again (the worst)",
        "MB/s",
        _rates(redactor, b"token=abcdef12 " * (SIZE // 15)),
    )
    yield Row(
        "the strict gate on source code",
        "MB/s",
        tuple(rate(len(code) / 1e6, lambda: redactor.find(code)) for _ in range(RUNS)),
    )
    yield Row(
        "one short text, as in an event", "texts/s", tuple(rate(1000, lambda: _texts(redactor)) for _ in range(RUNS))
    )


def _rates(redactor: Redactor, content: bytes) -> tuple[float, ...]:
    return tuple(rate(len(content) / 1e6, lambda: redactor.redact(content)) for _ in range(RUNS))


def _stream_rates(redactor: Redactor, content: bytes, size: int) -> tuple[float, ...]:
    def run() -> None:
        stream = redactor.stream()
        for at in range(0, len(content), size):
            stream.feed(content[at : at + size])
        stream.finish()

    return tuple(rate(len(content) / 1e6, run) for _ in range(RUNS))


def _texts(redactor: Redactor) -> None:
    for _ in range(1000):
        redactor.redact_text("python -m pytest -q tests/test_total.py")


def _code() -> bytes:
    """The standard library of this Python."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return b"".join(path.read_bytes() for path in files)[:SIZE]


def _log(known: list[bytes]) -> bytes:
    lines = []
    for number in range(SIZE // 80):
        secret = known[number % len(known)] if number % 10 == 0 else b"nothing to see here, move along"
        lines.append(b"2026-01-01T00:00:00Z INFO request %d answered with %b\n" % (number, secret))
    return b"".join(lines)


if __name__ == "__main__":
    show(rows())
