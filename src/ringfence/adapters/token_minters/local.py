"""Short-lived tokens of the local code host, by its API (docs/code-host.md).

Every answer is compared with what was asked: a token that came out broader or longer is revoked, not used.
"""

from calendar import timegm
from email.utils import parsedate_to_datetime
from time import strptime
from typing import Any

from ringfence.adapters.json_http import Answer, JsonClient
from ringfence.domain.errors import HostFailed
from ringfence.ports.broker import Secret
from ringfence.ports.token_minter import Token, Wanted

_TOKENS = "/app/installations/self/access_tokens"
#: Times on the wire are whole seconds.
_ROUNDING = 2.0
_MENDS = {
    401: "the minter is not known or has ended: make it again (`ringfence host add-principal`) and store its token",
    403: "this token is no minter's: `ringfence host add-principal --kind minter`",
    409: "run again",
    422: "the minter may not give that much: see `--allow` of `ringfence host add-principal`",
}


class LocalTokenMinter:
    """Implements ports/token_minter.py for the code host that comes with Ringfence."""

    def __init__(self, url: str, *, timeout: float = 15.0) -> None:
        mend = "see that it runs (`ringfence host serve`) and that the settings name its address"
        self._client = JsonClient(url, whose="the code host", mend=mend, timeout=timeout)

    @property
    def host(self) -> str:
        """The address that the tokens are for."""
        return self._client.url

    def mint(self, minter: Secret, wanted: Wanted) -> Token:
        """A token that can do what is wanted, for no longer than wanted, and nothing else."""
        asked: dict[str, Any] = {
            "repositories": [wanted.repository],
            "permissions": {"contents": "read" if wanted.write_prefix is None else "write"},
            "expires_in": wanted.seconds,
            "reference": wanted.reference,
        }
        if wanted.write_prefix is not None:
            asked["branch_prefix"] = wanted.write_prefix
        answer = self._client.send("POST", _TOKENS, _bearer(minter), json=asked)
        if answer.status != 201:
            raise self._failure(answer, f"mint a token ({wanted.permissions}) for {wanted.repository}")
        token = _as_wanted(answer, asked)
        if token is None:
            self.revoke(minter, wanted.reference)
            raise HostFailed(
                "the code host made another token than was asked for; it is revoked",
                where=self.host,
                mend="see that it is the code host of this version",
            )
        return token

    def revoke(self, minter: Secret, reference: str) -> bool:
        """End the token of that reference, made or not; True when the host says that it is out of use."""
        answer = self._client.send("DELETE", f"{_TOKENS}/{reference}", _bearer(minter))
        if answer.status != 200:
            raise self._failure(answer, "revoke a token")
        return isinstance(answer.content, dict) and answer.content.get("active") is False

    def refuses(self, secret: Secret) -> bool:
        """Try a token that should be dead: True when the host does not take it."""
        return self._client.send("GET", "/user", _bearer(secret)).status == 401

    def _failure(self, answer: Answer, what: str) -> HostFailed:
        said = answer.content.get("message", "") if isinstance(answer.content, dict) else ""
        return HostFailed(
            f"the code host would not {what} (status {answer.status}): {ascii(said)[1:-1][:200]}",
            where=self.host,
            mend=_MENDS.get(answer.status, "see the code host's own log"),
        )


def _bearer(secret: Secret) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret.reveal()}"}


def _as_wanted(answer: Answer, asked: dict[str, Any]) -> Token | None:
    """The token of an answer; None when it is not what was asked for."""
    try:
        found = answer.content
        expires = float(timegm(strptime(found["expires_at"], "%Y-%m-%dT%H:%M:%SZ")))
        # Both by the host's clock: how far the worker's own is off does not count.
        seconds = expires - parsedate_to_datetime(answer.date).timestamp()
        prefixes = [asked["branch_prefix"]] if "branch_prefix" in asked else []
        narrow = (
            found["permissions"] == asked["permissions"]
            and found["branch_prefixes"] == prefixes
            and [row["full_name"] for row in found["repositories"]] == asked["repositories"]
            and 0 < seconds <= asked["expires_in"] + _ROUNDING
        )
        return Token(Secret(str(found["token"])), "x-access-token", expires, seconds) if narrow else None
    except (KeyError, TypeError, ValueError):
        return None
