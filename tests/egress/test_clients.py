"""Ordinary package clients, unmodified, inside a real sandbox, through the real proxy, at this machine's registries.

The registries are those that the machine's clients are configured with; their names are read from there when
the tests run. Where a client or its registry is not to be had, its test is skipped and says why.
"""

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sandboxed import Room
from world import GOOD, OTHER, PUBLIC, World


def _asked(*argv: str, timeout: float = 60.0) -> str:
    """What a client of the machine says; the test is skipped when it cannot."""
    if shutil.which(argv[0]) is None:
        pytest.skip(f"there is no {argv[0]} on this machine")
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{argv[0]} does not reach a registry from this machine")
    if done.returncode != 0:
        pytest.skip(f"{argv[0]} does not reach a registry from this machine: {done.stderr[-200:]}")
    return done.stdout


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if not parts.hostname:
        pytest.skip("the registry of this machine is no host")
    return parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]


def test_pip_downloads_a_package(room: Room) -> None:
    pip = (sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "-d", str(room.tree.parent / "x"))
    said = _asked(*pip, "iniconfig==2.0.0")
    named = re.search(r"^Looking in indexes:.*?(https?://[^\s,]+)", said, re.MULTILINE)
    own = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    index = (named[1] if named else _asked(sys.executable, "-c", own).strip()).rstrip("/")
    try:
        with urllib.request.urlopen(f"{index}/iniconfig/", timeout=30) as page:
            files = re.findall(r'href="(https?://[^"]+)"', page.read().decode())
    except OSError as error:
        pytest.skip(f"pip's index is not reached from this machine: {error}")
    places = tuple(dict.fromkeys(_place(url) for url in (index, *files)))
    argv = (
        "python3",
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--index-url",
        index,
        "-d",
        "/workspace",
        "iniconfig==2.0.0",
    )
    code, output = room.run(*argv, hosts=places)
    assert code == 0, output
    assert list(room.tree.glob("iniconfig-2.0.0*")), output
    assert {one.decision for one in room.decided()} == {"allow"}
    assert sum(one.received for one in room.decided()) > 4000
    code, output = room.run(*argv, hosts=(("packages.example.internal", 443),))
    assert code != 0
    assert "ringfence" in output, "pip shows which rule refused it"
    assert room.decided()[-1].decision == "deny"


def test_npm_views_and_installs_a_package(room: Room) -> None:
    registry = _asked("npm", "config", "get", "registry").strip()
    _asked("npm", "view", "left-pad@1.3.0", "version")
    place = _place(registry)
    code, output = room.run("npm", "view", "--registry", registry, "left-pad@1.3.0", "version", hosts=(place,))
    assert (code, "1.3.0" in output) == (0, True), output
    code, output = room.run(
        "npm", "install", "--no-audit", "--no-fund", "--registry", registry, "left-pad@1.3.0", hosts=(place,)
    )
    assert code == 0, output
    assert (room.tree / "node_modules" / "left-pad" / "index.js").is_file()
    code, output = room.run(
        "npm", "view", "--registry", registry, "--fetch-retries", "0", "left-pad", hosts=(("a.example.internal", 443),)
    )
    assert code != 0
    places = {(one.destination, one.decision) for one in room.decided()}
    assert places <= {(f"{place[0]}:{place[1]}", "allow"), (f"{place[0]}:{place[1]}", "deny")}


def _package_site() -> str:
    """The address of Debian's package index that apt is configured with."""
    said = _asked("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)")
    found = re.search(r"^(http://\S+) (\S+)$", said, re.MULTILINE)
    if found is None:
        pytest.skip("apt is configured with no plain http site on this machine")
    return f"{found[1].rstrip('/')}/dists/{found[2]}/Release"


def test_apts_own_client_fetches_an_index(room: Room) -> None:
    url = _package_site()
    helper = "/usr/lib/apt/apt-helper"
    if not Path(helper).is_file():
        pytest.skip("there is no apt-helper on this machine")
    code, output = room.run(helper, "download-file", url, "/workspace/Release", hosts=(_place(url),))
    if code != 0 and "allow" in {one.decision for one in room.decided()}:
        pytest.skip(f"apt does not reach its site from this machine: {output[-200:]}")
    assert code == 0, output
    assert b"Codename" in (room.tree / "Release").read_bytes()
    (one,) = {(event.method, event.decision, event.status) for event in room.decided()}
    assert one == ("GET", "allow", 200)


def test_curl_fetches_by_tls_and_without(room: Room) -> None:
    registry = _asked("npm", "config", "get", "registry").strip()
    _asked("npm", "view", "left-pad@1.3.0", "version")
    code, output = room.run("curl", "-sSf", "--max-time", "30", f"{registry}left-pad/1.3.0", hosts=(_place(registry),))
    assert code == 0, output
    assert json.loads(output)["version"] == "1.3.0"
    code, output = room.run(
        "curl", "-sS", "--max-time", "30", "https://other.example.internal/", hosts=(_place(registry),)
    )
    assert code != 0
    assert "403" in output
    # A direct connection has nowhere to go, and no name is looked up inside.
    code, output = room.run("curl", "-sS", "--noproxy", "*", "--max-time", "5", registry, hosts=(_place(registry),))
    assert code == 6, output


def test_git_lists_a_repository_over_https(room: Room, network: World) -> None:
    """No registry of packages serves git: the host is one of ours, with an authority that only the bundle names."""
    commit = "0123456789" * 4
    refs = f"{commit}\trefs/heads/main\n"
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {len(refs)}\r\n\r\n"
    network.answer = (head + refs).encode()
    room.bundle, room.names = network.authority, {GOOD: (PUBLIC,)}
    code, output = room.run("git", "ls-remote", f"https://{GOOD}/acme/tiny.git", hosts=((GOOD, 443),))
    assert (code, output) == (0, refs), output
    code, output = room.run("git", "ls-remote", f"https://{OTHER}/acme/tiny.git", hosts=((GOOD, 443),))
    assert code == 128
    assert "403" in output
    assert [one.decision for one in room.decided()] == ["allow", "allow", "deny"]


def test_without_any_rule_there_is_no_door(room: Room) -> None:
    code, output = room.run("curl", "-sS", "-x", "http://127.0.0.1:3128", "http://a.example.internal/")
    assert code == 7, output
    assert room.decided() == []
