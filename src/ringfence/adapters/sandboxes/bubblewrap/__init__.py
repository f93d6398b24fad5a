"""Sandboxes made with bubblewrap on this host: namespaces, a system call filter, limits, and doors.

`BubblewrapSandboxes` implements ports/sandbox.py. docs/sandbox.md says what it holds and what it does not.
"""

from ringfence.adapters.sandboxes.bubblewrap.prerequisites import Prerequisite, prerequisites
from ringfence.adapters.sandboxes.bubblewrap.sandboxes import BubblewrapSandboxes

__all__ = ["BubblewrapSandboxes", "Prerequisite", "prerequisites"]
