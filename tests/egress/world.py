"""A network of its own for the proxy: hosts that may be reached, and addresses that never may, all of which answer."""

import ctypes
import datetime
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ringfence.domain.hosts import HostRule
from ringfence.egress.attempt import Attempt
from ringfence.egress.process import EgressProcess, Inspecting, UpstreamProxy
from ringfence.ports.broker import Secret
from ringfence.ports.egress import EgressPolicy, OpenDoor

USER = 64922 if os.geteuid() == 0 else None
GOOD, OTHER = "packages.example.internal", "other.example.internal"
PUBLIC, PUBLIC_6 = "203.0.113.9", "2001:db8::9"
PRIVATE, METADATA = "10.1.2.3", "169.254.169.254"
#: Addresses that answer in the network of the tests and must never be connected to.
TRAPS = (PRIVATE, METADATA, "172.17.0.1", "192.168.7.7", "100.64.0.1", "198.18.0.9", "127.0.0.1", "127.0.0.2")
TRAPS_6 = ("fd00:ec2::254", "fc00::9", "64:ff9b::a01:203", "2002:a01:203::1", "::1")
PORTS = (80, 443, 8080)
POLICY = EgressPolicy(
    run="run-1",
    door="setup@1",
    role="setup",
    phase="setup",
    command="install",
    rules=(
        HostRule("good", GOOD, 443),
        HostRule("plain", GOOD, 80),
        HostRule("wild", "*.cdn.example.internal", 443),
        HostRule("astray", "astray.example.internal", 443),
        HostRule("astray.plain", "astray.example.internal", 80),
        HostRule("mixed", "mixed.example.internal", 443),
        HostRule("nowhere", "nowhere.example.internal", 443),
        HostRule("silent", "silent.example.internal", 8081),
        HostRule("private", "db.example.internal", 8080, (f"{PRIVATE}/32",)),
    ),
    requests=500,
    sent=64 << 20,
    received=512 << 20,
    longest=60.0,
    idle_timeout=20.0,
)


def may_make_networks() -> bool:
    """Whether `own_network` will work: as root, and for whoever has the powers of root in a user namespace."""
    (powers,) = re.findall(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return bool(int(powers, 16) >> 21 & 1)  # CAP_SYS_ADMIN


@contextmanager
def own_network() -> Iterator[None]:
    """This thread, and what it starts, in a network where only `lo` is and every address of the tests answers."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        if libc.unshare(0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "no network of its own")
        try:
            lines = ["ip link set lo up"]
            lines += [f"ip addr add {address}/32 dev lo" for address in (PUBLIC, *TRAPS[:-2])]
            lines += [f"ip -6 addr add {address}/128 dev lo nodad" for address in (PUBLIC_6, *TRAPS_6[:-1])]
            subprocess.run(["sh", "-ec", "; ".join(lines)], check=True)
            yield
        finally:
            if libc.setns(before.fileno(), 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), "cannot come back")


@dataclass
class Served:
    """One connection that a server took."""

    address: str
    port: int
    name: str | None = None  # SNI
    content: bytes = b""


@dataclass
class World:
    """The network: what its servers saw, what its traps caught, and the proxy in it."""

    authority: Path
    served: list[Served] = field(default_factory=list)
    caught: list[str] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    refuse: Callable[[Attempt], bool] = lambda attempt: False
    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, attempt: Attempt) -> None:
        with self.lock:
            self.attempts.append(attempt)
        if self.refuse(attempt):
            raise OSError("no space left on device")

    def ended(self) -> list[Attempt]:
        """What was decided, without the questions."""
        with self.lock:
            return [attempt for attempt in self.attempts if attempt.moment != "asked"]

    @property
    def only(self) -> Attempt:
        """The one outcome there is."""
        found = self.ended()
        assert len(found) == 1, found
        return found[0]


@dataclass
class Client:
    """A sandbox's side of one open door."""

    port: int
    world: World
    door: OpenDoor
    proxy: EgressProcess
    authority: str = ""  # of this sandbox alone

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, sent: bytes) -> bytes:
        """Bytes to the door, and what came back until it closed."""
        with self.connect() as sock:
            sock.sendall(sent)
            return everything(sock)

    def tunnel(self, host: str, port: int = 443, *, extra: str = "") -> tuple[bytes, socket.socket]:
        """A CONNECT: the head of the answer, and the connection."""
        sock = self.connect()
        sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{extra}\r\n".encode("latin-1"))
        head = b""
        while b"\r\n\r\n" not in head and (piece := sock.recv(1)):
            head += piece
        return head, sock

    def refused(self, host: str, port: int = 443) -> bytes:
        """A CONNECT that must not be allowed; all of the answer."""
        head, sock = self.tunnel(host, port)
        with sock:
            return head + everything(sock)

    def inspected(
        self,
        host: str = GOOD,
        *,
        method: str = "GET",
        target: str = "/x",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
        named: str | None = None,
    ) -> tuple[int, bytes]:
        """A request through a tunnel whose TLS ends in the proxy; status and body of the answer."""
        with self.opened(host) as tls:
            length = [("Content-Length", str(len(body)))] if body is not None else []
            fields = [("Host", named or host), *length, *headers, ("Connection", "close")]
            lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
            with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):  # it may refuse before it has heard all
                tls.sendall(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + (body or b""))
            answer = everything(tls)
        head, _, rest = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, rest

    @contextmanager
    def opened(self, host: str = GOOD, *, alpn: tuple[str, ...] = ("http/1.1",)) -> Iterator[ssl.SSLSocket]:
        """A tunnel with TLS by the sandbox's own authority, and by no other."""
        head, sock = self.tunnel(host)
        with sock:
            assert head.startswith(b"HTTP/1.1 200 "), head
            context = ssl.create_default_context(cadata=self.authority)
            context.set_alpn_protocols(list(alpn))
            with context.wrap_socket(sock, server_hostname=host) as tls:
                yield tls

    def fetch(
        self, host: str = GOOD, *, sni: str | None = None, port: int = 443, request: bytes | None = None
    ) -> bytes:
        """A request through a tunnel, by TLS with the test's authority."""
        head, sock = self.tunnel(host, port)
        with sock:
            assert head.startswith(b"HTTP/1.1 200 "), head
            context = ssl.create_default_context(cafile=str(self.world.authority))
            if sni == "":
                context.check_hostname = False
            with context.wrap_socket(sock, server_hostname=(host if sni is None else sni) or None) as tls:
                tls.sendall(f"GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                return everything(tls)

    def plain(self, url: str = f"http://{GOOD}/x", *, host: str = GOOD, headers: str = "", body: bytes = b"") -> bytes:
        method = "POST" if body else "GET"
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {url} HTTP/1.1\r\nHost: {host}\r\n{length}{headers}Connection: close\r\n\r\n"
        return self.raw(head.encode("latin-1") + body)


def everything(sock: socket.socket) -> bytes:
    received = b""
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece


def certificate(folder: Path, names: tuple[str, ...]) -> tuple[Path, Path]:
    """A certificate authority, and a server's certificate with its key."""
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    server_key = ec.generate_private_key(ec.SECP256R1())

    def made(of: x509.Name, public: ec.EllipticCurvePublicKey, *extensions: tuple[x509.ExtensionType, bool]) -> bytes:
        builder = x509.CertificateBuilder(subject, of, public, x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    authority = made(
        subject,
        key.public_key(),
        (x509.BasicConstraints(True, None), True),
        (usage, True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    )
    leaf = made(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]),
        server_key.public_key(),
        (x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False),
    )
    secret = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "authority.pem").write_bytes(authority)
    (folder / "server.pem").write_bytes(leaf + secret)
    return folder / "authority.pem", folder / "server.pem"


def listen(stack: ExitStack, address: str, port: int, serve: Callable[[socket.socket], None]) -> None:
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=64)

    def accepting() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accepting)
    thread.start()

    def end() -> None:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()

    stack.callback(end)


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """The servers and traps, in the network of this thread."""
    authority, chain = certificate(folder, (GOOD, OTHER, "a.cdn.example.internal"))
    made = World(authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    def good(connection: socket.socket) -> None:
        address, port = connection.getsockname()[:2]
        seen = Served(address, port)
        made.served.append(seen)
        names: list[str | None] = []
        context.sni_callback = lambda _tls, name, _context: names.append(name)
        try:
            with connection if port != 443 else context.wrap_socket(connection, server_side=True) as side:
                seen.name = names[-1] if names else None
                while b"\r\n\r\n" not in seen.content and (piece := side.recv(65536)):
                    seen.content += piece
                length = re.search(rb"content-length: (\d+)", seen.content.lower())
                whole = seen.content.find(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
                while len(seen.content) < whole and (piece := side.recv(65536)):
                    seen.content += piece
                side.sendall(made.answer)
                side.shutdown(socket.SHUT_WR)
                while piece := side.recv(65536):
                    seen.content += piece
        except OSError:
            return

    def trap(connection: socket.socket) -> None:
        with connection:
            made.caught.append(str(connection.getsockname()))

    def silent(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            everything(connection)

    with ExitStack() as stack:
        for port in (80, 443):
            listen(stack, PUBLIC, port, good)
        listen(stack, PUBLIC, 8081, silent)
        listen(stack, PRIVATE, 8080, good)
        for address in (*TRAPS, *TRAPS_6):
            for port in PORTS:
                if (address, port) != (PRIVATE, 8080):
                    listen(stack, address, port, trap)
        yield made


NAMES = {
    GOOD: (PUBLIC,),
    OTHER: (PUBLIC,),
    "a.cdn.example.internal": (PUBLIC,),
    "mixed.example.internal": (PUBLIC, PRIVATE),
    "nowhere.example.internal": (),
    "silent.example.internal": (PUBLIC,),
    "db.example.internal": (PRIVATE,),
}


@contextmanager
def client(
    made: World,
    *,
    names: dict[str, tuple[str, ...]] | None = None,
    patience: float = 10.0,
    secrets: dict[str, str] | None = None,
    upstream: UpstreamProxy | None = None,
    **policy: object,
) -> Iterator[Client]:
    """A proxy with one open door; it opens TLS when it has secrets, even if none."""
    held = {name: Secret(value) for name, value in (secrets or {}).items()}
    opening = Inspecting(made.authority.read_text(), time.time, held)
    with (
        EgressProcess(
            made.record,
            names={**NAMES, **(names or {})},
            inspecting=opening,
            upstream=upstream,
            user=USER,
            patience=patience,
        ) as proxy,
        socket.create_server(("127.0.0.1", 0), backlog=256) as listener,
    ):
        authority = proxy.authority(60.0) if secrets is not None else ""
        with proxy.open(listener, replace(POLICY, authority=authority, **policy)) as door:  # type: ignore[arg-type]
            yield Client(listener.getsockname()[1], made, door, proxy, authority)
