"""Claims of the section `limits`: each limit of a sandbox is really hit, and what stays within is left alone."""

from collections.abc import Iterator
from functools import partial

from ringfence.domain.measures import duration_text, size_text
from ringfence.prove import inside
from ringfence.prove.claim import Claim, Result, broken, judged, untestable
from ringfence.prove.ground import Ground, How
from ringfence.prove.sections.commands import probed

_MIB = 1 << 20
#: What is tried is at most this, so that proving costs a host in use little.
_MOST = {"memory": 256 * _MIB, "disk": 128 * _MIB, "file": 64 * _MIB, "output": 16 * _MIB, "temporary": 256 * _MIB,
         "processes": 256, "cpu_time": 2}  # fmt: skip


def claims(ground: Ground) -> Iterator[Claim]:
    """The claims, in the order in which people ask."""
    limits = ground.boundary.limits.sandbox
    yield from probed(ground, "limits")
    sizes = {name: size_text(getattr(limits, name)) for name in ("memory", "disk", "file", "output", "temporary")}
    shown = {**sizes, "processes": str(limits.processes), "cpu_time": duration_text(limits.cpu_time)}
    for name, words in shown.items():
        yield Claim("limits", f"no sandbox gets beyond {name}: {words}", partial(_hit, ground, name))
    yield Claim("limits", "a command is ended when its time is over", lambda: _time(ground))
    yield Claim("limits", "nothing survives the end of a sandbox", lambda: _survivors(ground))
    if limits.cgroup == "required":
        yield Claim("limits", "every sandbox has a control group", lambda: _group(ground))
    run = f"{duration_text(ground.boundary.limits.run.time)} and {ground.boundary.limits.run.attempts} attempts"
    why = "it takes a whole run; tests/e2e of the source hold it"
    yield Claim("limits", f"a run ends after {run}", partial(untestable, why))
    for name in ("memory", "disk", "processes", "output"):
        yield Claim("limits", f"what stays within {name} is left alone", partial(_within, ground, name), benign=True)


def _tried(ground: Ground, name: str) -> tuple[int, str]:
    """The number that is tried and a word on how it stands to the boundary's."""
    limit = int(getattr(ground.boundary.limits.sandbox, name))
    least = min(limit, _MOST[name])
    return (
        least,
        "the boundary's own number" if least == limit else f"tried at {_shown(name, least)}, to spare this host",
    )


#: Name of a limit: what inside.exhaust is told to use, and what shows that it was stopped.
_HOW = {"memory": "memory", "disk": "disk", "file": "file", "output": "output", "temporary": "temporary",
        "processes": "processes", "cpu_time": "cpu"}  # fmt: skip


def _hit(ground: Ground, name: str) -> Result:
    limit, word = _tried(ground, name)
    changes = _alone(ground, name, limit)
    much = {"memory": 2 * limit, "processes": 2 * limit + 8, "cpu_time": 10 * limit}.get(name, limit + 16 * _MIB)
    given = {"what": _HOW[name], "much": much}
    answer = ground.attack(inside.exhaust, given, how=How("checks:base", limits=ground.limits(**changes)))
    outcome, came = answer.outcome, str(answer.came or "")
    if name in ("memory", "disk", "output", "processes"):
        good = outcome.stopped == name or (name == "processes" and came.startswith("stopped"))
    elif name == "cpu_time":
        good = answer.came is None and outcome.cpu_seconds < much
    else:
        good = came.startswith("stopped after")
    end = came or outcome.stopped or f"ended by a signal, exit code {outcome.exit_code}"
    return judged(good, f"{word}; {_shown(name, much)} asked for: {end}, after {outcome.seconds:.1f} s")


def _alone(ground: Ground, name: str, limit: int) -> dict[str, int]:
    """The one limit, and memory enough not to come first: without a control group shared pages count twice."""
    needed = {"disk": 2 * limit, "temporary": 2 * limit, "processes": (2 * limit + 8) * 16 * _MIB}.get(name, 0)
    return {"memory": max(ground.boundary.limits.sandbox.memory, needed), name: limit}


def _shown(name: str, number: int) -> str:
    return duration_text(number) if name == "cpu_time" else str(number) if name == "processes" else size_text(number)


def _time(ground: Ground) -> Result:
    answer = ground.attack(inside.exhaust, {"what": "time", "much": 30}, how=How("checks:base", seconds=1.0))
    outcome = answer.outcome
    good = outcome.stopped == "timeout" and outcome.seconds < 5
    return judged(good, f"30 s of sleep with 1 s given: {outcome.stopped} after {outcome.seconds:.2f} s")


def _survivors(ground: Ground) -> Result:
    limits = ground.limits()
    given = {"what": "processes", "much": min(8, limits.processes - 4)}
    answer = ground.attack(inside.exhaust, given, how=How("checks:base", limits=limits))
    if answer.came is None:
        return broken(f"no processes were made: {answer.end}")
    return judged(
        answer.outcome.processes_left == 0, f"{answer.came}; {answer.outcome.processes_left} left after its end"
    )


def _group(ground: Ground) -> Result:
    return judged("no cgroup" not in ground.sandboxes.level, ground.sandboxes.level)


def _within(ground: Ground, name: str) -> Result:
    limit, word = _tried(ground, name)
    much = max(1, limit // 4) if name == "processes" else limit // 4
    given = {"what": _HOW[name], "much": much}
    answer = ground.attack(
        inside.exhaust, given, how=How("checks:base", limits=ground.limits(**_alone(ground, name, limit)))
    )
    good = answer.outcome.exit_code == 0 and not str(answer.came).startswith("stopped")
    return judged(good, f"a quarter of it ({word}): {answer.came or answer.end}")
