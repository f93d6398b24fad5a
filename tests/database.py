"""A real PostgreSQL of its own for a test, on the loopback address; skipped where the machine has none."""

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
