"""Starts Mistral Vibe inside the sandbox: its client with the server that belongs to it, both from the agent's tree.

The worker never imports this file. Vibe's own launcher looks for the server beside the program that started it, which
would be the checkout here.
"""

import os
import shlex
import sys

TREE = "/ringfence/agent"
SERVER = (
    f"import sys; sys.path.insert(0, {TREE!r}); sys.argv[0] = 'vibe-app-server'; "
    "from vibe.app_server.stdio import main; sys.exit(main())"
)

if __name__ == "__main__":
    client = f"{TREE}/vibe/_bin/vibe-rs"
    server = shlex.join((sys.executable, "-I", "-c", SERVER))
    os.execve(client, ["vibe", *sys.argv[1:]], {**os.environ, "VIBE_APP_SERVER_CMD": server})  # noqa: S606, TID251
