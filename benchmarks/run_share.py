"""The worker's own share of a run on 50,000 files, against a shell script that does the same with bare git.

The share is everything but agent turns and check commands: the time from the first record of the log to the last,
less the seconds of commands whose role is agent, checks or setup. The cache is warm: one run goes ahead, unmeasured.
The script clones, branches, edits, commits and pushes, to the same code host, in the same rounds.

`python benchmarks/run_share.py [--directory DIR] [--rounds N] [--seconds S] [--files N]`
"""

import os
import shutil
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from large import arguments, large_site, rounds
from table import Row, show

from ringfence.domain import events as e
from ringfence.web.host.principals import Permission
from worksite import REPOSITORY, Worksite

SCRIPT = """set -e
git clone -q $REFERENCE "$URL" work
cd work
git checkout -q -b "$BRANCH"
echo 2 > value.txt
git commit -q -a -m "Make it 2"
git push -q origin HEAD
"""
#: What an agent or a check does is not the worker's.
_NOT_OURS = ("agent", "checks:base", "checks:patch", "setup")


@dataclass(frozen=True, slots=True)
class Share:
    """One run: seconds from its first record to its last, the worker's own, and those of the whole process."""

    total: float
    own: float
    process: float
    stages: dict[str, float]  # the worker's own, by stage
    commands: dict[str, float]  # of the own ones, what went into git inside a sandbox, by stage


def main() -> None:
    """Measure and print."""
    asked = arguments(str(__doc__), 20)
    with large_site(asked.directory, asked.files) as site:
        _one_run(site, "WARM")
        shares, plain, sharing = [], [], []
        for number in rounds(asked):
            shares.append(_one_run(site, f"B-{number}"))
            plain.append(_script(site, f"plain-{number}", ()))
            sharing.append(_script(site, f"sharing-{number}", ("--reference", str(_mirror(site)))))
        show(_rows(shares, plain, sharing))
        print()
        _show_stages(shares)


def _rows(shares: list[Share], plain: list[float], sharing: list[float]) -> Iterator[Row]:
    own = tuple(share.own for share in shares)
    yield Row("worker's own share of a run", "s", own)
    yield Row("script: clone, branch, edit, commit, push", "s", tuple(plain))
    yield Row("script, clone --reference to the same warm mirror", "s", tuple(sharing))
    yield Row("ratio: share / script", "x", tuple(a / b for a, b in zip(own, plain, strict=True)))
    yield Row("ratio: share / script with warm mirror", "x", tuple(a / b for a, b in zip(own, sharing, strict=True)))
    yield Row("whole run by its log", "s", tuple(share.total for share in shares))
    yield Row("`ringfence run` as a process, from start to exit", "s", tuple(share.process for share in shares))


def _show_stages(shares: list[Share]) -> None:
    """Where the worker's own time goes: median of each stage, and how much of it is git inside a sandbox."""
    print(f"{'own time by stage, median of the rounds':<40} {'s':>8} {'of it git in sandboxes':>24}")
    names = list(dict.fromkeys(name for share in shares for name in share.stages))
    for name in names:
        whole = statistics.median(share.stages.get(name, 0.0) for share in shares)
        git = statistics.median(share.commands.get(name, 0.0) for share in shares)
        print(f"  {name:<38} {whole:>8.2f} {git:>24.2f}")


def _one_run(site: Worksite, ticket: str) -> Share:
    """Carry a ticket whose first attempt is right, and read from the log what it took."""
    site.ticket(ticket, title="The value is wrong")
    site.story("echo 2 > value.txt")
    began = time.perf_counter()
    done = site.ringfence("run", ticket, timeout=1200)
    process = time.perf_counter() - began
    view = site.views()[0]
    if done.returncode != 0 or view.outcome != "pull_request":
        raise SystemExit(f"error: the run did not come to a pull request\n{done.stdout}{done.stderr}")
    return _share(site, view.id, process)


def _share(site: Worksite, run: str, process: float) -> Share:
    stages: defaultdict[str, float] = defaultdict(float)
    commands: defaultdict[str, float] = defaultdict(float)
    total, foreign, stage = 0.0, 0.0, "before the first stage"
    for event in site.events(run):
        if isinstance(event, e.StageStarted):
            stage = event.stage
        elif isinstance(event, e.CommandRan):
            if event.role in _NOT_OURS:
                foreign += event.seconds
                stages[stage] -= event.seconds
            else:
                commands[stage] += event.seconds
        elif isinstance(event, e.StageEnded):
            stages[event.stage] += event.seconds
        elif isinstance(event, e.RunEnded):
            total = event.seconds
    own = total - foreign
    stages["between stages, cleanup and bundle"] = own - sum(stages.values())
    return Share(total, own, process, dict(stages), dict(commands))


def _script(site: Worksite, name: str, reference: tuple[str, ...]) -> float:
    """The same effect with bare git, by a script."""
    place = site.root / name
    place.mkdir()
    token = site.token(f"script-{name}", Permission(write_prefix="ringfence/"))
    helper = place / "credential"
    helper.write_text(f"username=write\npassword={token}\n")
    environment = {
        **os.environ,
        "URL": f"{site.server.url}/{REPOSITORY}.git",
        "BRANCH": f"ringfence/{name}",
        "REFERENCE": " ".join(reference),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(place / "config"),
        "GIT_TERMINAL_PROMPT": "0",
    }
    (place / "config").write_text(
        f'[credential]\n\thelper = "!f() {{ cat {helper}; }}; f"\n[user]\n\tname = Bench\n\temail = b@localhost\n'
    )
    began = time.perf_counter()
    subprocess.run(["sh", "-c", SCRIPT], cwd=place, env=environment, check=True)
    took = time.perf_counter() - began
    shutil.rmtree(place)
    return took


def _mirror(site: Worksite) -> Path:
    """The worker's warm mirror of the repository."""
    return next(path for path in (site.state / "mirrors").iterdir() if path.suffix == ".git")


if __name__ == "__main__":
    main()
