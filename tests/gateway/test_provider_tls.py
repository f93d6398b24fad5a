"""The provider's side over TLS: a certificate that nobody vouches for gets no credential."""

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_side import KEY, Start, route
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_upstream import whole


class Tls:
    """A server with a certificate of its own for 127.0.0.1 that remembers what it was sent in clear text."""

    def __init__(self, folder: Path, address: str) -> None:
        self.pem = _certificate(folder, address)
        self.received: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "Tls":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            with accepted:
                self._answer(accepted)

    def _answer(self, accepted: socket.socket) -> None:
        try:
            with self._context.wrap_socket(accepted, server_side=True) as sock:
                self.received.append(sock.recv(65536))
                body = whole()
                head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
                sock.sendall(head.encode() + b"connection: close\r\n\r\n" + body)
        except OSError:
            return  # the client did not like the certificate


def _certificate(folder: Path, address: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem.decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Tls]:
    with Tls(tmp_path, "127.0.0.1") as running:
        yield running


def test_a_private_authority_that_was_named_is_trusted(start: Start, server: Tls) -> None:
    agent = start(route(f"https://127.0.0.1:{server.port}/v1", authorities=server.pem))
    assert agent.chat().status == 200
    assert f"authorization: Bearer {KEY}".encode() in server.received[0]


def test_an_unknown_certificate_gets_nothing(start: Start, server: Tls) -> None:
    agent = start(route(f"https://127.0.0.1:{server.port}/v1"))
    got = agent.chat()
    assert (got.status, got.code) == (502, "upstream_unreachable")
    assert server.received == []


def test_a_certificate_of_another_name_gets_nothing(start: Start, tmp_path: Path) -> None:
    with Tls(tmp_path, "127.0.0.2") as server:
        agent = start(route(f"https://127.0.0.1:{server.port}/v1", authorities=server.pem))
        assert agent.chat().status == 502
        assert server.received == []
