"""Access tokens for Google's services: got when one is needed, kept until shortly before their end."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

_EARLY = 120.0  # seconds before its end that a token is not used any more: clocks differ, requests wait


@dataclass(frozen=True, slots=True)
class Granted:
    """A token, and for how many seconds it is good."""

    token: str
    seconds: float


class Account(Protocol):
    """Who may have tokens."""

    async def grant(self) -> Granted:
        """A new token. Errors: `HostFailed`."""
        ...

    async def close(self) -> None:
        """Let go of idle connections."""
        ...


class Tokens:
    """The tokens of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._turn = asyncio.Lock()
        self._until = 0.0  # on the loop's clock
        #: The token in use, and the one before, with which a call may still be running: calls end before tokens do.
        self.lately: tuple[str, ...] = ()

    async def current(self) -> str:
        """A token that is still good for a while; many that ask at once get the same one. Errors: `HostFailed`."""
        async with self._turn:
            now = asyncio.get_running_loop().time()
            if now >= self._until:
                granted = await self._account.grant()
                self.lately = (granted.token, *self.lately[:1])
                self._until = now + granted.seconds - _EARLY
            return self.lately[0]

    def forget(self, token: str) -> None:
        """It was refused: the next call has a new one."""
        if self.lately[:1] == (token,):
            self._until = 0.0

    async def close(self) -> None:
        """Let go of idle connections."""
        await self._account.close()
