"""Certificates of one sandbox: an authority that only it trusts, and a short-lived leaf for each inspected host.

The keys are made here, in the proxy's process, and are never written anywhere: OpenSSL reads them out of a pipe. An
authority ends with the door of its sandbox, and its certificates with it.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: The only protocol that is spoken on inspected connections, on both sides.
PROTOCOL = "http/1.1"
_BEFORE = timedelta(hours=1)  # for clients whose clock is a little behind
_LONGEST_NAME = 64  # of a common name


class Authority:
    """The authority of one sandbox. `now` is the time in seconds since 1970, `seconds` how long it may live."""

    def __init__(self, now: float, seconds: float) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._since = datetime.fromtimestamp(now, UTC) - _BEFORE
        self._until = datetime.fromtimestamp(now + seconds, UTC)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ringfence, for one sandbox alone")])
        self._contexts: dict[str, ssl.SSLContext] = {}
        #: What the sandbox is told to trust, as PEM.
        self.certificate = (
            self._signed(
                self._name,
                self._key.public_key(),
                (x509.BasicConstraints(ca=True, path_length=0), True),
                (_usage(authority=True), True),
                (x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False),
            )
            .decode()
            .strip()
        )

    def context(self, host: str) -> ssl.SSLContext:
        """The server's side of TLS for a host, with a certificate that names it and nothing else."""
        if host not in self._contexts:
            self._contexts[host] = self._make(host)
        return self._contexts[host]

    def _make(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._signed(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:_LONGEST_NAME])]),
            key.public_key(),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(authority=False), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (x509.SubjectAlternativeName([x509.DNSName(host)]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
        )
        form = serialization.PrivateFormat.PKCS8
        private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.set_alpn_protocols([PROTOCOL])
        with _piped(leaf) as leaf_path, _piped(private) as private_path:
            context.load_cert_chain(leaf_path, private_path)
        return context

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *extensions: tuple[x509.ExtensionType, bool]
    ) -> bytes:
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(self._since).not_valid_after(self._until)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def outward(authorities: str) -> ssl.SSLContext:
    """The client's side of TLS towards servers: their chain and their name are verified. Raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.load_verify_locations(cadata=authorities)
    context.set_alpn_protocols([PROTOCOL])
    return context


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


@contextmanager
def _piped(content: bytes) -> Iterator[str]:
    """A path from which a few kilobytes can be read once; no file, so that nothing is left of them."""
    reading, writing = os.pipe()
    try:
        os.write(writing, content)
        os.close(writing)
        yield f"/proc/self/fd/{reading}"
    finally:
        os.close(reading)
