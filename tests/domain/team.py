"""The examples' boundaries: their text, the team's as a value, what is wrong with a changed one, what a rule denies."""

from pathlib import Path

from ringfence.domain.boundary import Boundary
from ringfence.domain.decision import Deny
from ringfence.domain.parse import Problem, parse

EXAMPLES = Path(__file__).parents[2] / "examples" / "boundaries"
TEAM = (EXAMPLES / "team.yaml").read_text()
MINIMAL = (EXAMPLES / "minimal.yaml").read_text()
REPOSITORY = "acme/payments"


def problems_of(text: str) -> tuple[Problem, ...]:
    found = parse(text)
    assert not isinstance(found, Boundary)
    return found


def changed(old: str, new: str, text: str = TEAM) -> str:
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def boundary(text: str = TEAM) -> Boundary:
    found = parse(text)
    assert isinstance(found, Boundary), found
    return found


BOUNDARY = boundary()


def denied_by(decision: object) -> str:
    assert isinstance(decision, Deny), decision
    return decision.rule
