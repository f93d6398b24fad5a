"""An internal service that only the validation phase may reach: a real PostgreSQL, and its own client in sandboxes."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ringfence.domain import events as e
from worksite import REPOSITORY, Worksite

HOST = "stock-db.example.internal"
ASKED = "select wanted from stock where sku = 'GLV-M'"


@dataclass(frozen=True)
class Postgres:
    """A cluster of its own, on a free port of the loopback address."""

    port: int
    programs: Path
    log: Path

    def ask(self, statement: str) -> str:
        """What the server answers to somebody outside of any sandbox."""
        argv = [self.programs / "psql", "-XtAh", "127.0.0.1", "-p", str(self.port), "-U", "checks", "-c", statement]
        environment = {"PATH": "/usr/bin:/bin", "PGDATABASE": "postgres"}
        return subprocess.run(
            argv, capture_output=True, text=True, check=True, timeout=60, env=environment
        ).stdout.strip()

    def connections(self) -> int:
        """How many connections the server has ever authorized, by its own log."""
        return self.log.read_text(errors="replace").count("connection authorized")


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if not found:
        pytest.skip("there is no PostgreSQL server on this machine (Debian package: postgresql)")
    return found[-1].parent


def _somebody() -> list[str]:
    """PostgreSQL refuses to run as root, and wants a user that has a name."""
    if os.geteuid() != 0:
        return []
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = known.get("postgres") or known["nobody"]
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server with one table, ended with everything that it has on disk."""
    programs, somebody = _programs(), _somebody()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # Not below the test's own directory, which belongs to another user when the tests run as root.
    place = Path(tempfile.mkdtemp(prefix="ringfence-postgres-"))
    if somebody:
        os.chown(place, int(somebody[1].partition("=")[2]), -1)
    cluster, log = place / "cluster", place / "log"

    def run(*argv: object) -> None:
        done = subprocess.run(
            [*somebody, *map(str, argv)], cwd=place, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")

    try:
        run(programs / "initdb", "-D", cluster, "-U", "checks", "-A", "trust", "-N", "--no-instructions")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c log_connections=on -c fsync=off"
        # pg_ctl lets the server live on; what it prints goes to the log and not into a pipe that we would wait for.
        options += f" -c unix_socket_directories={place}"
        run(programs / "pg_ctl", "-D", cluster, "-l", log, "-o", options, "-w", "-t", "240", "start")
        try:
            server = Postgres(port, programs, log)
            server.ask("create table stock (sku text primary key, wanted integer not null)")
            server.ask("insert into stock values ('GLV-M', 2)")
            yield server
        finally:
            run(programs / "pg_ctl", "-D", cluster, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(place)


def prepare(site: Worksite, server: Postgres) -> str:
    """Boundary and settings; gives the command that asks the database, as any developer would type it."""
    psql = f"psql -XtAw -h {HOST} -p {server.port} -U checks -d postgres -c"
    ask = f'{psql} "{ASKED}"'
    rule = {"host": HOST, "port": server.port, "purpose": "service", "cidrs": ["127.0.0.1/32"]}
    check = f'wanted=$({ask}) && test "$(cat value.txt)" = "$wanted" && {psql} "insert into stock values (\'seen\', 1)'
    check += ' on conflict (sku) do update set wanted = stock.wanted + 1"'
    commands = {
        "toolchains": ["system"],
        "path": [str(server.programs), "/usr/bin"],
        "setup": [["sh", "-c", f"! {ask} 2>setup.said; rm setup.said"]],
        "checks": [{"name": "test", "kind": "test", "run": ["sh", "-c", check], "timeout": "60s"}],
    }
    site.boundary({"network.validation": [rule], "commands.repositories": {REPOSITORY: commands}})
    with site.settings_path.open("a") as settings:
        settings.write(f'[egress.hosts]\n"{HOST}" = ["127.0.0.1"]\n')
    return ask


def test_a_check_talks_to_a_real_postgres_that_the_agent_cannot_reach(site: Worksite) -> None:
    with postgres() as server:
        ask = prepare(site, server)
        before = server.connections()
        # The agent tries by name, then by the address and every socket that a client could find by itself.
        tries = (
            f"{ask} && echo 9 > value.txt; psql -XtAwh 127.0.0.1 -p {server.port} -U checks -d postgres -c 'table x'"
        )
        site.story(f"{tries}; psql -XtAwlU checks; echo 2 > value.txt")
        code, view = site.run()
        assert (code, view.outcome) == (0, "pull_request"), view
        # That the base is wrong only the database could tell; the patch is right, and the check wrote so down.
        assert server.ask("select wanted from stock where sku = 'seen'") == "1"
        assert server.connections() - before == 3 + 1, "twice by the check on the patch, once on the base, once by us"
    ended = [event for event in site.events(view.id) if isinstance(event, e.CheckEnded)]
    assert [(one.side, one.passed) for one in ended] == [("base", False), ("patch", True)]
    named = f"network.validation.{HOST}:{server.port}"
    decided = [event for event in site.events(view.id) if isinstance(event, e.EgressDecided)]
    assert {(one.phase, one.decision, one.rule) for one in decided} == {
        ("setup", "deny", "network.setup"),
        ("agent", "deny", "network.agent"),
        ("validation", "allow", named),
    }
    refused = [one for one in decided if one.role == "agent"]
    assert {one.destination for one in refused} == {f"{HOST}:{server.port}"}
    assert len(refused) >= 2, "by its name, and by the address of the door"
    assert named in site.ringfence("show", view.id, "--network").stdout
