"""The proxy's whole suite for an ordinary user, who has a network of their own in a user namespace alone.

A process with threads cannot enter one, so that the suite is run by a process that begins in it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() == 0, reason="as root the suite of the proxy runs itself")
def test_the_proxy_holds_for_an_ordinary_user(tmp_path: Path) -> None:
    inside = ["unshare", "--user", "--map-current-user", "--keep-caps", "--net"]
    suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inner'}"]
    files = [
        str(Path(__file__).with_name(name)) for name in ("test_proxy.py", "test_inspection.py", "test_upstream.py")
    ]
    done = subprocess.run([*inside, *suite, *files], capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert " skipped" not in done.stdout.splitlines()[-1], "they ran"
