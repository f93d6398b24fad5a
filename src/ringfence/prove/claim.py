"""What is claimed of a boundary, and what became of trying it.

A claim is a sentence in words of this boundary with an attempt that could show it to be false. An attempt that
fails for a reason of its own has shown nothing, and counts as broken; only a reason that was known before makes
a claim untestable.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from subprocess import SubprocessError

from ringfence.domain.decision import Decision, Deny
from ringfence.domain.errors import RingfenceError

#: What an attempt can fail of without being at an end.
_ODD = (RingfenceError, OSError, ValueError, LookupError, TypeError, AttributeError, SubprocessError)


class Verdict(StrEnum):
    """What an attempt showed."""

    HOLDS = "holds"
    BROKEN = "broken"
    UNTESTABLE = "not testable here"


@dataclass(frozen=True, slots=True)
class Result:
    """A verdict with what was seen."""

    verdict: Verdict
    evidence: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of a section. `benign`: something allowed that must work, so that a failure is a false positive."""

    section: str
    statement: str
    attempt: Callable[[], Result]
    benign: bool = False


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim that was tried."""

    section: str
    statement: str
    benign: bool
    verdict: Verdict
    evidence: str
    seconds: float


def tried(claim: Claim) -> Proof:
    """Try a claim once."""
    began = time.monotonic()
    try:
        result = claim.attempt()
    except _ODD as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
        result = broken(f"the attempt itself failed, and so showed nothing: {said}")
    seconds = round(time.monotonic() - began, 3)
    return Proof(claim.section, claim.statement, claim.benign, result.verdict, result.evidence, seconds)


def holds(evidence: str) -> Result:
    """The attempt was made and the claim stands."""
    return Result(Verdict.HOLDS, evidence)


def broken(evidence: str) -> Result:
    """The attempt showed that the claim is false, or showed nothing."""
    return Result(Verdict.BROKEN, evidence)


def untestable(reason: str) -> Result:
    """The attempt cannot be made on this host or under this boundary; the reason says why."""
    return Result(Verdict.UNTESTABLE, reason)


def judged(good: bool, evidence: str) -> Result:
    """Holds when `good`, else broken; the evidence says what was seen either way."""
    return holds(evidence) if good else broken(evidence)


def all_denied(decisions: dict[str, Decision]) -> Result:
    """Every one of these must be a denial; the evidence names the rule of each, or what was let through."""
    through = [what for what, decision in decisions.items() if not isinstance(decision, Deny)]
    if through or not decisions:
        return broken(f"allowed: {', '.join(through) or 'nothing was asked'}")
    said = "; ".join(f"{what}: {d.rule}" for what, d in decisions.items() if isinstance(d, Deny))
    return holds(f"{len(decisions)} asked, all denied ({said})")


def all_allowed(decisions: dict[str, Decision]) -> Result:
    """Every one of these must be an allow."""
    refused = [f"{what}: {d.rule} ({d.detail})" for what, d in decisions.items() if isinstance(d, Deny)]
    if refused or not decisions:
        return broken(f"refused: {'; '.join(refused) or 'nothing was asked'}")
    return holds(f"allowed: {', '.join(decisions)}")
