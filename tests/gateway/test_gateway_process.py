"""The gateway's process: what it holds, what it gave up, what happens when it or its worker dies."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from agent_side import KEY, POLICY, USER, Records, Start, listening, route
from cloud_upstream import Google
from model_upstream import either, silent, upstream

from ringfence.domain.errors import ControlMissing, InputError
from ringfence.gateway.process import GatewayProcess
from waiting import until


def proc(pid: int | None, name: str) -> bytes:
    """A file of /proc, or nothing when this user may not read it, which is as good."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except PermissionError:
        return b""


def gone(pid: int) -> bool:
    """Whether a process has ended, be it as a zombie."""
    try:
        return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return True


def wait_until_gone(pid: int) -> None:
    until(lambda: gone(pid), 20)


def test_the_credential_is_in_no_argument_and_no_environment(start: Start) -> None:
    # E09, as far as files of /proc show it.
    with upstream(either) as up:
        agent = start(route(up.url))
        assert agent.chat().status == 200
        shown = b"".join(proc(agent.gateway.pid, name) for name in ("cmdline", "environ", "comm", "status", "maps"))
    assert KEY.encode() not in shown
    assert proc(agent.gateway.pid, "environ") == b""


def test_the_process_gave_up_what_it_can(start: Start) -> None:
    with upstream(either) as up:
        agent = start(route(up.url))
        lines = proc(agent.gateway.pid, "status").decode().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        limits = proc(agent.gateway.pid, "limits").decode()
        owner = Path(f"/proc/{agent.gateway.pid}/mem").stat().st_uid
        expected = str(USER if USER is not None else os.getuid())
        assert set(status["Uid"].split()) == {expected}
        assert status["NoNewPrivs"] == "1"
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        if USER is not None:
            assert set(status["Gid"].split()) == {expected}
            assert status["Groups"].strip() == ""
        # Not dumpable: the files of a process of the same user belong to root.
        assert owner == 0
        core = next(line for line in limits.splitlines() if line.startswith("Max core"))
        assert core.split()[4:6] == ["0", "0"]


def test_another_process_of_the_same_user_cannot_read_its_memory(start: Start) -> None:
    # C17, E09: the same user, and no ptrace. A root worker's agent is another user on top of that.
    attempt = (
        "import os,sys\n"
        "pid, user = int(sys.argv[1]), sys.argv[2]\n"
        "if user != '-': os.setgroups([]); os.setresgid(*[int(user)]*3); os.setresuid(*[int(user)]*3)\n"
        "for name in ('mem', 'environ', 'maps', 'fd'):\n"
        "    path = f'/proc/{pid}/{name}'\n"
        "    try: os.listdir(path) if name == 'fd' else open(path, 'rb').read(1)\n"
        "    except PermissionError: continue\n"
        "    sys.exit(f'read {name}')\n"
    )
    with upstream(either) as up:
        agent = start(route(up.url))
        user = "-" if USER is None else str(USER)
        done = subprocess.run([sys.executable, "-c", attempt, str(agent.gateway.pid), user], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_process_imports_little(start: Start) -> None:
    # E12: whatever it imports could read the keys.
    code = (
        "import sys; sys.path += sys.argv[1:3]; import ringfence.gateway_main; import ssl, encodings.idna\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))\n"
        "print(*sorted(name for name in sys.modules if name.startswith('ringfence.')))"
    )
    import h11

    import ringfence

    paths = [str(Path(module.__file__ or "").parents[1]) for module in (ringfence, h11)]
    command = [sys.executable, "-I", "-S", "-c", code, *paths]
    packages, modules = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    assert packages.split() == ["__main__", "h11", "ringfence"]
    rings = {name.split(".")[1] for name in modules.split()}
    assert rings == {"adapters", "child", "domain", "gateway", "gateway_main", "ports"}
    assert not {"ringfence.gateway.process", "ringfence.child.process"} & set(modules.split())
    assert {name for name in modules.split() if name.startswith("ringfence.domain.")} == {
        "ringfence.domain.decision", "ringfence.domain.errors", "ringfence.domain.failures", "ringfence.domain.money",
        "ringfence.domain.wires",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "packages"),
    [
        ("openai", set()), ("azure", set()), ("bedrock", {"botocore", "dateutil", "six", "urllib3"}),
        ("vertex", {"cryptography", "_cffi_backend", "_openssl"}),
    ],
)  # fmt: skip
def test_a_vendors_library_is_imported_for_its_own_routes_and_whole_before_keys_come(
    kind: str, packages: set[str]
) -> None:
    # E12. What is imported after the change of user may not be readable any more, and would fail within a run.
    code = (
        "import asyncio, encodings.idna, ssl, sys; sys.path += sys.argv[1:3]\n"
        "import ringfence.gateway_main as gateway\n"
        "from ringfence.ports.broker import Secret\n"
        "from ringfence.ports.model_provider import ProviderRequest\n"
        "make = gateway._maker(sys.argv[3])\n"
        "before = set(sys.modules)\n"
        "print(*sorted({name.split('.')[0] for name in before} - set(sys.stdlib_module_names)))\n"
        "config = {'endpoint': 'http://127.0.0.1:1', 'authorities': '', 'region': 'eu-west-1', 'api_version': ''}\n"
        "request = ProviderRequest(sys.argv[4], 'm', False, (), b'{}')\n"
        "async def ask():\n"
        "    provider = make(config, Secret(sys.argv[5]))\n"
        "    try:\n"
        "        async with provider.ask(request): pass\n"
        "    except Exception as error: print(type(error).__name__)\n"
        "asyncio.run(ask())\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    import h11

    import ringfence

    paths = [str(Path(module.__file__ or "").parents[1]) for module in (ringfence, h11)]
    wire = {"bedrock": "messages", "vertex": "gemini"}.get(kind, "chat")
    keys = {"bedrock": '{"AccessKeyId": "A", "SecretAccessKey": "B"}', "vertex": Google(either).account(1)}
    command = [sys.executable, "-I", "-S", "-c", code, *paths, kind, wire, keys.get(kind, KEY)]
    found, failed, later = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split("\n")[:3]
    assert set(found.split()) == {"__main__", "h11", "ringfence", *packages}
    assert failed == "HostFailed"  # nobody listens there: it got as far as that
    assert later == ""


def test_a_path_file_of_a_package_does_not_run_in_it(start: Start) -> None:
    # E12: the process is started without `site`, which is what runs .pth files.
    with upstream(either) as up:
        agent = start(route(up.url))
        arguments = proc(agent.gateway.pid, "cmdline").split(b"\0")
    assert not arguments[0] or arguments[1:3] == [b"-I", b"-S"]


def test_a_killed_gateway_is_denied_and_opens_no_door(start: Start) -> None:
    with upstream(either) as up:
        agent = start(route(up.url))
        assert agent.door.denied() is None
        assert agent.gateway.alive()
        os.kill(agent.gateway.pid or 0, signal.SIGKILL)
        wait_until_gone(agent.gateway.pid or 0)
        assert agent.door.denied() == "gateway_dead"
        assert not agent.gateway.alive()
        with (
            listening() as listener,
            pytest.raises(ControlMissing, match="not running") as failure,
            agent.gateway.open(listener, POLICY),
        ):
            pass
        assert failure.value.mend


def test_a_gateway_that_hangs_is_ended_and_denied() -> None:
    # D27: hung is as good as dead.
    with (
        upstream(either) as up,
        GatewayProcess((route(up.url),), Records(), user=USER, patience=1.0) as gateway,
        listening() as listener,
        gateway.open(listener, POLICY) as door,
    ):
        os.kill(gateway.pid or 0, signal.SIGSTOP)
        wait_until_gone(gateway.pid or 0)
        assert door.denied() == "gateway_dead"


def test_a_gateway_that_nobody_uses_stays_alive() -> None:
    with upstream(either) as up, GatewayProcess((route(up.url),), Records(), user=USER, patience=3.0) as gateway:
        time.sleep(4)
        assert gateway.alive()


def test_a_gateway_killed_in_the_middle_of_an_exchange_gives_no_answer(start: Start) -> None:
    with upstream(silent) as up:
        agent = start(route(up.url))
        with ThreadPoolExecutor(1) as pool:
            going = pool.submit(agent.chat)
            until(lambda: up.seen)
            os.kill(agent.gateway.pid or 0, signal.SIGKILL)
            with pytest.raises(ConnectionError):
                going.result(10)
        until(lambda: agent.door.denied())  # the agent may see it a moment before the worker does
        assert agent.door.denied() == "gateway_dead"
    assert [call.phase for call in agent.records.calls] == ["opened"]


def test_the_gateway_dies_with_its_worker() -> None:
    code = (
        "import os, sys, time\n"
        "from ringfence.gateway.call import RouteConfig\n"
        "from ringfence.gateway.process import GatewayProcess\n"
        "user = None if sys.argv[1] == '-' else int(sys.argv[1])\n"
        "routes = (RouteConfig('main', 'openai', 'http://127.0.0.1:9/v1', ('m',)),)\n"
        "with GatewayProcess(routes, print, user=user) as gateway:\n"
        "    print(gateway.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    user = "-" if USER is None else str(USER)
    with subprocess.Popen([sys.executable, "-c", code, user], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        assert not gone(pid)
        worker.kill()
        worker.wait()
        wait_until_gone(pid)


def test_leaving_the_gateway_leaves_no_process_and_no_descriptor() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with upstream(either) as up, GatewayProcess((route(up.url),), Records(), user=USER) as gateway:
        pid = gateway.pid or 0
    assert gone(pid)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could run it as root")
@pytest.mark.parametrize("user", [None, 0])
def test_a_root_worker_must_give_it_a_user(user: int | None) -> None:
    with pytest.raises(ControlMissing, match="root"), GatewayProcess((), Records(), user=user):
        pass


def test_an_unknown_provider_stops_the_start() -> None:
    with pytest.raises(InputError, match="no model provider"):
        GatewayProcess((route("x", provider="telepathy"),), Records(), user=USER).__enter__()


def test_a_door_whose_listener_is_no_socket_is_an_error(start: Start, tmp_path: Path) -> None:
    with upstream(either) as up:
        agent = start(route(up.url))
        closed = socket.socket()
        closed.close()
        with pytest.raises((ControlMissing, OSError)), agent.gateway.open(closed, replace(POLICY, door="x")):
            pass
