"""Run as a program of its own: make listening sockets inside a sandbox's network namespace and hand them back.

A worker that is an ordinary user may enter the namespace only through the user namespace that owns it, and
that takes a process with a single thread. Arguments: the descriptor to answer on, a descriptor of the network
namespace, then ports. It imports nothing of the package and ends when it has answered.
"""

import ctypes
import errno
import fcntl
import os
import socket
import sys
import time


def listen(port: int) -> socket.socket:
    """A listening socket on this namespace's 127.0.0.1; waits up to a second for `lo` to be up."""
    deadline = time.monotonic() + 1.0
    while True:
        door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            door.bind(("127.0.0.1", port))
            door.listen(128)
        except OSError as error:
            door.close()
            if error.errno != errno.EADDRNOTAVAIL or time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return door


def enter(network: int) -> None:
    """Join the user namespace that owns the network namespace, then the network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    owner = fcntl.ioctl(network, 0xB701)  # NS_GET_USERNS
    for fd, kind in ((owner, 0x10000000), (network, 0x40000000)):  # CLONE_NEWUSER, CLONE_NEWNET
        if libc.setns(fd, kind) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def main(answer: int, network: int, ports: list[int]) -> None:
    """Send one descriptor for each port; on failure send the reason alone."""
    with socket.socket(fileno=answer) as wire:
        try:
            enter(network)
            doors = [listen(port) for port in ports]
        except OSError as error:
            wire.send(str(error).encode())
            return
        socket.send_fds(wire, [b"+"], [door.fileno() for door in doors])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), [int(word) for word in sys.argv[3:]])
