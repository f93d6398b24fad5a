"""From the text of a boundary to a `Boundary`, or to every problem that it has.

Three looks at one document: its form (tree.py), its single values (the models), and what its parts say of
each other (crosschecks). The later ones see what the earlier ones could read, so that one run of
`ringfence boundary check` shows everything there is to mend.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ringfence.domain.boundary import Boundary
from ringfence.domain.parse.crosschecks import CROSSCHECKS
from ringfence.domain.parse.messages import explain
from ringfence.domain.parse.plain_text import unfit_text
from ringfence.domain.parse.problem import Finding, Place, Problem, written
from ringfence.domain.parse.tree import Tree, read
from ringfence.domain.redaction import Redactor


def parse(text: str, *, source: str = "boundary.yaml") -> Boundary | tuple[Problem, ...]:
    """The boundary that a text says, or all of its problems by position. Never raises, whatever the text."""
    tree, problems = read(text, source)
    redactor = Redactor()
    if problems and tree.is_unread(()):
        return _in_order(problems)
    findings: list[Finding] = []
    boundary: Boundary | None = None
    try:
        boundary = Boundary.model_validate(tree.value)
    except ValidationError as error:
        findings += explain(error, tree, ())
    unfit = tuple(unfit_text(tree, text, redactor))
    known: dict[str, Any] = dict(boundary) if boundary is not None else _sound_sections(tree.value)
    # What was left to fill in needs no second complaint about what it is not yet.
    left = {finding.steps for finding in unfit if finding.steps}
    findings = [*unfit, *(finding for finding in (*findings, *_crosschecked(known)) if finding.steps not in left)]
    problems += [_placed(finding, tree, source, redactor) for finding in findings if not tree.is_unread(finding.steps)]
    if problems or boundary is None:
        return _in_order(problems)
    return boundary


def digest(text: str | bytes) -> str:
    """SHA-256 of the document's exact bytes, as evidence names it."""
    return (
        "sha256:"
        + hashlib.sha256(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")).hexdigest()
    )


def _sound_sections(value: Any) -> dict[str, Any]:
    """The sections that are right in themselves, when others are not."""
    if not isinstance(value, Mapping):
        return {}
    sound: dict[str, Any] = {}
    for name, field in Boundary.model_fields.items():
        if name not in value:
            continue
        adapter: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())
        try:
            sound[name] = adapter.validate_python(value[name], strict=True)
        except ValidationError:
            continue
    return sound


def _crosschecked(known: Mapping[str, Any]) -> Iterator[Finding]:
    """What the parts say of each other, where all that a check needs is sound."""
    boundary = Boundary.model_construct(**known)
    for check in CROSSCHECKS:
        if all(name in known for name in check.needs):
            yield from check.find(boundary)


def _placed(finding: Finding, tree: Tree, source: str, redactor: Redactor) -> Problem:
    at = tree.place(finding.steps, at_key=finding.at_key)
    place = at if finding.line is None else Place(finding.line, 1)
    what = redactor.redact_text(finding.what)
    return Problem(source, place.line, place.column, written(finding.steps), what, finding.mend)


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    unique = dict.fromkeys(problems)
    return tuple(sorted(unique, key=lambda one: (one.line, one.column, one.path, one.what)))
