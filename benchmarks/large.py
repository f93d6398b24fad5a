"""A generated repository of 50,000 small files, about 200 MB, on a real local code host; the same bytes each time.

It is written with `git fast-import` into the code host, so that nobody makes a work tree of it but what is measured.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The surroundings of a worker are those of the tests: a real code host, tickets, a boundary, a recorded story.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from worksite import FILES as SMALL
from worksite import REPOSITORY, Worksite, worksite

COUNT = 50_000
LINES_A_FILE = 66
_PER_FOLDER = 50
_NAMES = ("total", "count", "price", "order", "stock", "item", "batch", "shelf", "label", "route", "ledger", "parcel")


def arguments(about: str, rounds: int) -> argparse.Namespace:
    """What the measurements on this repository can be asked for."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="where the repository is generated; default: the temporary one")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"at most so many; default {rounds}")
    parser.add_argument("--seconds", type=float, default=360.0, help="begin no round after so long; default 360")
    parser.add_argument("--files", type=int, default=COUNT, help="how many files; default 50,000")
    return parser.parse_args()


def rounds(asked: argparse.Namespace) -> Iterator[int]:
    """Numbers of rounds, from 1, as many as were asked for and fit into the time, at least one; says when fewer."""
    ends = time.monotonic() + asked.seconds
    for number in range(1, asked.rounds + 1):
        if number > 1 and time.monotonic() > ends:
            print(
                f"{number - 1} rounds fitted into {asked.seconds:.0f} s, not {asked.rounds}: read minimum and ratios\n"
            )
            return
        yield number


@contextmanager
def large_site(directory: Path | None, count: int = COUNT) -> Iterator[Worksite]:
    """A site whose repository is the generated one; everything is removed at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="ringfence-bench-", dir=directory) as root,
        worksite(Path(root) / "site", SMALL) as site,
    ):
        began = time.perf_counter()
        size = fill(site.host, count)
        check = {"name": "test", "kind": "test", "run": ["sh", "check.sh"], "timeout": "30s"}
        site.boundary(
            {
                f"commands.repositories.{REPOSITORY}.checks": [check],
                "limits.sandbox.disk": "2GiB",
                "limits.sandbox.memory": "1GiB",
            }
        )
        took = time.perf_counter() - began
        print(f"{count:,} files, {size / 1e6:,.0f} MB, generated below {root} in {took:.0f} s\n", flush=True)
        yield site


def fill(bare: Path, count: int) -> int:
    """Put a commit with `count` generated files on the main branch; how many bytes they have."""
    size = 0
    lines = _lines(random.Random(1))
    chooser = random.Random(2)
    argv = ["git", f"--git-dir={bare}", "fast-import", "--quiet"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as importing:
        assert importing.stdin is not None
        give = importing.stdin.write
        give(b"commit refs/heads/main\ncommitter Bench <bench@example.internal> 1767225600 +0000\ndata 5\nGrow\n")
        give(b"from refs/heads/main^0\n")
        for number in range(count):
            body = b"# file %d\n" % number + b"".join(chooser.choices(lines, k=LINES_A_FILE))
            folder = number // _PER_FOLDER
            give(b"M 100644 inline src/area_%02d/part_%03d/module_%05d.py\n" % (folder % 40, folder, number))
            give(b"data %d\n%b\n" % (len(body), body))
            size += len(body)
        importing.stdin.close()
        if importing.wait() != 0:
            raise SystemExit("error: git fast-import failed; see what it said above")
    return size


def _lines(chooser: random.Random) -> list[bytes]:
    """A few thousand lines that compress as source does."""
    words = [f"{chooser.choice(_NAMES)}_{chooser.choice(_NAMES)}_{number}" for number in range(400)]
    pick = chooser.choice
    return [
        f"    {pick(words)} = {pick(words)}({pick(words)}, {chooser.randrange(1000)})\n".encode() for _ in range(4000)
    ]
