"""The ways out of a sandbox by the network: which doors a command gets, and what programs need to find them.

Where no phase has a rule there is no door at all. Where one has, every phase has the same doors, so that what a
phase may not reach is refused and on record. What may pass is decided in the proxy, by the values handed over.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from ringfence.domain.boundary import Boundary
from ringfence.domain.errors import RunStopped
from ringfence.domain.events import EgressDecided, GrantAsked, GrantMinted, GrantRevoked, from_json
from ringfence.domain.hosts import HostRule
from ringfence.domain.rules import command_name, host_rules
from ringfence.domain.run import fold
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.egress import Egress, EgressPolicy
from ringfence.ports.sandbox import HeldSandbox, SandboxSpec

#: Where programs find the proxy on the loopback address of their own network namespace.
PROXY = 3128
PHASES = ("setup", "agent", "validation")
#: Whom programs inside trust; and alone, whom they trust beside that where requests are inspected.
_AUTHORITIES, _OURS = "/ringfence/authorities.pem", "/ringfence/authority.pem"
_IDLE_SECONDS = 300.0
_AUTHORITY_SECONDS = 3600.0  # how much longer an authority lives than its command may run
_TRUST = (
    "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "npm_config_cafile",
    "GIT_SSL_CAINFO",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exits:
    """What a run's sandboxes may reach, phase by phase."""

    run: str
    boundary: Boundary
    egress: Egress
    log: AuditLog
    authorities: bytes  # PEM: whom programs inside trust
    repository: str = ""  # whose commands they are; rules for single commands need it

    def furnish(self, spec: SandboxSpec) -> SandboxSpec:
        """The spec with its doors, and with what lets ordinary programs find them."""
        if not phase_of(spec.role) or not any(map(self.boundary.network_rules, PHASES)):
            return spec
        services = self._services()
        names = " ".join(rule.host for rule in services.values())
        certificates = {_AUTHORITIES: self.authorities}
        if any(rule.inspect for rule in self.boundary.network_rules(phase_of(spec.role))):
            ours = f"{self.egress.authority(spec.timeout + _AUTHORITY_SECONDS)}\n".encode()
            certificates = {_AUTHORITIES: self.authorities + b"\n" + ours, _OURS: ours}
        return replace(
            spec,
            doors=(*spec.doors, PROXY, *services),
            environment={**spec.environment, **_environment()},
            files={
                **spec.files,
                **certificates,
                "/etc/hosts": f"127.0.0.1 localhost sandbox {names}".rstrip().encode() + b"\n",
            },
        )

    @contextmanager
    def open(self, spec: SandboxSpec, sandbox: HeldSandbox) -> Iterator[Callable[[], str | None]]:
        """Serve the doors of a furnished sandbox; gives the question why the run cannot go on."""
        phase = phase_of(spec.role)
        if PROXY not in spec.doors:
            yield lambda: None
            return
        policy = self._policy(spec, phase)
        with ExitStack() as stack:
            served: dict[int, HostRule | None] = {PROXY: None, **self._services()}
            opened = []
            stack.enter_context(self._granted(policy))  # ends after the doors, when all that was used is on record
            for port, service in served.items():
                listener = stack.enter_context(sandbox.doors[port])
                mine = replace(policy, door=f"{policy.door}:{port}", service=service, authority="")
                opened.append(stack.enter_context(self.egress.open(listener, mine if service else policy)))
            yield lambda: next((code for door in opened if (code := door.denied())), None)

    @contextmanager
    def _granted(self, policy: EgressPolicy) -> Iterator[None]:
        """Put on record which credentials the proxy may put on for this door, and when that is over."""
        named = {rule.credential.secret: rule for rule in policy.rules if rule.credential is not None}
        grants = {name: registry_grant(name, policy.door) for name in named}
        for name, grant in grants.items():
            self.log.append(self.run, GrantAsked(grant, "registry", self.repository, name, ""))
            rule = named[name]
            may = f"{' '.join(rule.methods) or 'all methods'} {' '.join(rule.paths)}"
            minted = GrantMinted(
                grant, "registry", self.repository, name, host=f"{rule.host}:{rule.port}", permissions=may
            )
            self.log.append(self.run, minted)
        try:
            yield
        finally:
            events = [from_json(record.event) for record in self.log.records(self.run)] if grants else []
            for name, grant in grants.items():
                uses = sum(
                    isinstance(event, EgressDecided)
                    and event.credential == name
                    and event.attempt.startswith(f"{policy.door}#")
                    for event in events
                )
                revoked = GrantRevoked(grant, "its door is closed; the secret itself outlives the run", uses=uses)
                self.log.append(self.run, revoked, once=f"grant.revoked/{grant}")

    def _services(self) -> dict[int, HostRule]:
        """Hosts that have a door of their own, by its port. Whether it leads there in a phase its rules say."""
        found: dict[int, HostRule] = {}
        for phase in PHASES:
            pairs = zip(self.boundary.network_rules(phase), host_rules(self.boundary, phase), strict=True)
            found |= {rule.port: rule for written, rule in pairs if written.purpose == "service"}
        return found

    def _policy(self, spec: SandboxSpec, phase: str) -> EgressPolicy:
        """What is left of the run's budget, by the log, so that a crash refunds nothing."""
        records = self.log.records(self.run)
        spent = fold(self.run, (from_json(record.event) for record in records)).spent
        limits = self.boundary.limits.network
        return EgressPolicy(
            run=self.run,
            door=f"{spec.role}@{len(records)}",
            role=spec.role,
            phase=phase,
            command=" ".join(spec.argv)[:200],
            rules=host_rules(self.boundary, phase, self._command(spec, phase)),
            requests=max(0, limits.requests - spent.connections),
            sent=max(0, limits.sent - spent.sent),
            received=max(0, limits.received - spent.received),
            longest=spec.timeout,
            idle_timeout=_IDLE_SECONDS,
            authority=spec.files.get(_OURS, b"").decode().strip(),
            on_leak=self.boundary.network.on_leak,
        )

    def _command(self, spec: SandboxSpec, phase: str) -> str:
        return command_name(self.boundary, self.repository, phase, spec.argv)


def phase_of(role: str) -> str:
    """The phase of the boundary's network section that a sandbox of this role is in; empty for none."""
    if role in ("setup", "agent"):
        return role
    return "validation" if role.startswith("checks:") else ""


def stop_when_gone(code: str | None) -> None:
    """A command that ran without its proxy proved nothing. Errors: `RunStopped`."""
    if code == "leak":
        raise RunStopped(
            "egress_leak",
            "a request that wanted to leave held a secret of ours; it was denied",
            where="network.on_leak of the boundary",
            mend="see `ringfence show RUN --network` for which, and find out how it came into the sandbox",
        )
    if code is not None:
        raise RunStopped(
            code if code.startswith("egress_") else f"egress_{code}",
            "the egress proxy did not last for as long as a command did",
            mend="see the system log for why its process ended, or why a record could not be written",
        )


def registry_grant(secret: str, door: str) -> str:
    """What the log calls the permission to put a secret on requests that come through one door."""
    return f"registry-{secret}/{door}"


def _environment() -> dict[str, str]:
    """Variables by which ordinary programs find the proxy and trust what they trust on the worker."""
    proxy = f"http://127.0.0.1:{PROXY}"
    found = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy)
    # What a test suite starts on its own loopback address is inside already.
    found |= dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1")
    return {**found, **dict.fromkeys(_TRUST, _AUTHORITIES)}
