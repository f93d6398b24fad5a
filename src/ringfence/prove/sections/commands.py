"""Claims of the section `commands`: what a sandbox sees, what it is refused, and that honest commands run in it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ringfence.domain.boundary import RepositoryCommands
from ringfence.prove import inside
from ringfence.prove.claim import Claim, Result, broken, holds, judged
from ringfence.prove.ground import Ground, How, interpreter

#: What every sandbox is made of beside the toolchains.
_OWN = ("/", "/proc", "/dev", "/tmp", "/home/agent", "/workspace", "/mirror/objects", "/ringfence", "/etc", "/repo")  # noqa: S108

#: Attempts of the worker's own probe that answer another section's question.
_SECTION = {
    "write outside the workspace": "checkout", "resolve a name": "network", "reach the network": "network",
    "make a socket that ignores the network namespace": "network", "read a secret file of the worker": "secrets",
    "see the worker's environment": "secrets", "print the secret": "secrets", "escape the limits": "limits",
    "outlive the sandbox": "limits",
}  # fmt: skip


def claims(ground: Ground) -> Iterator[Claim]:
    """The claims, in the order in which people ask."""
    for name, declared in ground.boundary.commands.repositories.items():
        tools = ", ".join(declared.toolchains) or "no toolchain"
        yield Claim("commands", f"sandboxes of {name} see {tools} and nothing else of this host",
                    partial(_seen, ground, name))  # fmt: skip
        if declared.checks or declared.setup:
            yield Claim("commands", f"the declared commands of {name} are found in its sandboxes",
                        partial(_found, ground, name, declared), benign=True)  # fmt: skip
    yield from probed(ground, "commands")
    yield Claim("commands", "a small test suite runs in a sandbox", lambda: _suite(ground), benign=True)


def probed(ground: Ground, section: str) -> Iterator[Claim]:
    """The attempts of the worker's own probe that speak of a section; all but a few speak of commands."""
    for finding in ground.probe():
        if _SECTION.get(finding.name, "commands") == section:
            benign = finding.name.startswith("control")
            statement = "a command runs, forks and writes its workspace" if benign else f"no command can {finding.name}"
            yield Claim(section, statement, partial(judged, finding.held, finding.detail), benign=benign)


def _look(ground: Ground, name: str, programs: list[str]) -> tuple[dict[str, list[str]] | None, str]:
    chains = ground.boundary.commands.toolchains
    trees = [chains[tool].target for tool in ground.boundary.commands.repositories[name].toolchains]
    answer = ground.attack(inside.look, {"trees": trees, "programs": programs}, how=How("checks:base", repository=name))
    return answer.came, answer.end


def _seen(ground: Ground, name: str) -> Result:
    came, end = _look(ground, name, [])
    if came is None:
        return broken(f"the attempt did not end: {end}")
    chains = ground.boundary.commands.toolchains
    named = [chains[tool].target for tool in ground.boundary.commands.repositories[name].toolchains]
    known = (*_OWN, *named, *(mount.target for mount in interpreter()[1]))
    inner = ("/proc/", "/dev/", "/etc/", "/ringfence/")
    strange = [place for place in came["mounts"] if place not in known and not place.startswith(inner)]
    if strange or came["written"]:
        return broken(f"also sees {strange[:5]}; toolchains that can be written: {came['written']}")
    return holds(f"{len(came['mounts'])} mounts, at the top {', '.join(came['top'])}; toolchains refuse writing")


def _found(ground: Ground, name: str, declared: RepositoryCommands) -> Result:
    words = sorted({argv[0] for argv in (*declared.setup, *(check.run for check in declared.checks))})
    plain = [word for word in words if "/" not in word]
    came, end = _look(ground, name, plain)
    if came is None:
        return broken(f"the attempt did not end: {end}")
    missing = sorted(set(plain) - set(came["found"]))
    beside = f"; not looked for: {', '.join(set(words) - set(plain))}" if set(words) - set(plain) else ""
    return judged(not missing, f"{', '.join(plain)}{beside}" if not missing else f"not on PATH: {missing}")


def _suite(ground: Ground) -> Result:
    """With this interpreter, which the toolchains may not have, so that the sandbox is what is tried."""
    rooms = ground.rooms()
    room = rooms.make("suite", ground.source)
    python, mounts = interpreter()
    spec = rooms.spec("checks:base", (python, "-I", "-m", "unittest", "discover", "-v"), room, 60.0)
    seen = {mount.target for mount in spec.mounts}
    spec = replace(spec, mounts=(*spec.mounts, *(mount for mount in mounts if mount.target not in seen)))
    outcome, _ = rooms.run(spec)
    rooms.remove(room)
    said = " ".join(outcome.output.decode(errors="replace").split())[-200:]
    return judged(outcome.exit_code == 0 and b"Ran 1 test" in outcome.output, f"{outcome.stopped or 'ended'}: {said}")
