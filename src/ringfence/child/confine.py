"""What an enforcement point's process gives up before it reads a byte that a sandbox wrote.

Its memory may hold credentials, so: another user than the worker's when the worker is root, no new
privileges, no core dumps, no debugger and no /proc files for processes of the same user, no files written,
and death with the thread that started it. Linux only.
"""

import ctypes
import os
import resource
import signal

from ringfence.domain.errors import ControlMissing

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_MOST_FILES = 65536


def confine(user: int | None) -> None:
    """Give it all up, for good. Errors: `ControlMissing` when something cannot be given up."""
    os.umask(0o077)
    os.chdir("/")
    _limits()
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    if 0 in (*os.getresuid(), *os.getresgid()):
        raise ControlMissing(
            "an enforcement point would read a sandbox's bytes as root",
            mend="give it a dedicated user that is not root",
        )
    # After the change of user, which clears both of these.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # One descriptor a connection: a run must not be able to use up those of the others.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MOST_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise ControlMissing(
            f"prctl({option}) failed: {os.strerror(ctypes.get_errno())}", mend="Linux 3.5 or newer is needed"
        )
