"""Secrets in HashiCorp Vault or OpenBao: KV version 2, and credentials that a secrets engine makes for each lease.

A thin client over the documented HTTP API. The worker logs in with a token or an AppRole whose own secret comes from
another source; a login is renewed at half-time, else made anew. Leases belong to the login that asked for them:
when the worker ends its login, Vault ends them too. No error repeats what the server said beyond its status.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from ringfence.adapters.json_http import Answer, JsonClient
from ringfence.domain.errors import ControlMissing, HostFailed
from ringfence.ports.broker import Secret
from ringfence.ports.clock import Clock
from ringfence.ports.secret_source import Opened

_MENDS = {
    400: "see that the path and the login's role are right",
    403: "the login's policy does not allow it: read on the path, update on sys/leases/renew, revoke and lookup",
    404: "there is nothing at this path, or its newest version was deleted",
    503: "the vault is sealed or in standby",
}


@dataclass(frozen=True, slots=True)
class VaultItem:
    """One value. With `mount` it stands in a KV version 2 engine; without, reading `path` makes a lease."""

    path: str
    field: str
    mount: str | None = None

    @property
    def address(self) -> str:
        """The path of the API."""
        return f"/v1/{self.mount}/data/{self.path}" if self.mount is not None else f"/v1/{self.path}"


@dataclass(frozen=True, slots=True)
class VaultLogin:
    """How the worker logs in: with a token, or as `role_id` of the AppRole method at `mount`."""

    secret: Callable[[], Secret]  # the token, or the AppRole's secret id
    role_id: str | None = None
    mount: str = "approle"
    namespace: str | None = None


@dataclass(slots=True)
class _Session:
    """A login that is in use; times are of the monotonic clock."""

    token: Secret
    renew_at: float | None
    ends_at: float | None
    renewable: bool


class VaultSecrets:
    """Implements ports/secret_source.py over `{name: item}` of one server. `shut` ends the login."""

    def __init__(self, client: JsonClient, login: VaultLogin, items: Mapping[str, VaultItem], clock: Clock) -> None:
        self._client = client
        self._login = login
        self._items = dict(items)
        self._clock = clock
        self._session: _Session | None = None
        self._lock = Lock()

    def names(self) -> tuple[str, ...]:
        """The names that this source can open."""
        return tuple(self._items)

    def open(self, name: str) -> Opened:
        """The value now, or a lease made now."""
        item = self._items.get(name)
        if item is None:
            raise ControlMissing(
                f"secret {name!r} has no source", where="settings, section [secrets]", mend=f"add [secrets.{name}]"
            )
        answer = self._asked("GET", item.address)
        if answer.status != 200:
            raise self._failure(answer, f"open secret {name!r}")
        try:
            found = answer.content["data"]["data"] if item.mount is not None else answer.content["data"]
            value = found[item.field]
            lease, seconds = str(answer.content.get("lease_id") or ""), float(answer.content.get("lease_duration") or 0)
        except (KeyError, TypeError, ValueError, AttributeError):
            value, lease, seconds = None, "", 0.0
        if not isinstance(value, str) or not value:
            raise ControlMissing(
                f"secret {name!r} has no text in field {item.field!r}",
                where=self._client.url + item.address,
                mend="name a field that holds one",
            )
        return Opened(Secret(value), lease, seconds) if lease else Opened(Secret(value))

    def renew(self, name: str, opened: Opened) -> Opened:
        """The same value; its lease lasts as long again as it did at first, or what the server still allows."""
        if not opened.lease:
            return opened
        wanted = {"lease_id": opened.lease, "increment": round(opened.seconds or 0)}
        answer = self._asked("PUT", "/v1/sys/leases/renew", wanted)
        if answer.status != 200:
            raise self._failure(answer, f"renew the lease of secret {name!r}")
        return Opened(opened.secret, opened.lease, _duration(answer.content))

    def close(self, name: str, lease: str) -> bool:
        """End a lease now, and look whether it is gone."""
        if not lease:
            return False
        answer = self._asked("PUT", "/v1/sys/leases/revoke", {"lease_id": lease})
        if answer.status not in (200, 204):
            raise self._failure(answer, f"end the lease of secret {name!r}")
        # A lease that is not there is a bad request; a login that may not look cannot confirm.
        return self._asked("PUT", "/v1/sys/leases/lookup", {"lease_id": lease}).status == 400

    def shut(self) -> None:
        """End the login, if it was made here: leases that are left end with it."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None and self._login.role_id is not None:
            try:
                self._sent("POST", "/v1/auth/token/revoke-self", session.token, {})
            except HostFailed:
                return  # it ends by itself: nobody renews it any more

    def _asked(self, method: str, path: str, body: Any = None) -> Answer:
        """One request with the present login; once more with a fresh one when that is not taken any longer."""
        answer = self._sent(method, path, self._token(), body)
        if answer.status == 403 and self._login.role_id is not None:
            with self._lock:
                self._session = None
            answer = self._sent(method, path, self._token(), body)
        return answer

    def _sent(self, method: str, path: str, token: Secret | None, body: Any) -> Answer:
        headers = {"X-Vault-Request": "true"}
        if token is not None:
            headers["X-Vault-Token"] = token.reveal()
        if self._login.namespace is not None:
            headers["X-Vault-Namespace"] = self._login.namespace
        return self._client.send(method, path, headers, json=body)

    def _token(self) -> Secret:
        """A token that lives; several threads share one login."""
        with self._lock:
            if self._login.role_id is None:
                return self._login.secret()
            now, session = self._clock.monotonic(), self._session
            if session is None or (session.ends_at is not None and now >= session.ends_at):
                session = self._logged_in(self._login.role_id)
            elif session.renew_at is not None and now >= session.renew_at:
                session = self._renewed(session) or self._logged_in(self._login.role_id)
            self._session = session
            return session.token

    def _logged_in(self, role: str) -> _Session:
        body = {"role_id": role, "secret_id": self._login.secret().reveal()}
        answer = self._sent("POST", f"/v1/auth/{self._login.mount}/login", None, body)
        session = self._session_of(answer, None) if answer.status == 200 else None
        if session is None:
            raise self._failure(answer, "log the worker in")
        return session

    def _renewed(self, session: _Session) -> _Session | None:
        if not session.renewable:
            return None
        answer = self._sent("POST", "/v1/auth/token/renew-self", session.token, {})
        return self._session_of(answer, session.token) if answer.status == 200 else None

    def _session_of(self, answer: Answer, token: Secret | None) -> _Session | None:
        auth = answer.content.get("auth") if isinstance(answer.content, dict) else None
        text = auth.get("client_token") if isinstance(auth, dict) else None
        if not isinstance(auth, dict) or (token is None and not isinstance(text, str)):
            return None
        now, seconds = self._clock.monotonic(), _duration(auth)
        half, end = (now + seconds / 2, now + seconds) if seconds else (None, None)
        return _Session(token or Secret(str(text)), half, end, auth.get("renewable") is True)

    def _failure(self, answer: Answer, what: str) -> ControlMissing:
        return ControlMissing(
            f"the vault would not {what} (status {answer.status})",
            where=self._client.url,
            mend=_MENDS.get(answer.status, "see the vault's own log"),
        )


def _duration(content: Any) -> float:
    """Seconds that a lease or a login lasts; 0 for a login without an end and for an answer that says nothing."""
    found = content.get("lease_duration") if isinstance(content, dict) else None
    return float(found) if isinstance(found, int | float) and found > 0 else 0.0
