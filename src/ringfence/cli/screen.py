"""What commands print: errors, tables and progress; rich on a terminal, plain in a pipe, JSON for scripts."""

import json
import os
import pwd
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ringfence.domain.errors import RingfenceError

#: Control characters (but for tab and line end) and bidirectional overrides: never sent to a terminal as they are.
_UNSAFE = {
    **{code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)},
    **{code: f"\\u{code:04x}" for code in (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}


def plain(text: str) -> str:
    """Untrusted text made harmless for a terminal."""
    return text.encode("utf-8", "replace").decode().translate(_UNSAFE)


def show_error(error: RingfenceError) -> None:
    """An error on standard error, as what / where / how to mend."""
    print(f"error: {plain(str(error))}", file=sys.stderr)


def show_json(value: Any) -> None:
    """One JSON document, or one line of a stream, on standard output."""
    print(json.dumps(value, ensure_ascii=True, default=str), flush=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table: with rules on a terminal, with columns in a pipe."""
    shown = [[plain(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        drawn = Table(*headings, box=box.SIMPLE_HEAD)
        for row in shown:
            drawn.add_row(*(escape(cell) for cell in row))
        Console().print(drawn)
        return
    widths = [max(map(len, column)) for column in zip(headings, *shown, strict=True)]
    for row in ([*headings], *shown):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def program() -> str:
    """What to type to run these commands: the bare name when it is on the path, else where it is."""
    return "ringfence" if shutil.which("ringfence") else place(Path(sys.argv[0]).absolute())


def place(path: Path) -> str:
    """A path as a person would type it here: relative when it lies below the working directory."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def user() -> str:
    """Who is asking, for the log: the account's name, or its number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def moment(seconds: float) -> str:
    """A time for people, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
