"""The broker: gets a credential for one purpose and one repository, late, and ends it early.

Which secret may serve what is decided by `domain/rules.py`. Where the boundary says `minted`, the code host
makes a token for this repository, this purpose and a few minutes; else an existing value is opened. Every
grant is on the log before it is asked for, when it is had, when it is first used and when it ends, never with
its value: what a crash leaves open is revoked from the log.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ringfence.domain.boundary import Boundary, SecretUse
from ringfence.domain.decision import Deny
from ringfence.domain.errors import ControlMissing, RingfenceError
from ringfence.domain.events import GrantAsked, GrantMinted, GrantRevoked, GrantUsed, from_json
from ringfence.domain.rules import secret_for
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.broker import Grant, Secret
from ringfence.ports.clock import Clock
from ringfence.ports.secret_source import SecretSource
from ringfence.ports.token_minter import TokenMinter, Wanted


@dataclass(frozen=True, slots=True)
class Keys:
    """Where credentials come from, and who must know their values to take them out of text."""

    secrets: SecretSource
    minter: TokenMinter
    learn: Callable[[Secret], None]


@dataclass(frozen=True, slots=True)
class _Had:
    """A credential as it was had, and what is recorded of it."""

    secret: Secret
    username: str
    event: GrantMinted
    seconds: float | None


class _Watched(Secret):
    """A value that is recorded when it is first opened, and that is shut when its grant has ended."""

    __slots__ = ("_first", "_lives", "uses")

    def __init__(self, value: Secret, first: Callable[[], None], lives: Callable[[], bool]) -> None:
        super().__init__(value.reveal())
        self._first = first
        self._lives = lives
        self.uses = 0

    def reveal(self) -> str:
        """The value, as long as the grant lives. What cannot be recorded is not opened."""
        if not self._lives():
            raise ControlMissing("the grant has ended", mend="run again: a new one is made")
        if self.uses == 0:
            self._first()
        self.uses += 1
        return super().reveal()


class BoundaryBroker:
    """Implements ports/broker.py by a boundary, secret sources and a token minter."""

    def __init__(self, boundary: Boundary, keys: Keys, log: AuditLog, clock: Clock) -> None:
        self._boundary = boundary
        self._keys = keys
        self._log = log
        self._clock = clock

    @contextmanager
    def grant(self, run: str, purpose: str, repository: str, *, branch: str = "") -> Iterator[Grant]:
        """A grant, recorded when asked for, when had, and when it ends."""
        use = self._use(purpose, repository)
        identity = f"{purpose}-{self._clock.token(12)}"
        self._log.append(run, GrantAsked(identity, purpose, repository, use.name, use.minter or ""))
        had = self._had(identity, use, repository, branch)
        shut = False
        begun = self._clock.monotonic()

        def lives() -> bool:
            return not shut and (had.seconds is None or self._clock.monotonic() - begun < had.seconds)

        watched = _Watched(had.secret, lambda: self._used(run, identity), lives)
        try:
            self._log.append(run, had.event)
            event = had.event
            yield Grant(identity, purpose, repository, had.username, watched, event.permissions, event.host,
                        event.expires, run)  # fmt: skip
        finally:
            shut = True
            self._end(run, had, watched.uses)

    def reclaim(self, run: str, *, last: bool = False) -> int:
        """Revoke what the log says a run still has; how many grants are closed now."""
        closed = 0
        for asked, minted in self._open(run):
            try:
                how, confirmed = self._revoked(asked, minted)
            except RingfenceError as error:
                if not last:
                    continue
                how, confirmed = f"could not be revoked: {error.what}"[:300], False
            self._record(run, GrantRevoked(asked.grant, how, confirmed))
            closed += 1
        return closed

    def _use(self, purpose: str, repository: str) -> SecretUse:
        name = secret_for(self._boundary, purpose, repository)
        use = None if isinstance(name, Deny) else self._boundary.secret(name)
        if isinstance(name, Deny) or use is None:
            raise ControlMissing(
                f"no secret may be used for {purpose} of {repository}",
                where=f"boundary, rule {name.rule if isinstance(name, Deny) else 'secrets'}",
                mend=f"list a secret with purpose {purpose} and this repository in the boundary's secrets",
            )
        return use

    def _had(self, identity: str, use: SecretUse, repository: str, branch: str) -> _Had:
        if use.kind == "minted":
            return self._mint(identity, use, repository, branch)
        return self._open_value(identity, use, repository)

    def _mint(self, identity: str, use: SecretUse, repository: str, branch: str) -> _Had:
        prefix = branch or self._boundary.branches.prefix if use.purpose == "publish" else None
        wanted = Wanted(identity, repository, prefix, use.lifetime)
        token = self._keys.minter.mint(self._minter(use.minter or ""), wanted)
        self._keys.learn(token.secret)
        event = GrantMinted(identity, use.purpose, repository, use.name, "minted", self._keys.minter.host,
                            wanted.permissions, token.expires)  # fmt: skip
        return _Had(token.secret, token.username, event, token.seconds)

    def _open_value(self, identity: str, use: SecretUse, repository: str) -> _Had:
        opened = self._keys.secrets.open(use.name)
        self._keys.learn(opened.secret)
        source = "leased" if opened.lease else "durable"
        expires = None if opened.seconds is None else self._clock.now() + opened.seconds
        host = self._keys.minter.host if use.purpose in ("checkout", "publish") else ""
        event = GrantMinted(identity, use.purpose, repository, use.name, source, host,
                            expires=expires, lease=opened.lease)  # fmt: skip
        return _Had(opened.secret, "ringfence", event, opened.seconds)

    def _minter(self, name: str) -> Secret:
        opened = self._keys.secrets.open(name)
        self._keys.learn(opened.secret)
        return opened.secret

    def _used(self, run: str, identity: str) -> None:
        self._log.append(run, GrantUsed(identity), once=f"grant.used/{identity}")

    def _end(self, run: str, had: _Had, uses: int) -> None:
        """Revoke, and try the token afterwards. What cannot be revoked now stays open: the cleanup tries again."""
        event = had.event
        asked = GrantAsked(event.grant, event.purpose, event.repository, event.secret, self._minter_of(event))
        try:
            how, confirmed = self._revoked(asked, event)
            if event.source == "minted":
                confirmed = self._keys.minter.refuses(had.secret)
                how += "; tried afterwards, and refused" if confirmed else "; tried afterwards, and STILL TAKEN"
        except RingfenceError:
            return
        self._record(run, GrantRevoked(event.grant, how, confirmed, uses))

    def _minter_of(self, event: GrantMinted) -> str:
        use = self._boundary.secret(event.secret)
        return use.minter or "" if use is not None and event.source == "minted" else ""

    def _revoked(self, asked: GrantAsked, minted: GrantMinted | None) -> tuple[str, bool]:
        """End a grant where it was made; how, and whether that side says that it is gone."""
        if asked.minter:
            confirmed = self._keys.minter.revoke(self._minter(asked.minter), asked.grant)
            return "revoked at the host", confirmed
        if minted is None:
            return "had no value yet", False
        if minted.lease:
            return "lease ended", self._keys.secrets.close(asked.secret, minted.lease)
        return "let go; the secret itself outlives the run", False

    def _record(self, run: str, event: GrantRevoked) -> None:
        self._log.append(run, event, once=f"grant.revoked/{event.grant}")

    def _open(self, run: str) -> list[tuple[GrantAsked, GrantMinted | None]]:
        """The grants of a run that were asked for and have not ended."""
        asked: dict[str, GrantAsked] = {}
        minted: dict[str, GrantMinted] = {}
        for record in self._log.records(run):
            event = from_json(record.event)
            if isinstance(event, GrantAsked):
                asked[event.grant] = event
            elif isinstance(event, GrantMinted):
                minted[event.grant] = event
            elif isinstance(event, GrantRevoked):
                asked.pop(event.grant, None)
        return [(one, minted.get(one.grant)) for one in asked.values()]
