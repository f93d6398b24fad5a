"""A host of the proof's own that answers by HTTP, with a certificate that only the sandboxes of an attempt trust."""

import datetime
import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ringfence.adapters.clock import SystemClock

#: Where it is in the proof's network; no forbidden address, so that no rule must open it.
ADDRESS = "203.0.113.78"


class _Server(http.server.ThreadingHTTPServer):
    """Says nothing of peers that leave: what came of an attempt is seen by who made it."""

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(answering: Callable[..., Any], name: str, port: int, place: Path) -> Iterator[Path]:
    """Serve at `ADDRESS`, by TLS unless the port says plain; the file of whom to trust, which is in `place`."""
    place.mkdir(exist_ok=True)
    trusted = place / "authority.pem"
    chain, certificate = _certificate(name)
    trusted.write_bytes(certificate)
    with _Server((ADDRESS, port), answering) as server:
        if port != 80:
            (place / "chain.pem").touch(mode=0o600)
            (place / "chain.pem").write_bytes(chain)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(place / "chain.pem")
            # Shaking hands is left to each connection's own thread, so that a silent one keeps nobody waiting.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield trusted
        finally:
            server.shutdown()
            thread.join()


def _certificate(name: str) -> tuple[bytes, bytes]:
    """A certificate for one name and a day that vouches for itself: with its key, and alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ringfence prove")])
    now = datetime.datetime.fromtimestamp(SystemClock().now(), datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem + secret, pem
