"""Claims of the section `logs`: nothing secret is kept, what is kept is the worker's alone, and changes are found."""

import stat
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ringfence.domain.chain import first_break
from ringfence.domain.measures import duration_text
from ringfence.prove import inside
from ringfence.prove.claim import Claim, Result, broken, judged, untestable
from ringfence.prove.ground import RUN, Answer, Ground, How

_PLAIN = "an ordinary line with 1234567890 and /usr/bin/python3 in it"
#: Values in formats that anyone would know, none of which is real.
_FORMATS = (
    "ghp_" + "a1B2" * 9,
    "AKIA" + "Z7Q4" * 4,
    "-----BEGIN RSA PRIVATE KEY-----\\nMIIB\\n-----END RSA PRIVATE KEY-----",
)


def claims(ground: Ground) -> Iterator[Claim]:
    """The claims, in the order in which people ask."""
    logs = ground.boundary.logs
    yield Claim("logs", "known secrets are not kept, in whatever encoding they are printed", lambda: _known(ground))
    yield Claim("logs", "text in a format of a secret is not kept", lambda: _formats(ground))
    for pattern in logs.redaction.patterns:
        why = f"no example of the format {pattern.name} is known; print one in a run and look at `ringfence show`"
        yield Claim("logs", f"the format {pattern.name} is not kept", partial(untestable, why))
    yield Claim("logs", "log and content store are readable by the worker's user alone", lambda: _modes(ground))
    yield Claim("logs", "a changed, removed or reordered record is found", lambda: _chain(ground))
    kept = duration_text(logs.retention)
    why = "it is a matter of time: `ringfence sweep` removes what is older"
    yield Claim("logs", f"nothing is kept for longer than {kept}", partial(untestable, why))
    if logs.exchanges == "full":
        kept = duration_text(logs.bodies_kept)
        yield Claim("logs", f"no model exchange is kept for longer than {kept}", partial(untestable, why))
    yield Claim("logs", "ordinary output is kept as it was printed", lambda: _ordinary(ground), benign=True)


def _print(ground: Ground, text: str, plain: str = _PLAIN) -> Answer:
    return ground.attack(inside.say, {"backwards": text[::-1], "plain": plain}, how=How(role="checks:base"))


def _known(ground: Ground) -> Result:
    answer = _print(ground, ground.canary)
    if answer.came is None or ground.canary.encode() not in answer.outcome.output:
        return broken(f"the canary was not printed: {answer.end}")
    shapes = [line for line in answer.outcome.output.splitlines()[:4] if line]
    found = [name for name, content in ground.kept() if any(shape in content for shape in shapes)]
    marks = ground.artifacts.get(answer.digest).count(b"redacted")
    said = f"printed plain, as base64 twice, and as hex; {marks} marks kept in their place"
    return judged(not found, said if not found else f"found in {', '.join(found)}")


def _formats(ground: Ground) -> Result:
    found = []
    for text in _FORMATS:
        answer = _print(ground, "nothing", text.replace("\\n", "\n"))
        if answer.came is None:
            return broken(f"nothing was printed: {answer.end}")
        needle = text.split("\\n")[1 if "\\n" in text else 0].encode()
        found += [name for name, content in ground.kept() if needle in content]
    return judged(not found, f"{len(_FORMATS)} formats printed" + (f", found in {found}" if found else ", none kept"))


def _ordinary(ground: Ground) -> Result:
    answer = _print(ground, "nothing")
    kept = ground.artifacts.get(answer.digest)
    return judged(kept == answer.outcome.output, f"{len(kept)} bytes kept, {len(answer.outcome.output)} printed")


def _modes(ground: Ground) -> Result:
    state = ground.places.state
    open_to_others = [
        path.name
        for path in (state, *state.rglob("*"))
        if (path == state or path.name.startswith("audit") or "artifacts" in path.parts)
        and not path.is_symlink()
        and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    return judged(not open_to_others, f"0700 and 0600: {not open_to_others}; others: {open_to_others[:5] or 'nothing'}")


def _chain(ground: Ground) -> Result:
    records = list(ground.log.records(RUN))
    if first_break(records, RUN) is not None or len(records) < 4:
        return broken("the log as it was written does not hold together")
    changed = [replace(records[0], event={**records[0].event, "x": 1}), *records[1:]]
    tries = {
        "changed": changed,
        "removed": [*records[:1], *records[2:]],
        "reordered": [records[1], records[0], *records[2:]],
    }
    missed = [name for name, forged in tries.items() if first_break(forged, RUN) is None]
    return judged(
        not missed,
        f"{len(records)} records {', '.join(tries)}: " + (f"not found: {missed}" if missed else "each found"),
    )
