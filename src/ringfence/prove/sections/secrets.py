"""Claims of the section `secrets`: no secret of the worker is anywhere that a sandbox can look."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ringfence.domain.decision import Deny
from ringfence.domain.rules import secret_for
from ringfence.prove import inside
from ringfence.prove.claim import Claim, Result, broken, judged
from ringfence.prove.ground import Ground, How
from ringfence.prove.sections.commands import probed


def claims(ground: Ground) -> Iterator[Claim]:
    """The claims, in the order in which people ask."""
    named = ", ".join(use.name for use in ground.boundary.secrets) or "none is named"
    for role in ("setup", "agent", "checks:patch"):
        statement = (
            f"nothing inside ({role}) holds a secret: environment, arguments, files, /proc, git settings ({named})"
        )
        yield Claim("secrets", statement, partial(_search, ground, role))
    yield from probed(ground, "secrets")
    yield Claim("secrets", "each secret is opened for its own purpose and repositories only", lambda: _uses(ground))
    yield Claim("secrets", "each secret is opened for what it is for", lambda: _serves(ground), benign=True)


def _search(ground: Ground, role: str) -> Result:
    """A neighbour of the worker's user carries the canary as carelessly as can be; the control finds it there."""
    room = ground.empty_room()
    places = {"file": ground.places.state / "secret", "git": ground.places.state / "gitconfig"}
    places["file"].write_text(ground.canary)
    places["git"].write_text(f"[credential]\n\thelper = {ground.canary}\n")
    for path in places.values():
        path.chmod(0o644)  # only its place keeps it
    program = f"import sys; sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()  # {ground.canary}"
    words = [sys.executable, "-S", "-c", program]
    told = {"SECRET": ground.canary, "GIT_CONFIG_GLOBAL": str(places["git"])}
    with subprocess.Popen(words, env=told, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as neighbour:
        assert neighbour.stdin is not None and neighbour.stdout is not None
        neighbour.stdout.read(1)
        seen = [Path(f"/proc/{neighbour.pid}/{name}").read_text() for name in ("cmdline", "environ")]
        control = all(ground.canary in text for text in (*seen, *(path.read_text() for path in places.values())))
        ways = [*map(str, places.values()), f"/proc/{neighbour.pid}/environ", f"/proc/{os.getpid()}/environ"]
        given = {"backwards": ground.canary[::-1], "skip": list(ground.trees()), "places": ways}
        answer = ground.attack(inside.search, given, room=room, how=How(role=role))
        neighbour.stdin.close()
    ground.rooms().remove(room)
    if answer.came is None or not control:
        return broken(f"the search did not end: {answer.end}; outside it was found: {control}")
    came = answer.came
    said = f"{came['files']} files and entries, {came['bytes']} bytes looked through; outside it is in four places"
    return judged(
        not came["found"] and not came["opened"], f"{said}; inside: {came['found'] + came['opened'] or 'none'}"
    )


def _uses(ground: Ground) -> Result:
    boundary = ground.boundary
    wrong, asked = [], 0
    for purpose in ("checkout", "publish", "model", "registry"):
        for name in (*(one.name for one in boundary.repositories), "stranger/x"):
            asked += 1
            given = secret_for(boundary, purpose, name)
            if isinstance(given, Deny):
                continue
            use = next((one for one in boundary.secrets if one.name == given), None)
            scoped = use is not None and (purpose == "model" or name in use.repositories)
            if use is None or use.purpose != purpose or not scoped:
                wrong.append(f"{given} for {purpose} of {name}")
    return judged(not wrong, f"{asked} purposes and repositories asked; given wrongly: {wrong or 'none'}")


def _serves(ground: Ground) -> Result:
    boundary = ground.boundary
    known = {one.name: one for one in boundary.repositories}
    unserved, asked = [], 0
    for use in boundary.secrets:
        for name in use.repositories if use.purpose in ("checkout", "publish") else ():
            if use.purpose == "publish" and (known[name].access != "write" or known[name].stage == "observe"):
                continue
            asked += 1
            if secret_for(boundary, use.purpose, name) != use.name:
                unserved.append(f"{use.name} for {use.purpose} of {name}")
    return judged(not unserved, f"{asked} uses asked; refused: {unserved or 'none'}")
