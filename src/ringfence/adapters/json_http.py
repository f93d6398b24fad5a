"""One JSON request and one answer of bounded size, over HTTP; what the thin clients of code hosts and vaults share.

Nothing is retried or followed, no proxy or certificate comes from the environment, and no error holds the request,
for it carries a secret in a header.
"""

import json as codec
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from ringfence.domain.errors import HostFailed

_LIMIT = 8 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `content` is None when it is no JSON; `date` is the other side's clock as it says it."""

    status: int
    content: Any
    date: str


class JsonClient:
    """Speaks to one address. `whose` names it in errors, `mend` says what to look at.

    `trust`: the certificates that count; None for those of the system.
    """

    def __init__(
        self, url: str, *, whose: str, mend: str, timeout: float = 30.0, trust: ssl.SSLContext | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._whose = whose
        self._mend = mend
        self._client = httpx2.Client(
            trust_env=False,
            verify=trust or True,
            follow_redirects=False,
            timeout=timeout,
            limits=httpx2.Limits(max_keepalive_connections=0),  # no socket outlives its answer
            headers={"Accept": "application/json", "User-Agent": "ringfence"},
        )

    def send(self, method: str, path: str, headers: Mapping[str, str], *, json: Any = None) -> Answer:
        """One request. Errors: `HostFailed` when there is no whole answer."""
        try:
            with self._client.stream(method, self.url + path, json=json, headers=dict(headers)) as answer:
                raw = b""
                for chunk in answer.iter_bytes():
                    raw += chunk
                    if len(raw) > _LIMIT:
                        raise HostFailed(f"the answer of {self._whose} is too long", where=self.url)
                return Answer(answer.status_code, _json(raw), answer.headers.get("date", ""))
        except httpx2.HTTPError as error:
            raise HostFailed(
                f"{self._whose} could not be reached: {type(error).__name__}", where=self.url, mend=self._mend
            ) from None


def _json(raw: bytes) -> Any:
    try:
        return codec.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return None
