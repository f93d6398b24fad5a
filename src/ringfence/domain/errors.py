"""The exceptions of the worker: the world failed, and a person must be told what, where and how to mend it.

Expected outcomes (a refusal, a failed check, a spent budget) are values, never exceptions.
"""


class RingfenceError(Exception):
    """The world failed: `what` happened, `where`, and `mend`: what the operator can do."""

    #: The exit code of a command that ends with this error (docs/commands.md lists them).
    exit_code = 1

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.mend = mend

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.mend:
            lines.append(f"  mend:  {self.mend}")
        return "\n".join(lines)


class InputError(RingfenceError):
    """A document, an option or a ticket that a person wrote is not usable as it stands."""

    exit_code = 2


class ControlMissing(RingfenceError):
    """A control that the boundary demands cannot be had here: the run stops, it never goes on without."""

    exit_code = 3


class HostFailed(RingfenceError):
    """The code host, the tracker or a model provider answered wrongly or not at all."""

    exit_code = 4


class EvidenceBroken(RingfenceError):
    """A log, a statement or a bundle does not hold together."""

    exit_code = 5


class Cancelled(RingfenceError):
    """A person stopped this run."""

    exit_code = 6


class RunStopped(RingfenceError):
    """A stage ended the run with a named reason (`reason` is what is recorded)."""

    exit_code = 7

    def __init__(self, reason: str, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(what, where=where, mend=mend)
        self.reason = reason
