"""The network of a run, phase by phase, by the commands a person types."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ringfence.domain import events as e
from worksite import REPOSITORY, TICKET, Worksite

HOST = "db.example.internal"
#: Speaks to the service as any client would: by its name and port, with no proxy in mind.
TALK = (
    "python3 -c \"import socket; s = socket.create_connection(('{host}', {port}), 10); s.sendall(b'ping'); "
    "s.settimeout(10); got = s.recv(9); print(got); raise SystemExit(got != b'pong')\""
)


@contextmanager
def service() -> Iterator[tuple[int, list[bytes]]]:
    """An internal service on this machine: answers `pong` to whoever reaches it."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(100))
                    connection.sendall(b"pong")

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def prepare(site: Worksite, port: int, *, setup: str = "true") -> str:
    """Write boundary and settings; gives the command that talks to the service."""
    talk = TALK.format(host=HOST, port=port)
    rule = {"host": HOST, "port": port, "purpose": "service", "cidrs": ["127.0.0.1/32"]}
    commands = {
        "toolchains": ["system"],
        "path": ["/usr/bin"],
        "setup": [["sh", "-c", setup]],
        "checks": [
            {"name": "test", "kind": "test", "run": ["sh", "-c", f"{talk} && sh check.sh"], "timeout": "60s"},
        ],
    }
    site.boundary({"network.validation": [rule], "commands.repositories": {REPOSITORY: commands}})
    with site.settings_path.open("a") as settings:
        settings.write(f'[egress.hosts]\n"{HOST}" = ["127.0.0.1"]\n')
    return talk


def test_a_check_reaches_its_service_and_nobody_else_does(site: Worksite) -> None:
    with service() as (port, heard):
        talk = prepare(site, port, setup=f"! {TALK.format(host=HOST, port=port)}")
        tunnel = (
            "printf 'CONNECT db.example.internal:%s HTTP/1.1\\r\\nHost: db.example.internal\\r\\n\\r\\n' "
            f"{port} > ask; python3 -c \"import socket; s = socket.create_connection(('127.0.0.1', 3128), 5); "
            "s.sendall(open('ask', 'rb').read()); print(s.recv(200))\"; rm ask"
        )
        site.story(f"! {talk}; {tunnel}; echo 2 > value.txt")
        code, view = site.run()
        assert (code, view.outcome) == (0, "pull_request")
    decided = [event for event in site.events(view.id) if isinstance(event, e.EgressDecided)]
    outcomes = {(one.role, one.phase, one.decision, one.rule) for one in decided}
    named = f"network.validation.{HOST}:{port}"
    assert outcomes == {
        ("setup", "setup", "deny", "network.setup"),
        ("agent", "agent", "deny", "network.agent"),
        ("checks:base", "validation", "allow", named),
        ("checks:patch", "validation", "allow", named),
    }
    assert heard == [b"ping"] * 2, "once for each side, by the checks alone"
    assert {one.method for one in decided if one.role == "agent"} == {"TCP", "CONNECT"}
    allowed = next(one for one in decided if one.decision == "allow")
    assert (allowed.address, allowed.sent, allowed.received, allowed.host, allowed.port) == (
        "127.0.0.1",
        4,
        4,
        HOST,
        port,
    )
    shown = json.loads(site.ringfence("show", view.id, "--network", "--json").stdout)
    assert [one["destination"] for one in shown] == [f"{HOST}:{port}"] * len(decided)
    assert HOST in site.ringfence("show", view.id, "--network").stdout
    assert named in site.ringfence("show", view.id).stdout
    bundle = site.state / "bundles" / f"{view.id}.bundle.tar"
    assert site.ringfence("verify", str(bundle)).returncode == 0


def test_d27_a_run_stops_when_its_proxy_dies(site: Worksite) -> None:
    with service() as (port, _heard):
        prepare(site, port)
        site.story("sleep 300")
        running = site.start("run", TICKET)
        site.until_at_work(running)
        time.sleep(1)
        os.kill(proxy_of(running.pid), signal.SIGKILL)
        assert running.wait(30) == 7
    (view,) = site.views()
    assert (view.outcome, view.reason) == ("stopped", "egress_dead")
    assert list((site.state / "runs").iterdir()) == []


def proxy_of(worker: int) -> int:
    """The process of the egress proxy below a worker."""
    for task in Path(f"/proc/{worker}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"ringfence.egress.main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("there is no proxy")
