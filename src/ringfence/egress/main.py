"""The entry of the egress proxy's process: gives up what it can, then serves. Never started by a person.

It imports nothing of the worker but this, and no packages but h11, cryptography (certificates of inspected hosts) and
ahocorasick_rs (what must not leave).
"""

import asyncio
import encodings.idna  # noqa: F401 - looked up by name later, when this user may not read the library any more
import socket
from collections.abc import Sequence

from ringfence.child.confine import confine
from ringfence.child.wire import encode
from ringfence.domain.errors import RingfenceError
from ringfence.egress.authority import Authority
from ringfence.egress.server import serve_doors


def main(arguments: Sequence[str]) -> int:
    """Arguments: the descriptors of the control channel and of the doors, and a user id or `-`."""
    control = socket.socket(fileno=int(arguments[0]))
    doors = socket.socket(fileno=int(arguments[1]))
    user = None if arguments[2] == "-" else int(arguments[2])
    Authority(0.0, 1.0).context("warm.example.internal")  # what is imported late is imported now, for the same reason
    try:
        confine(user)
    except (RingfenceError, OSError) as error:
        control.sendall(encode({"kind": "failed", "what": f"the egress proxy cannot be confined: {error}"}))
        return 3
    asyncio.run(serve_doors(control, doors))
    return 0
