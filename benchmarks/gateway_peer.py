"""Another Python gateway for models, LiteLLM's proxy, in an environment of its own, for comparison in the same run."""

import http.client
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = "litellm[proxy]"
_PLACE = Path(tempfile.gettempdir()) / "ringfence-bench-litellm"
_KEY = "sk-peer-0123456789"


def installed() -> Path:
    """Its environment; made once, with the package index that is configured here. Raises CalledProcessError."""
    program = _PLACE / "bin" / "litellm"
    if not program.exists():
        venv.create(_PLACE, with_pip=True)
        subprocess.run([_PLACE / "bin" / "python", "-m", "pip", "install", "-q", _PACKAGE], check=True)
    return program


@contextmanager
def peer(upstream: int) -> Iterator[tuple[int, int]]:
    """The proxy before an upstream, with one worker and without logging: its port and its process id."""
    program = installed()
    config = (
        "model_list:\n"
        "  - model_name: m\n"
        "    litellm_params:\n"
        "      model: openai/m\n"
        f"      api_base: http://127.0.0.1:{upstream}/v1\n"
        f"      api_key: {_KEY}\n"
        "litellm_settings: { telemetry: false, set_verbose: false }\n"
    )
    port = _free()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "config.yaml"
        path.write_text(config)
        words = [program, "--config", path, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        quiet = {"PATH": "/usr/bin:/bin", "HOME": place, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
        quiet["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"  # as the doors here ask for no key either
        with subprocess.Popen(
            words, env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=place
        ) as running:
            try:
                _wait(port, running)
                yield port, running.pid
            finally:
                running.kill()


def _free() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _wait(port: int, running: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and running.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health/liveliness")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.5)
    sys.exit("the peer did not start")
