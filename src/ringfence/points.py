"""The enforcement points as the composition root starts them: the model gateway and the egress proxy.

Each is a process of its own with a user of its own; here is what it is told, and how what it reports is written.
"""

import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from secrets import token_hex
from threading import Lock
from urllib.parse import urlsplit

from ringfence.adapters.artifacts.directory import DirectoryArtifacts
from ringfence.adapters.clock import SystemClock
from ringfence.broker.leases import held
from ringfence.broker.redacting import LearningRedactor
from ringfence.broker.sources import SecretSources
from ringfence.child.process import Answer
from ringfence.domain.boundary import Boundary, Route
from ringfence.domain.errors import ControlMissing, EvidenceBroken
from ringfence.domain.events import EgressAsked, EgressDecided, GrantUsed, ModelAsked, ModelCalled
from ringfence.egress.attempt import Attempt
from ringfence.egress.process import EgressProcess, Inspecting, UpstreamProxy
from ringfence.gateway.call import Call, RouteConfig
from ringfence.gateway.process import GatewayProcess
from ringfence.pipeline.exits import PHASES, registry_grant
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.broker import Secret
from ringfence.ports.egress import Egress, EgressPolicy
from ringfence.ports.gateway import DoorPolicy, OpenDoor
from ringfence.settings import Settings

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
#: Where systems keep their bundle of certificates.
_BUNDLES = tuple(
    Path(path)
    for path in ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
)

#: Of the credentials of clouds (docs/gateway.md), what must never be seen.
_SECRET_PARTS = ("SecretAccessKey", "SessionToken", "private_key")

_MOST_UNDERWAY = 4096  # calls at once; a door has sixteen
_STORE_SECONDS = 30.0


class NoDoors:
    """For what calls no model and reaches no host: there is no door."""

    def open(self, _listener: socket.socket, policy: DoorPolicy | EgressPolicy) -> AbstractContextManager[OpenDoor]:
        """Refuse."""
        raise ControlMissing("nothing is running here that serves doors", where=f"door {policy.door}")

    def alive(self) -> bool:
        """Never."""
        return False

    def authority(self, _seconds: float) -> str:
        """Refuse."""
        raise ControlMissing("nothing is running here that opens TLS")


@contextmanager
def gateway(
    boundary: Boundary,
    keys: tuple[SecretSources, LearningRedactor],
    settings: Settings,
    record: Callable[[Call], Answer | None],
) -> Iterator[GatewayProcess]:
    """The model gateway with the boundary's routes and their credentials, which redaction learns first."""
    secrets, redactor = keys
    named = {route.credential for route in boundary.models.routes if route.credential is not None}
    with held(secrets, sorted(named)) as opened:
        for secret in opened.values():
            for part in secrets_in(secret):
                redactor.learn(part)
        routes = tuple(
            RouteConfig(
                name=route.name,
                provider=route.provider,
                endpoint=route.endpoint,
                models=route.models,
                credential=opened.get(route.credential or ""),
                protocols=route.spoken,
                translate=route.translate,
                region=route.region or "",
                api_version=route.api_version or "",
            )
            for route in boundary.models.routes
        )
        with GatewayProcess(routes, record, user=_user(settings, 1)) as running:
            yield running


@contextmanager
def egress(
    boundary: Boundary,
    settings: Settings,
    record: Callable[[Attempt], None],
    keys: tuple[SecretSources, LearningRedactor] | None = None,
) -> Iterator[Egress]:
    """The egress proxy where a phase has a rule; nothing where none has.

    `keys` open the credentials that it puts on requests, which redaction learns first. Without them it puts on
    made-up values: whoever only tries the boundary shows nobody a real one.
    """
    if not _has_rules(boundary):
        yield NoDoors()
        return
    rules = [rule for phase in PHASES for rule in boundary.network_rules(phase)]
    put = {rule.credential.secret for rule in rules if rule.credential is not None}
    canaries = {use.name for use in boundary.secrets if use.purpose == "canary"}
    by = settings.egress.upstream_credential
    with _opened(keys, put | canaries | ({by} if by is not None else set())) as opened:
        inspecting = Inspecting(
            _certificates(authorities(boundary, settings)) if any(rule.inspect for rule in rules) else "",
            SystemClock().now,
            {name: opened[name] for name in put},
            {name: opened[name] for name in canaries},
        )
        names = {name: tuple(found) for name, found in settings.egress.hosts.items()}
        with EgressProcess(
            record,
            names=names,
            inspecting=inspecting,
            upstream=_upstream(settings, opened.get(by or "")),
            user=_user(settings, 2),
        ) as running:
            yield running


def egress_health(
    boundary: Boundary, settings: Settings, keys: tuple[SecretSources, LearningRedactor] | None = None
) -> str:
    """For `doctor`: whether the proxy starts, and what programs inside would trust."""
    if not _has_rules(boundary):
        return "not needed: no phase has a network rule"
    with egress(boundary, settings, lambda _attempt: None, keys) as running:
        size = len(authorities(boundary, settings))
        return f"started and answered: {running.alive()}; {size} bytes of certificates for programs inside"


@contextmanager
def _opened(keys: tuple[SecretSources, LearningRedactor] | None, names: set[str]) -> Iterator[dict[str, Secret]]:
    """Secrets for as long as the block runs; made-up ones without keys."""
    if keys is None:
        yield {name: Secret(f"made-up-{token_hex(16)}") for name in names}
        return
    secrets, redactor = keys
    with held(secrets, sorted(names)) as opened:
        for secret in opened.values():
            redactor.learn(secret)
        yield opened


def secrets_in(secret: Secret) -> tuple[Secret, ...]:
    """A credential, and of a cloud's, which is a JSON object, what is secret in it: each can be repeated by itself."""
    told: object = None
    with suppress(ValueError, RecursionError):  # most are no JSON
        told = json.loads(secret.reveal())
    found = [told.get(name) for name in _SECRET_PARTS] if isinstance(told, dict) else []
    return (secret, *(Secret(part) for part in found if isinstance(part, str) and part))


def _certificates(bundle: bytes) -> str:
    """The certificates of a bundle without what is written between them, which need not be ASCII."""
    return "\n".join(found.decode("ascii", "replace") for found in _CERTIFICATE.findall(bundle))


def _upstream(settings: Settings, credential: Secret | None) -> UpstreamProxy | None:
    if settings.egress.upstream is None:
        return None
    place = urlsplit(settings.egress.upstream)
    return UpstreamProxy(place.hostname or "", place.port or 80, credential)


def authorities(boundary: Boundary, settings: Settings) -> bytes:
    """Whom programs inside trust: what the settings name, else the bundle of the system."""
    if not _has_rules(boundary):
        return b""
    places = _BUNDLES if settings.egress.authorities is None else (settings.egress.authorities,)
    for path in places:
        try:
            return path.read_bytes()
        except OSError:
            continue
    raise ControlMissing(
        "there is no bundle of certificates for programs inside sandboxes",
        where=", ".join(map(str, places)),
        mend="install the system's ca-certificates, or name a bundle as egress.authorities in the settings",
    )


class _Requests:
    """Requests that are on their way: each is stored while the provider works at it, and named when its call ends."""

    def __init__(self, keep: Callable[[bytes], str]) -> None:
        self._keep = keep
        self._lock = Lock()
        self._stored: dict[tuple[str, str, str], Future[str]] = {}

    def sent(self, call: Call, body: bytes) -> Callable[[], None]:
        """Expect the end of a call; what is given back stores its request."""
        stored: Future[str] = Future()
        with self._lock:
            self._stored[call.run, call.door, call.id] = stored
            while len(self._stored) > _MOST_UNDERWAY:  # calls that never ended, as of a gateway that died
                del self._stored[next(iter(self._stored))]

        def store() -> None:
            try:
                stored.set_result(self._keep(body))
            except EvidenceBroken as error:
                stored.set_exception(error)

        return store

    def named(self, call: Call) -> str:
        """The digest of the request of a call that has ended. Raises what denies: nobody has seen it, nor stored it."""
        with self._lock:
            stored = self._stored.pop((call.run, call.door, call.id))
        return stored.result(_STORE_SECONDS)


def call_recorder(
    boundary: Boundary, log: AuditLog, artifacts: DirectoryArtifacts, redactor: LearningRedactor
) -> Callable[[Call], Answer | None]:
    """Writes an exchange of the gateway down; when this raises, the gateway denies the call.

    What is about to leave is looked through here and not in the gateway, which would need every secret for that.
    """

    def digest_only(body: bytes) -> str:
        return "sha256:" + hashlib.sha256(redactor.redact(body)).hexdigest()

    servers = {route.name: _server(route) for route in boundary.models.routes}
    keep = artifacts.put if boundary.logs.exchanges == "full" else digest_only
    requests = _Requests(keep)

    def open_call(call: Call) -> Answer:
        clean, kinds = redactor.withhold(call.request)
        said = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        if kinds and boundary.models.on_secret != "remove":
            return Answer(ok=False, why=said, final=boundary.models.on_secret == "stop")
        if kinds:
            json.loads(clean)  # what cannot be taken out cleanly does not leave: this raises, and that denies
        reason = "; ".join(filter(None, (call.reason, f"taken out: {said}" if said else "")))
        named = [field.name for field in fields(ModelAsked) if hasattr(call, field.name)]
        facts = {name: getattr(call, name) for name in named}
        log.append(call.run, ModelAsked(call.id, **{**facts, "reason": reason, "server": servers.get(call.route, "")}))
        return Answer(content=clean if kinds else b"", after=requests.sent(call, clean))

    def record(call: Call) -> Answer | None:
        if call.phase == "opened":
            return open_call(call)
        request = requests.named(call) if call.phase == "ended" else keep(call.request)
        response = keep(call.response)
        facts = {field.name: getattr(call, field.name) for field in fields(ModelCalled) if hasattr(call, field.name)}
        server = servers.get(call.route, "") if call.decision == "allow" else ""
        more = {"call": call.id, "request": request, "response": response, "server": server}
        log.append(call.run, ModelCalled(**{**facts, **more}))
        return None

    return record


def _server(route: Route) -> str:
    """host:port of a route's endpoint; empty for a recording."""
    if route.provider == "replay":
        return ""
    place = urlsplit(route.endpoint)
    host = f"[{place.hostname}]" if ":" in (place.hostname or "") else place.hostname
    return f"{host}:{place.port or (80 if place.scheme == 'http' else 443)}"


def attempt_recorder(log: AuditLog) -> Callable[[Attempt], None]:
    """Writes an attempt to leave by the network down; when this raises, the proxy denies it."""

    def record(attempt: Attempt) -> None:
        destination = f"{attempt.host}:{attempt.port}" if attempt.host else "unreadable"
        if attempt.moment == "asked":
            log.append(attempt.run, EgressAsked(attempt.id, attempt.role, attempt.phase, destination, attempt.rule))
            if attempt.credential:
                grant = registry_grant(attempt.credential, attempt.door)
                log.append(attempt.run, GrantUsed(grant), once=f"grant.used/{grant}")
            return
        named = [field.name for field in fields(EgressDecided) if hasattr(attempt, field.name)]
        facts = {name: getattr(attempt, name) for name in named}
        log.append(attempt.run, EgressDecided(**{**facts, "destination": destination, "attempt": attempt.id}))

    return record


def _has_rules(boundary: Boundary) -> bool:
    return any(boundary.network_rules(phase) for phase in PHASES)


def _user(settings: Settings, below: int) -> int | None:
    """A user that nothing else has, when the worker is root."""
    return settings.sandbox.uid_base - below if os.geteuid() == 0 else None
