"""Runs one target: `python tests/fuzz/fuzzing.py TARGET atheris|hypothesis SECONDS`, `… replay` or `… merge DIRECTORY`.

`atheris` is guided by coverage, `hypothesis` makes inputs of the right kind; both stop at the first wrong answer and
show the input. `merge` takes what reaches something new into `tests/fuzz/corpus/TARGET`. `script/fuzz` runs them all.
"""

import importlib
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

HERE = Path(__file__).parent
TARGETS = ("egress", "gateway", "hosts", "boundary")
#: What is watched for coverage: ours, and what reads the bytes for us. (A watched reader of YAML is too slow.)
WATCHED = ["ringfence", "h11"]
_LONGEST = {"egress": 6000, "gateway": 4000, "hosts": 600, "boundary": 3000}


def corpus(target: str) -> Path:
    """Where a target's inputs are kept."""
    return HERE / "corpus" / target


def guided(target: str, seconds: int) -> None:
    """Fuzz by coverage; ends the process by itself, with a code that is not 0 when something was found."""
    import atheris

    with atheris.instrument_imports(include=WATCHED):
        module = importlib.import_module(f"fuzz_{target}")
    work, keep = Path(tempfile.mkdtemp(prefix=f"ringfence-fuzz-{target}-")), corpus(target)
    keep.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(module.seeds()):
        (work / f"seed-{number}").write_bytes(seed)
    limits = [
        f"-max_total_time={seconds}",
        f"-max_len={_LONGEST[target]}",
        "-len_control=0",
        "-timeout=20",
        "-rss_limit_mb=1500",
    ]
    shown = ["-print_final_stats=1", f"-artifact_prefix={work}/found-"]
    print(f"{target}: new inputs go to {work}", flush=True)
    atheris.Setup([sys.argv[0], str(work), str(keep), *limits, *shown], module.judge)
    atheris.Fuzz()


def merged(target: str, *more: str) -> None:
    """Keep the fewest inputs that reach all the lines that the kept ones and those of the directories `more` reach."""
    keep = corpus(target)
    keep.mkdir(parents=True, exist_ok=True)
    # What a person has named was found once, and stays.
    kept = [path for path in keep.glob("*") if re.fullmatch("[0-9a-f]{16}", path.name)]
    with tempfile.TemporaryDirectory(prefix="ringfence-fuzz-") as scratch:
        again = Path(scratch) / "again"
        # The fuzzer starts itself once more for each group of inputs, by its first argument.
        again.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" {target} inner "$0" "$@"\n')
        again.chmod(0o755)
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        command = [str(again), "-merge=1", "-use_counters=0", "-timeout=60", str(fresh), *map(str, (keep, *more))]
        subprocess.run(command, check=True)
        for path in kept:
            path.unlink()
        for path in sorted(fresh.glob("*")):
            (keep / path.name[:16]).write_bytes(path.read_bytes())


def inner(target: str, *arguments: str) -> None:
    """One fuzzer with the arguments of a fuzzer, of which the first is what starts it again."""
    import atheris

    with atheris.instrument_imports(include=WATCHED):
        module = importlib.import_module(f"fuzz_{target}")
    atheris.Setup(list(arguments), module.judge)
    atheris.Fuzz()


def generated(target: str, seconds: int) -> None:
    """Fuzz by made-up inputs, in rounds, until the time is over."""
    module = importlib.import_module(f"fuzz_{target}")
    until, count = time.monotonic() + seconds, 0

    @settings(max_examples=2000, deadline=None, database=None, phases=[Phase.generate, Phase.target, Phase.shrink],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(module.inputs())
    def one_round(content: bytes) -> None:
        nonlocal count
        if time.monotonic() < until:
            count += 1
            module.judge(content)

    while time.monotonic() < until:
        one_round()
    print(f"{target}: hypothesis ran {count} inputs in {seconds} s", flush=True)


def replayed(target: str) -> int:
    """Run the seeds and the kept inputs once; how many there were."""
    module = importlib.import_module(f"fuzz_{target}")
    kept = [path.read_bytes() for path in sorted(corpus(target).glob("*"))]
    inputs = [*module.seeds(), *kept]
    for content in inputs:
        module.judge(content)
    return len(inputs)


def main(target: str, way: str, *arguments: str) -> None:
    """One target, one way."""
    sys.path.insert(0, str(HERE))
    if way == "replay":
        print(f"{target}: {replayed(target)} inputs, no wrong answer")
    elif way in ("merge", "inner"):
        (merged if way == "merge" else inner)(target, *arguments)
    else:
        (guided if way == "atheris" else generated)(target, int(*arguments or ("600",)))


if __name__ == "__main__":
    main(*sys.argv[1:])
