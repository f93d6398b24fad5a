"""E12: a package that is replaced, or that brings files which an interpreter runs by itself, is not in what holds keys.

The worker is started by an interpreter whose packages were tampered with: each of its programs runs what was planted,
and the processes of the gateway and of the egress proxy do not.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

#: What a planted file does: it says in which process it ran.
PLANTED = "import os; open({marks!r}, 'a').write(str(os.getpid()) + chr(10))\n"
WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
{imports}
user = None if sys.argv[2] == '-' else int(sys.argv[2])
with {process} as running:
    print(running.pid, flush=True)
    assert running.alive()
    sys.stdin.read()
"""
GATEWAY = (
    "from ringfence.gateway.call import RouteConfig\nfrom ringfence.gateway.process import GatewayProcess\n"
    "from ringfence.ports.broker import Secret",
    "GatewayProcess((RouteConfig('main', 'openai', 'http://127.0.0.1:9/v1', ('m',), Secret('sk-canary-1')),), print,"
    " user=user)",
)
EGRESS = ("from ringfence.egress.process import EgressProcess", "EgressProcess(print, user=user)")


def tampered(folder: Path, marks: Path) -> Path:
    """An interpreter with the packages of this one, beside files that Python runs when it starts."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = Path(
        subprocess.run(
            [folder / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()
    )  # fmt: skip
    line = PLANTED.format(marks=str(marks))
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "real.pth").write_text("".join(f"{path}\n" for path in sorted(ours)))
    (packages / "evil.pth").write_text(line)
    for name in ("sitecustomize.py", "usercustomize.py"):
        (packages / name).write_text(line)
    # A package of the name of one that everybody imports, and one of the standard library's names.
    for name in ("certifi", "typing_extensions", "json", "ssl", "asyncio"):
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text(line)
    return folder / "bin" / "python"


@pytest.mark.parametrize(("imports", "process"), [GATEWAY, EGRESS], ids=["gateway", "egress"])
def test_e12_nothing_that_packages_bring_along_runs_where_keys_are(tmp_path: Path, imports: str, process: str) -> None:
    marks = tmp_path / "marks"
    marks.touch(mode=0o666)
    marks.chmod(0o666)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)  # the process's own user must be able to leave its mark
    python = tampered(tmp_path / "venv", marks)
    user = "64921" if os.geteuid() == 0 else "-"
    source = str(Path(__file__).parents[2] / "src")
    hostile = {"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(marks), "LD_PRELOAD": "", "PATH": os.environ["PATH"]}
    (tmp_path / "h11.py").write_text("raise SystemExit('the wrong h11')\n")
    code = WORKER.format(imports=imports, process=process).replace(
        "sys.path.insert(0, sys.argv[1])", f"sys.path.remove({str(tmp_path)!r}); sys.path.insert(0, sys.argv[1])"
    )
    with subprocess.Popen(
        [str(python), "-c", code, source, user], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=hostile
    ) as worker:
        assert worker.stdout is not None and worker.stdin is not None
        pid = worker.stdout.readline().strip()
        maps = Path(f"/proc/{pid}/maps").read_text() if os.geteuid() == 0 else ""
        worker.stdin.close()
        assert worker.wait(60) == 0
    ran = marks.read_text().split()
    assert str(worker.pid) in ran, "the plants work: the worker's own interpreter ran them"
    assert pid.isdigit() and pid not in ran
    assert str(tmp_path / "venv" / "lib") not in maps
