"""A claim of the section `network` about git: a repository is fetched through the proxy from an allowed host.

The host's name leads to a git server of the proof's own, in the proof's own network, with a certificate that only the
sandboxes of this attempt trust. Git inside is the host's own, unmodified.
"""

import datetime
import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ringfence import points
from ringfence.adapters.clock import SystemClock
from ringfence.adapters.git import environment
from ringfence.adapters.process import run
from ringfence.domain.boundary import NetworkRule
from ringfence.domain.events import EgressDecided, from_json
from ringfence.prove.claim import Claim, Result, broken, holds, untestable
from ringfence.prove.ground import RUN, Ground, interpreter

#: Where the git server is in the proof's network; no forbidden address, so that no rule must open it.
ADDRESS = "203.0.113.78"
_ROLES = {"setup": "setup", "agent": "agent", "validation": "checks:patch"}
_SECONDS = 90.0


def claims(ground: Ground) -> Iterator[Claim]:
    """One for each phase that has a host which git could be fetched from."""
    for phase in _ROLES:
        for rule in ground.boundary.network_rules(phase):
            if rule.purpose != "service" and not rule.cidrs:
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
            spec = rooms.spec(_ROLES[phase], argv, room, _SECONDS)
            seen = {mount.target for mount in spec.mounts}
            more = tuple(mount for mount in interpreter()[1] if mount.target not in seen)
            outcome, _ = rooms.run(replace(spec, mounts=(*spec.mounts, *more)))
    came = (room.path / "copy" / "value.txt").is_file()
    rooms.remove(room)
    events = [from_json(record.event) for record in ground.log.records(RUN)[before:]]
    rules = {event.rule for event in events if isinstance(event, EgressDecided) and event.decision == "allow"}
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

    trusted = place / "authority.pem"
    chain, certificate = _certificate(name)
    trusted.write_bytes(certificate)
    with http.server.ThreadingHTTPServer((ADDRESS, port), partial(Answering, directory=str(place))) as server:
        if port != 80:
            (place / "chain.pem").touch(mode=0o600)
            (place / "chain.pem").write_bytes(chain)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(place / "chain.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            suffix = "" if port in (80, 443) else f":{port}"
            yield f"{'http' if port == 80 else 'https'}://{name}{suffix}", trusted, asked
        finally:
            server.shutdown()
            thread.join()


def _certificate(name: str) -> tuple[bytes, bytes]:
    """A certificate for one name and a day that vouches for itself: with its key, and alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ringfence prove")])
    now = datetime.datetime.fromtimestamp(SystemClock().now(), datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem + secret, pem
