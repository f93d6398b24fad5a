"""Serving a host: one process, one listening socket, loopback unless told otherwise, ended by SIGTERM."""

import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from ringfence.adapters.clock import SystemClock
from ringfence.domain.errors import HostFailed, InputError
from ringfence.web.host.app import create_app
from ringfence.web.host.layout import Layout

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    root: Path,
    host: str = "127.0.0.1",
    *,
    port: int = 0,
    url: str | None = None,
    ready: Callable[[str], None] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT. `ready` gets the address as soon as connections are taken.

    `url` is the address that people use when a TLS proxy stands before the host; without it the host
    listens on loopback only, for tokens travel in clear text. Errors: `InputError`, `HostFailed`.
    """
    if not Layout(root.absolute()).registry.is_file():
        raise InputError("there is no code host here", where=str(root), mend=f"ringfence host init {root}")
    if host not in _LOOPBACK and (url is None or not url.startswith("https://")):
        raise InputError(
            f"the host would take tokens in clear text on {host}",
            mend="listen on 127.0.0.1, or put a TLS proxy before it and name its address with --url https://…",
        )
    with _listening(host, port) as listener:
        address = url.rstrip("/") if url else _address(listener)
        config = uvicorn.Config(
            create_app(root, address, SystemClock()),
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=15,
            timeout_graceful_shutdown=5,
            limit_concurrency=256,
        )
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
        server = uvicorn.Server(config)
        with _ending(server):
            # The socket takes connections from here on, before the loop runs: who is told now need not try again.
            if ready is not None:
                ready(address)
            server.run(sockets=[listener])
    return 0


@contextmanager
def _ending(server: uvicorn.Server) -> Iterator[None]:
    """A signal ends the server well, before its loop runs or while it does; the command then ends with 0."""

    def stop(_number: int, _frame: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise HostFailed(
            f"the address {host}:{port} cannot be had: {error.strerror}", mend="choose another with --port"
        ) from None
    listener.listen(128)
    return listener


def _address(listener: socket.socket) -> str:
    name, port = listener.getsockname()[:2]
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
