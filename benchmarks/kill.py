"""From `ringfence halt` to the last packet that a run lets out, against `kill -9` of a bare process.

A real worker carries a run whose agent sends through the door of a service, a packet every millisecond. A listener
of ours notes when each comes. `ringfence halt --all` is started as a person would; the time from there to the last
packet is what counts, and nothing may come afterwards. Then the halt is lifted; the next trial has a run of its own.

`python benchmarks/kill.py [--rounds N] [--seconds S]`
"""

import argparse
import json
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from table import Row, show

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from worksite import Worksite, worksite

HOST = "sink.example.internal"
#: How long nothing may come after a halt, in seconds.
SILENCE = 1.5
AIM = 1.0
SENDER = """import socket, time
while True:
    try:
        with socket.create_connection(({host!r}, {port}), 5) as door:
            while True:
                door.sendall(b'packet\\n')
                time.sleep(0.001)
    except OSError:
        time.sleep(0.01)
"""


class Sink:
    """A listener that notes when the last bytes came, on the clock of `time.monotonic`."""

    def __init__(self, listener: socket.socket) -> None:
        self.port = listener.getsockname()[1]
        self.last = 0.0
        self.packets = 0
        self._listener = listener
        threading.Thread(target=self._accept, daemon=True).start()

    def sending(self, seconds: float = 120.0) -> None:
        """Wait until somebody has been sending for a while."""
        ends, begun = time.monotonic() + seconds, self.packets
        while self.packets < begun + 200:
            if time.monotonic() > ends:
                raise SystemExit("error: nothing came from the sandbox")
            time.sleep(0.01)

    def silent(self) -> float:
        """When the last bytes came, once none have come for long enough."""
        while time.monotonic() < self.last + SILENCE:
            time.sleep(0.05)
        return self.last

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with connection:
            try:
                while piece := connection.recv(65536):
                    self.last = time.monotonic()
                    self.packets += piece.count(b"\n")
            except OSError:
                return


def main() -> None:
    """Measure and print; exit code 1 when a trial missed the aim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="trials; default 20")
    parser.add_argument("--seconds", type=float, default=600.0, help="begin no trial after so long; default 600")
    asked = parser.parse_args()
    ends, trials = time.monotonic() + asked.seconds, []
    with ground() as (site, sink):
        for number in range(asked.rounds):
            if number and time.monotonic() > ends:
                print(f"{number} trials fitted into {asked.seconds:.0f} s, not {asked.rounds}\n")
                break
            trials.append({**halted(site, sink, f"B-{number}"), "bare": bare(sink), "python": nothing()})
    show(rows(trials))
    late = [trial["packet"] for trial in trials if trial["packet"] >= AIM]
    print(f"\n{len(trials) - len(late)} of {len(trials)} trials under {AIM} s")
    raise SystemExit(1 if late else 0)


def rows(trials: list[dict[str, float]]) -> Iterator[Row]:
    """The table."""
    for key, what in (
        ("packet", "`ringfence halt` started, to the last packet"),
        ("process", "  to no process of the sandbox left, as it says"),
        ("door", "  to the last door closed, as it says"),
        ("command", "  to its own end, everything confirmed"),
        ("bare", "`kill -9` of a bare sender begun, to the last packet"),
        ("python", "a Python that does nothing, from start to end"),
    ):
        yield Row(what, "s", tuple(trial[key] for trial in trials))


def halted(site: Worksite, sink: Sink, ticket: str) -> dict[str, float]:
    """One run, ended by a halt in the middle of its agent's work."""
    path = site.ticket(ticket)
    worker = site.start("run", ticket)
    try:
        sink.sending()
        began = time.monotonic()
        done = site.ringfence("halt", "--all", "--reason", "benchmark", "--json")
        command = time.monotonic() - began
        if done.returncode != 0:
            raise SystemExit(f"error: the halt was not confirmed\n{done.stdout}{done.stderr}")
        said, packet = json.loads(done.stdout), sink.silent() - began
        if worker.wait(60) != 7:
            raise SystemExit(f"error: the worker ended with {worker.returncode}")
    finally:
        worker.kill()
        worker.wait()
    path.unlink()
    site.ringfence("resume", "--all")
    return {"packet": packet, "process": said["last_process"], "door": said["last_door"], "command": command}


def bare(sink: Sink) -> float:
    """The same sender without any sandbox, killed by its number."""
    sender = subprocess.Popen([sys.executable, "-c", SENDER.format(host="127.0.0.1", port=sink.port)])
    try:
        sink.sending()
        began = time.monotonic()
        subprocess.run(["kill", "-9", str(sender.pid)], check=True)
        return max(0.0, sink.silent() - began)
    finally:
        sender.kill()
        sender.wait()


def nothing() -> float:
    """How long this machine takes to start an interpreter now: the command is a Python program."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.monotonic() - began


@contextmanager
def ground() -> Iterator[tuple[Worksite, Sink]]:
    """A site whose agents may reach the sink and send to it until they are ended."""
    with (
        tempfile.TemporaryDirectory(prefix="ringfence-bench-") as root,
        worksite(Path(root) / "site") as site,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        sink = Sink(listener)
        rule = {"host": HOST, "port": sink.port, "purpose": "service", "cidrs": ["127.0.0.1/32"]}
        site.boundary({"network.agent": [rule], "limits.sandbox.cpu_time": "10m"})
        with site.settings_path.open("a") as settings:
            settings.write(f'[egress.hosts]\n"{HOST}" = ["127.0.0.1"]\n')
        site.story(f"python3 -c {shlex.quote(SENDER.format(host=HOST, port=sink.port))}")
        yield site, sink


if __name__ == "__main__":
    main()
