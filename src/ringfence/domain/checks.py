"""Checks and their reports: what was run, what came out before and after, and what that means.

Nothing here runs a command; the validation stage does, in a sandbox.
"""

from dataclasses import dataclass
from enum import StrEnum

#: The side of a check that was run on the patch, but with its tests as the base commit has them.
BASE_TESTS = "patch with base tests"
SIDES = frozenset({"base", "patch", BASE_TESTS})


class Verdict(StrEnum):
    """What a check says about a patch, seen against the same check on the base commit."""

    FIXED = "failed before, passes now"
    PASSES = "passed before, passes now"
    BROKEN = "passed before, fails now"
    STILL_FAILING = "was already failing"
    NEW_PASS = "not run before, passes now"
    NEW_FAIL = "not run before, fails now"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One command, once, on one tree. `output` is a digest in the content store; `tail` its last lines, redacted."""

    name: str
    kind: str
    argv: tuple[str, ...]
    passed: bool
    exit_code: int | None
    #: Why the sandbox ended the command, if it did: "timeout", "memory", "output", "disk", "processes".
    stopped: str | None
    seconds: float
    output: str
    tail: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one tree (a git tree id, so that what was validated can be compared with what was pushed)."""

    tree: str
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Every required check passed. A report without a required check has not passed."""
        required = [result for result in self.results if result.required]
        return bool(required) and all(result.passed for result in required)

    @property
    def failing(self) -> tuple[CheckResult, ...]:
        """The required checks that failed."""
        return tuple(result for result in self.results if result.required and not result.passed)

    @property
    def line(self) -> str:
        """One line for a person."""
        return ", ".join(f"{result.name} {'passed' if result.passed else 'FAILED'}" for result in self.results)

    def find(self, name: str) -> CheckResult | None:
        """The result of the check called `name`."""
        return next((result for result in self.results if result.name == name), None)


def verdict(before: CheckResult | None, after: CheckResult) -> Verdict:
    """Compare a check on the base commit with the same check on the patch."""
    if before is None:
        return Verdict.NEW_PASS if after.passed else Verdict.NEW_FAIL
    if after.passed:
        return Verdict.PASSES if before.passed else Verdict.FIXED
    return Verdict.BROKEN if before.passed else Verdict.STILL_FAILING
