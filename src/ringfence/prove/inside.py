"""Runs inside a sandbox as a program of its own: makes one attempt and prints what happened as a line of JSON.

It reports what it reached and does not know what it should have. Arguments: the attempt, and what it is given, as
JSON. What is searched for comes spelled backwards, so that the search does not find itself. Imports nothing of
the package.
"""

import base64
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_SECONDS = 2.0
_LARGEST = 1 << 22
Given = dict[str, Any]


def reach(given: Given) -> Any:
    """Connect to each target, and look each name up."""
    reached = [
        f"{address} port {port} {kind}" for address, port, kind in given["targets"] if _connects(address, port, kind)
    ]
    for name in given["names"]:
        with suppress(OSError):
            reached.append(f"{name} is {socket.getaddrinfo(name, 443)[0][4][0]}")
    return {"tried": len(given["targets"]) + len(given["names"]), "reached": reached}


def _connects(address: str, port: int, kind: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as made:
            made.settimeout(_SECONDS)
            made.connect((address, port))
            made.send(b"attempt")
    except OSError:
        return False
    return True


def proxy(given: Given) -> Any:
    """Ask the proxy for each destination; what it answered, and the first bytes that came from the other side."""
    return [_tunnel(given["proxy"], **asked) for asked in given["asked"]]


def _tunnel(port: int, host: str, number: int, sni: str) -> dict[str, str]:
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as made:
            made.sendall(f"CONNECT {host}:{number} HTTP/1.1\r\nHost: {host}:{number}\r\n\r\n".encode())
            head = made.recv(4096).decode("latin-1")
            if " 200 " not in head.partition("\r\n")[0]:
                return {"status": head.partition("\r\n")[0], "got": ""}
            made.sendall(_hello(sni))
            return {"status": head.partition("\r\n")[0], "got": made.recv(64).decode("latin-1")}
    except OSError as error:
        return {"status": f"no answer: {error}", "got": ""}


def _hello(name: str) -> bytes:
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(coming, going, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return going.read()


def request(given: Given) -> Any:
    """Ask hosts through the proxy, by TLS unless the port says plain; the status and the first bytes of each answer."""
    return [_request(given["proxy"], asked) for asked in given["asked"]]


def _request(proxy: int, asked: Given) -> dict[str, Any]:
    host, port, target = asked["host"], asked["number"], asked["target"]
    if port == 80:
        made = http.client.HTTPConnection("127.0.0.1", proxy, timeout=20)
        target = f"http://{host}{target}"
    else:
        context = ssl.create_default_context()  # with what SSL_CERT_FILE names
        made = http.client.HTTPSConnection("127.0.0.1", proxy, timeout=20, context=context)
        made.set_tunnel(host, port)
    named = host if port in (80, 443) else f"{host}:{port}"
    try:
        made.putrequest(asked["method"], target, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": named, **asked["headers"]}.items():
            made.putheader(name, value)
        made.endheaders()
        answer = made.getresponse()
        return {"status": answer.status, "got": answer.read(64).decode("latin-1")}
    except (OSError, http.client.HTTPException) as error:
        return {"status": 0, "got": repr(error)[:200]}
    finally:
        made.close()


def talk(given: Given) -> Any:
    """Connect to a service at its own name and port, and read what it says."""
    with socket.create_connection((given["host"], given["port"]), 10) as made:
        made.sendall(b"hello")
        return made.recv(64).decode("latin-1")


def ask(given: Given) -> Any:
    """Ask the gateway: status and error code of each answer."""
    answers = []
    for model in given["models"]:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": given["words"][::-1]}]})
        try:
            connection = http.client.HTTPConnection("127.0.0.1", given["port"], timeout=20)
            connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            said = json.loads(answer.read())
            code = said.get("error", {}).get("code", "")
            answers.append({"model": model, "status": answer.status, "code": code})
        except (OSError, ValueError, http.client.HTTPException) as error:
            answers.append({"model": model, "status": 0, "code": repr(error)})
    return answers


def search(given: Given) -> Any:
    """Look for a text in environments, arguments, git's configuration and every file that is not a toolchain's."""
    needle = given["backwards"][::-1].encode()
    found, files, size = [], 0, 0
    for where, content in _readable(given["skip"]):
        files, size = files + 1, size + len(content)
        if needle in content:
            found.append(where)
    opened = [place for place in given["places"] for way in _ways(place) if _opens(way)]
    return {"found": found, "opened": opened, "files": files, "bytes": size}


def _readable(skip: list[str]) -> Iterator[tuple[str, bytes]]:
    for name in ("environ", "cmdline", "comm", "mountinfo", "status"):
        for path in Path("/proc").glob(f"[0-9]*/{name}"):
            with suppress(OSError):
                yield str(path), path.read_bytes()
    with suppress(OSError, subprocess.SubprocessError):
        words = ["git", "config", "--list", "--show-origin"]
        yield "git config", subprocess.run(words, capture_output=True, timeout=10, check=False).stdout
    for top, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if str(Path(top, name)) not in (*skip, "/proc", "/dev", "/sys")]
        for name in names:
            path = Path(top, name)
            with suppress(OSError):
                if path.is_file() and path.stat().st_size <= _LARGEST:
                    yield str(path), path.read_bytes()


def _ways(place: str) -> tuple[str, ...]:
    return (place, f"/proc/1/root{place}", f"/proc/self/root{place}", f"/workspace/../..{place}", f"/oldroot{place}")


def _opens(path: str) -> bool:
    try:
        with Path(path).open("rb"):
            return True
    except OSError:
        return False


def look(given: Given) -> Any:
    """What is mounted, what lies at the top, which trees can be written and which programs are found."""
    mounts = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    written = []
    for place in given["trees"]:
        with suppress(OSError):
            made = Path(place, "ringfence-prove")
            made.write_text("x")
            made.unlink()
            written.append(place)
    found = [word for word in given["programs"] if shutil.which(word)]
    return {"mounts": mounts, "top": sorted(os.listdir("/")), "written": written, "found": found}  # noqa: PTH208


def say(given: Given) -> Any:
    """Print a text as a careless program would, and in the encodings that one would hide it in."""
    text = given["backwards"][::-1].encode()
    for shown in (
        text,
        base64.b64encode(text),
        base64.b64encode(b"x" + text),
        text.hex().encode(),
        given["plain"].encode(),
    ):
        print(shown.decode(), flush=True)
    return "said"


def change(given: Given) -> Any:
    """Change the workspace."""
    for path, size in given.get("sized", {}).items():
        with Path(path).open("wb") as handle:
            handle.truncate(size)
    for path, text in given.get("files", {}).items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text[::-1])
    for path, target in given.get("links", {}).items():
        Path(path).symlink_to(target)
    for path in given.get("locked", ()):
        Path(path, "deep").mkdir(parents=True)
        Path(path).chmod(0)
    return "changed"


def exhaust(given: Given) -> Any:
    """Use more of one thing than there should be."""
    return {"memory": _memory, "processes": _processes, "file": _file, "disk": _disk, "output": _output, "cpu": _cpu,
            "time": _time, "temporary": _temporary}[given["what"]](int(given["much"]))  # fmt: skip


def _memory(much: int) -> Any:
    kept = []
    for _ in range(0, much, 1 << 20):
        kept.append(bytearray(os.urandom(1 << 12) * 256))
    return f"held {len(kept)} MiB"


def _processes(much: int) -> Any:
    made = 0
    try:
        for _ in range(much):
            if os.fork() == 0:
                time.sleep(20)
                os._exit(0)
            made += 1
    except OSError as error:
        time.sleep(1)
        return f"stopped after {made}: {error}"
    time.sleep(2)
    return f"made {made}"


def _file(much: int) -> Any:
    return _write(Path("/workspace/large"), much)


def _temporary(much: int) -> Any:
    wrote, number = 0, 0
    while wrote < much:
        try:
            Path(f"/tmp/part-{number}").write_bytes(bytes(1 << 20))  # noqa: S108 - inside
        except OSError as error:
            return f"stopped after {wrote} bytes: {error}"
        wrote, number = wrote + (1 << 20), number + 1
    return f"wrote {wrote}"


def _disk(much: int) -> Any:
    for number in range(0, much, 1 << 20):
        Path(f"/workspace/part-{number >> 20}").write_bytes(bytes(1 << 20))
    time.sleep(3)
    return f"wrote {much}"


def _write(path: Path, much: int) -> Any:
    wrote = 0
    try:
        with path.open("wb", buffering=0) as handle:
            while wrote < much:
                wrote += handle.write(bytes(1 << 20))
    except OSError as error:
        return f"stopped after {wrote} bytes: {error}"
    return f"wrote {wrote}"


def _output(much: int) -> Any:
    for _ in range(0, much, 1 << 16):
        os.write(1, b"x" * (1 << 16))
    return f"printed {much}"


def _cpu(much: int) -> Any:
    until = time.process_time() + much
    while time.process_time() < until:
        pass
    return f"computed {much} s"


def _time(much: int) -> Any:
    time.sleep(much)
    return f"slept {much} s"


ATTEMPTS = {one.__name__: one for one in (reach, proxy, request, talk, ask, search, look, say, change, exhaust)}

if __name__ == "__main__":
    came = ATTEMPTS[sys.argv[1]](json.loads(sys.argv[2]))
    print("\n" + json.dumps({"came": came}), flush=True)
