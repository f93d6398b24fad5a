"""Set-up that takes a minute: what the first run of a repository spends on it, and what the next ones do.

The set-up commands make a virtual environment, copy real packages (this project's own dependencies) into it, compile
them to byte code, and wait until a minute is over, as a download or a build would. Seconds of set-up are read from
the log: making a layer, with its tree, its commands and its sealing; or finding and verifying one. Laying it beneath a
tree is part of a sandbox's start, and in the time of the whole run.

`python benchmarks/setup_once.py [--directory DIR] [--rounds N] [--minute S]`
"""

import argparse
import site
import sys
import tempfile
from pathlib import Path

from table import Row, show

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from ringfence.domain import events as e
from worksite import FILES, REPOSITORY, Worksite, worksite

SETUP = """set -e
begun=$(date +%s)
python3 -m venv --without-pip .venv
cp -r /packages/* .venv/lib/python3*/site-packages/
.venv/bin/python -m compileall -q -f .venv/lib > /dev/null || true
while [ $(($(date +%s) - begun)) -lt $MINUTE ]; do sleep 0.2; done
"""
CHECK = ".venv/bin/python -c 'import pydantic' && sh check.sh"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="where the site is made; default: the temporary one")
    parser.add_argument("--rounds", type=int, default=5, help="runs after the first one; default 5")
    parser.add_argument("--minute", type=int, default=60, help="seconds that set-up takes at least; default 60")
    asked = parser.parse_args()
    files = {**FILES, "lock.txt": "1\n", ".gitignore": ".venv/\n"}
    with (
        tempfile.TemporaryDirectory(prefix="ringfence-bench-", dir=asked.directory) as root,
        worksite(Path(root) / "site", files) as place,
    ):
        _declare(place, asked.minute)
        first = _one_run(place, "FIRST")
        layer = next(event for event in first if isinstance(event, e.LayerMade))
        print(f"layer: {layer.files:,} files, {layer.size / 1e6:.0f} MB\n")
        later = [_one_run(place, f"NEXT-{number}") for number in range(1, asked.rounds + 1)]
    show([
        Row("set-up of the first run", "s", (_spent(first),)),
        Row("set-up of a next run", "s", tuple(map(_spent, later))),
        Row("first run by its log", "s", (_whole(first),)),
        Row("next run by its log", "s", tuple(map(_whole, later))),
    ])  # fmt: skip
    if max(map(_spent, later)) >= 2:
        raise SystemExit("the aim is missed: a next run spent 2 s or more on set-up")


def _declare(place: Worksite, minute: int) -> None:
    commands = f"commands.repositories.{REPOSITORY}"
    packages = next(path for path in site.getsitepackages() if Path(path, "pydantic").is_dir())
    check = {"name": "test", "kind": "test", "run": ["sh", "-c", CHECK], "timeout": "5m"}
    place.boundary({
        "commands.toolchains.packages": {"source": packages, "target": "/packages"},
        f"{commands}.toolchains": ["system", "packages"],
        f"{commands}.environment": {"MINUTE": str(minute)},
        f"{commands}.setup": [["sh", "-c", SETUP]],
        f"{commands}.setup_inputs": ["lock.txt"],
        f"{commands}.checks": [check],
        "limits.run.time": "30m",
        "limits.sandbox.disk": "4GiB",
        "limits.sandbox.file": "1GiB",
        "limits.sandbox.memory": "2GiB",
        "limits.sandbox.cpu_time": "10m",
    })  # fmt: skip
    place.story("echo 2 > value.txt")


def _one_run(place: Worksite, ticket: str) -> tuple[e.Event, ...]:
    place.ticket(ticket)
    done = place.ringfence("run", ticket, timeout=1800)
    if done.returncode != 0:
        raise SystemExit(f"error: the run did not come to a pull request\n{done.stdout}{done.stderr}")
    return place.events(f"{ticket}-r1")


def _spent(history: tuple[e.Event, ...]) -> float:
    return sum(event.seconds for event in history if isinstance(event, e.LayerMade | e.LayerUsed))


def _whole(history: tuple[e.Event, ...]) -> float:
    return sum(event.seconds for event in history if isinstance(event, e.RunEnded))


if __name__ == "__main__":
    main()
