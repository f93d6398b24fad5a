"""A claim of the section `network` about git: a repository is fetched through the proxy from an allowed host.

The host's name leads to a git server of the proof's own, in the proof's own network, with a certificate that only the
sandboxes of this attempt trust. Git inside is the host's own, unmodified.
"""

import http.server
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from ringfence import points
from ringfence.adapters.git import environment
from ringfence.adapters.process import run
from ringfence.domain.boundary import NetworkRule
from ringfence.prove.claim import Claim, Result, broken, holds, untestable
from ringfence.prove.ground import ROLES, RUN, Ground, interpreter
from ringfence.prove.host import ADDRESS, serving

_SECONDS = 90.0


def claims(ground: Ground) -> Iterator[Claim]:
    """One for each phase that has a host which git could be fetched from."""
    for phase in ROLES:
        for rule in ground.boundary.network_rules(phase):
            if rule.purpose != "service" and not (rule.cidrs or rule.methods or rule.paths or rule.commands):
                statement = f"{phase} fetches a git repository from {rule.host}:{rule.port}"
                yield Claim("network", statement, partial(_fetch, ground, phase, rule), benign=True)
                break


def _fetch(ground: Ground, phase: str, rule: NetworkRule) -> Result:
    if ground.beacons is None:
        return untestable(ground.no_beacons)
    name = rule.host.replace("*", "prove", 1)
    room, before = ground.empty_room(), len(ground.log.records(RUN))
    with _server(ground, name, rule.port) as (url, trusted, asked):
        egress = ground.settings.egress.model_copy(update={"hosts": {name: [ADDRESS]}, "authorities": trusted})
        mine = replace(ground, settings=ground.settings.model_copy(update={"egress": egress}))
        with points.egress(mine.boundary, mine.settings, points.attempt_recorder(mine.log)) as running:
            rooms = mine.rooms(egress=running)
            argv = ("/usr/bin/git", "clone", "-q", f"{url}/prove.git", "/workspace/copy")
            spec = rooms.spec(ROLES[phase], argv, room, _SECONDS)
            seen = {mount.target for mount in spec.mounts}
            more = tuple(mount for mount in interpreter()[1] if mount.target not in seen)
            outcome, _ = rooms.run(replace(spec, mounts=(*spec.mounts, *more)))
    came = (room.path / "copy" / "value.txt").is_file()
    rooms.remove(room)
    rules = {event.rule for event in ground.decided(before) if event.decision == "allow"}
    if came and outcome.exit_code == 0 and asked and rules:
        where = f"a git server of ours at {ADDRESS}, not the host itself"
        return holds(f"cloned from {where}: {len(asked)} requests through the proxy by {', '.join(sorted(rules))}")
    said = " ".join(outcome.output.decode(errors="replace").split())[-300:]
    return broken(f"git ended with {outcome.stopped or outcome.exit_code} after {len(asked)} requests; {said}")


@contextmanager
def _server(ground: Ground, name: str, port: int) -> Iterator[tuple[str, Path, list[str]]]:
    """The ground's repository over HTTP, by TLS unless the port says plain: its address, whom to trust, who asked."""
    done = run(["git", f"--git-dir={ground.mirror}", "update-server-info"], environment=environment("none"))
    if done.exit_code != 0:
        raise OSError(f"the repository cannot be served: {done.stderr.decode(errors='replace')[-200:]}")
    asked: list[str] = []
    place = ground.places.state / "git"
    place.mkdir(exist_ok=True)
    link = place / "prove.git"
    if not link.is_symlink():
        link.symlink_to(ground.mirror)

    class Answering(http.server.SimpleHTTPRequestHandler):
        """Files of the repository, as git's plain protocol wants them."""

        def log_message(self, _format: str, *_arguments: object) -> None:
            """Remember who asked."""
            asked.append(self.path)

    with serving(partial(Answering, directory=str(place)), name, port, ground.places.state / "host") as trusted:
        suffix = "" if port in (80, 443) else f":{port}"
        yield f"{'http' if port == 80 else 'https'}://{name}{suffix}", trusted, asked
