"""Who a gateway is at Google: the key of a service account, or a workload whose own token is exchanged.

The credential is the JSON file that Google gives out for either. A key signs a statement of its own (RFC 7523);
a workload's token is read from the file that its platform keeps fresh and exchanged (RFC 8693), after which it may
act for a service account. The addresses to do that at are those in the credential.
"""

import base64
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ringfence.adapters.model_providers.vertex.tokens import Account, Granted
from ringfence.child.model_endpoint import Headers, ModelEndpoint
from ringfence.domain.errors import HostFailed, InputError
from ringfence.ports.broker import Secret

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN_URI = "https://oauth2.googleapis.com/token"
_SECONDS = 3600
_MAX_ANSWER = 64 << 10
_FORM = ("content-type", "application/x-www-form-urlencoded")
_TOKEN = re.compile(r"[\x21-\x7e]{16,16384}")
_WORD = re.compile(r"[a-z_]{1,60}")


class TokenDesk:
    """One address where tokens are given out."""

    def __init__(self, url: str, authorities: str) -> None:
        self._endpoint = ModelEndpoint(url, guarded=True, authorities=authorities)
        self._url = url

    async def ask(self, headers: Headers, body: bytes) -> dict[str, Any]:
        """The JSON object that is answered. Errors: `HostFailed`."""
        async with self._endpoint.post("", headers, body) as answer:
            content = bytearray()
            async for piece in answer.pieces():
                content += piece
                if len(content) > _MAX_ANSWER:
                    raise self.failed("its answer has no end")
            try:
                said = json.loads(content)
            except (ValueError, RecursionError):
                said = None
            if answer.status == 200 and isinstance(said, dict):
                return said
            word = said.get("error") if isinstance(said, dict) else None
            known = f" ({word})" if isinstance(word, str) and _WORD.fullmatch(word) else ""
            raise self.failed(f"it answered with status {answer.status}{known}")

    async def granted(self, fields: dict[str, str]) -> Granted:
        """The token for a form, as OAuth has it. Errors: `HostFailed`."""
        said = await self.ask((_FORM,), urlencode(fields).encode())
        seconds = said.get("expires_in")
        if str(said.get("token_type")).lower() != "bearer" or not isinstance(seconds, int | float) or seconds <= 0:
            raise self.failed("it gave no bearer token with an end")
        return Granted(self.sound(said.get("access_token")), float(seconds))

    def sound(self, token: object) -> str:
        """A token that may stand in a header. Errors: `HostFailed`."""
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise self.failed("what it gave is no token")
        return token

    def failed(self, what: str) -> HostFailed:
        """What to say of it."""
        return HostFailed(
            f"there is no access token: {what}", where=self._url, mend="see whether the account of the route is valid"
        )

    async def close(self) -> None:
        """Let go of idle connections."""
        await self._endpoint.close()


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account by its key."""

    email: str
    key: RSAPrivateKey
    key_id: str
    audience: str
    desk: TokenDesk
    now: Callable[[], float]

    async def grant(self) -> Granted:
        """A token for a statement that the key has signed."""
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        return await self.desk.granted({"grant_type": grant, "assertion": self._statement()})

    def _statement(self) -> str:
        issued = int(self.now())
        head = {"alg": "RS256", "typ": "JWT", **({"kid": self.key_id} if self.key_id else {})}
        claims = {
            "iss": self.email, "scope": _SCOPE, "aud": self.audience, "iat": issued, "exp": issued + _SECONDS,
        }  # fmt: skip
        signed = ".".join(_encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
        return f"{signed}.{_encoded(self.key.sign(signed.encode(), PKCS1v15(), SHA256()))}"

    async def close(self) -> None:
        """Let go of idle connections."""
        await self.desk.close()


@dataclass(frozen=True, slots=True)
class SubjectFile:
    """The file in which a platform keeps a workload's own token fresh; `field`: of the JSON object that is in it."""

    path: str
    field: str

    def read(self) -> str:
        """The token as it is now. Errors: `HostFailed`."""
        try:
            with Path(self.path).open("rb") as file:
                text = file.read(_MAX_ANSWER).decode()
            token = json.loads(text)[self.field] if self.field else text.strip()
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise HostFailed(
                f"the workload's own token cannot be read: {type(error).__name__}",
                where=self.path,
                mend="let the gateway's user read the file; docs/gateway.md says who that is",
            ) from None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise HostFailed("the workload's own token is no token", where=self.path, mend="see what writes the file")
        return token


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload by a token of its platform; with `acting` it goes on as a service account."""

    audience: str
    subject_type: str
    subject: SubjectFile
    desk: TokenDesk
    acting: TokenDesk | None
    now: Callable[[], float]

    async def grant(self) -> Granted:
        """A token for the platform's."""
        granted = await self.desk.granted({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "audience": self.audience,
            "scope": _SCOPE,
            "subject_token": self.subject.read(),
            "subject_token_type": self.subject_type,
        })  # fmt: skip
        return granted if self.acting is None else await self._act(self.acting, granted.token)

    async def _act(self, desk: TokenDesk, token: str) -> Granted:
        body = json.dumps({"scope": [_SCOPE], "lifetime": f"{_SECONDS}s"}).encode()
        said = await desk.ask((("authorization", f"Bearer {token}"),), body)
        try:
            until = datetime.fromisoformat(said["expireTime"]).timestamp()
        except (LookupError, TypeError, ValueError):
            raise desk.failed("the token that it gave has no end") from None
        return Granted(desk.sound(said.get("accessToken")), until - self.now())

    async def close(self) -> None:
        """Let go of idle connections."""
        await self.desk.close()
        if self.acting is not None:
            await self.acting.close()


def account_of(secret: Secret | None, *, where: str, now: Callable[[], float], authorities: str) -> Account:
    """The account that a credential is of. Errors: `InputError` when it is of none that can be used here."""
    told: Any = None
    with suppress(ValueError, RecursionError):  # what is no JSON is as if it were not there
        told = json.loads(secret.reveal()) if secret is not None else None
    kind = told.get("type") if isinstance(told, dict) else None
    try:
        if kind == "service_account":
            return _service_account(told, now, authorities)
        if kind == "external_account":
            return _workload(told, now, authorities)
    except (LookupError, TypeError, ValueError) as error:
        raise _unusable(f"the credential of a Vertex route cannot be used: {error}", where) from None
    raise _unusable("the credential of a Vertex route is of no kind that is known here", where)


def _service_account(told: dict[str, Any], now: Callable[[], float], authorities: str) -> ServiceAccount:
    try:
        key = load_pem_private_key(_text(told, "private_key").encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, RSAPrivateKey) or key.key_size < 2048:
        raise ValueError("`private_key` is no RSA key of at least 2048 bits")
    address = _text(told, "token_uri", _TOKEN_URI)
    return ServiceAccount(
        _text(told, "client_email"),
        key,
        _text(told, "private_key_id", ""),
        address,
        TokenDesk(address, authorities),
        now,
    )


def _workload(told: dict[str, Any], now: Callable[[], float], authorities: str) -> Workload:
    source = told["credential_source"]
    if not isinstance(source, dict) or set(source) - {"file", "format"}:
        raise ValueError("a workload's own token is read from a `file` only; no address or program is asked for it")
    form = source.get("format") or {"type": "text"}
    if not isinstance(form, dict) or form.get("type") not in ("text", "json"):
        raise ValueError("`credential_source.format` is neither text nor json")
    subject = SubjectFile(
        _text(source, "file"), _text(form, "subject_token_field_name") if form["type"] == "json" else ""
    )
    try:
        subject.read()  # whether this user can: a gateway that never will should not start
    except HostFailed as error:
        raise ValueError(f"{error.what} ({subject.path})") from None
    acting = _text(told, "service_account_impersonation_url", "")
    return Workload(
        audience=_text(told, "audience"),
        subject_type=_text(told, "subject_token_type"),
        subject=subject,
        desk=TokenDesk(_text(told, "token_url"), authorities),
        acting=TokenDesk(acting, authorities) if acting else None,
        now=now,
    )


def _text(fields: dict[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str) or (not value and default is None):
        raise ValueError(f"`{name}` is missing")
    return value


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _unusable(what: str, where: str) -> InputError:
    return InputError(
        what, where=where, mend="store the JSON file of a service account's key, or of a workload identity with a file"
    )
