"""Secrets that are held as long as the worker runs: opened once, leases renewed at half-time, ended afterwards."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from ringfence.domain.errors import RingfenceError
from ringfence.ports.broker import Secret
from ringfence.ports.secret_source import Opened, SecretSource

_SHORTEST_WAIT = 0.2


@contextmanager
def held(source: SecretSource, names: Iterable[str]) -> Iterator[dict[str, Secret]]:
    """Open secrets for a block. A lease that cannot be renewed runs out, and its secret is refused where it is used."""
    opened: dict[str, Opened] = {}
    over = Event()
    keepers: list[Thread] = []
    try:
        for name in names:
            opened[name] = source.open(name)
            if opened[name].seconds is not None:
                keepers.append(Thread(target=_keep, args=(source, name, opened[name], over), daemon=True))
        for keeper in keepers:
            keeper.start()
        yield {name: one.secret for name, one in opened.items()}
    finally:
        over.set()
        for keeper in keepers:
            if keeper.is_alive():
                keeper.join(5)
        for name, one in opened.items():
            _end(source, name, one)


def _keep(source: SecretSource, name: str, opened: Opened, over: Event) -> None:
    left = opened.seconds or 0.0
    while left > 0 and not over.wait(max(left / 2, _SHORTEST_WAIT)):
        try:
            left = source.renew(name, opened).seconds or 0.0
        except RingfenceError:
            left /= 2  # tried again with what is left, until nothing is


def _end(source: SecretSource, name: str, opened: Opened) -> None:
    try:
        source.close(name, opened.lease)
    except RingfenceError:
        return  # it ends by itself when it is not renewed
