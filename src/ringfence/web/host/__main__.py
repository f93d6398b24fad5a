"""`python -m ringfence.web.host ROOT [PORT]`: serve a host without the rest of the commands."""

import sys
from pathlib import Path

from ringfence.web.host.serve import serve


def main(argv: list[str]) -> int:
    """Serve until SIGTERM; the address is the first line of standard output."""
    if len(argv) not in (2, 3):
        print("usage: python -m ringfence.web.host ROOT [PORT]", file=sys.stderr)
        return 2
    port = int(argv[2]) if len(argv) == 3 else 0
    return serve(Path(argv[1]), port=port, ready=lambda url: print(url, flush=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
