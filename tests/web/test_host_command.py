"""`ringfence host` as an operator types it."""

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import httpx2

from hosting import run_git


def ringfence(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ringfence.cli.main", "host", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_host_is_made_filled_and_served(tmp_path: Path) -> None:
    root, source, token_file = str(tmp_path / "root"), tmp_path / "source", tmp_path / "writer.token"
    source.mkdir()
    (source / "a.txt").write_text("a\n")
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"prefix": "bot/", "approvals": 2}))
    assert ringfence("init", "--root", root).returncode == 0
    made = ringfence("add-repository", "--root", root, "demo/a", "--from", str(source), "--policy", str(policy))
    assert made.returncode == 0, made.stderr
    allow = ("--allow", "demo/a=write:bot/")
    words = ("add-principal", "--root", root, "writer", "--kind", "worker", *allow, "--token-file", str(token_file))
    assert ringfence(*words).returncode == 0
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    shown = ringfence("add-principal", "--root", root, "alice", "--kind", "human", "--allow", "demo/a=review")
    assert shown.stdout.startswith("rfh_")
    serving = [sys.executable, "-m", "ringfence.cli.main", "host", "serve", "--root", root, "--json"]
    with subprocess.Popen(serving, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            url = json.loads(server.stdout.readline())["url"]
            token = token_file.read_text().strip()
            assert "refs/heads/main" in run_git(tmp_path, "ls-remote", f"{url}/demo/a.git", token=token).stdout
            link = ringfence("login", "--root", root, "alice", "--url", url).stdout.strip()
            with httpx2.Client(trust_env=False, verify=False) as client:
                assert client.get(link).status_code == 303
                assert "demo/a" in client.get(url + "/").text
            assert ringfence("remove-principal", "--root", root, "writer").returncode == 0
            assert run_git(tmp_path, "ls-remote", f"{url}/demo/a.git", token=token, check=False).returncode == 128
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0


def test_faults_are_said_with_a_mend_and_exit_code_2(tmp_path: Path) -> None:
    root, policy = str(tmp_path / "root"), tmp_path / "policy.json"
    policy.write_text('{"approvals": 0}')
    faults = [
        ringfence("serve", "--root", str(tmp_path / "none")),
        ringfence("serve", "--root", root, "--host", "0.0.0.0"),
        ringfence("add-repository", "--root", root, "demo/a", "--policy", str(policy)),
        ringfence("add-repository", "--root", root, "../a"),
        ringfence("login", "--root", root, "nobody"),
    ]
    ringfence("init", "--root", root)
    faults += [
        ringfence("serve", "--root", root, "--host", "0.0.0.0"),
        ringfence("serve", "--root", root, "--host", "0.0.0.0", "--url", "http://x.example.internal"),
        ringfence("add-principal", "--root", root, "w", "--kind", "root", "--allow", "demo/a=read"),
        ringfence("add-principal", "--root", root, "w", "--kind", "worker", "--allow", "demo/a=admin"),
        ringfence("remove-principal", "--root", root, "nobody"),
    ]
    for fault in faults:
        assert fault.returncode in (2, 3), (fault.args, fault.stderr)
        assert fault.stderr.startswith("error: ") and "Traceback" not in fault.stderr, fault.stderr
