"""What no value of a boundary may hold, wherever it stands: a secret, or a place left to fill in."""

from collections.abc import Iterator
from typing import Any

from ringfence.domain.parse.problem import Finding, Steps
from ringfence.domain.parse.tree import Tree
from ringfence.domain.redaction import Redactor


def unfit_text(tree: Tree, text: str, redactor: Redactor) -> Iterator[Finding]:
    """Secrets, in values and in comments, and what `ringfence init` could not know."""
    secret_lines: set[int] = set()
    for steps, value in _texts(tree.value, ()):
        if value.startswith("<") and value.endswith(">"):
            yield Finding(steps, f"{value[:80]!a} was left to fill in", "write what it stands for, without the < >")
        found = redactor.find(value.encode("utf-8", "replace"))
        if found:
            secret_lines.add(tree.place(steps).line)
            yield Finding(steps, *_secret(found[0].name))
    for finding in redactor.find(text.encode("utf-8", "replace")):
        if finding.line not in secret_lines:
            yield Finding((), *_secret(finding.name), line=finding.line)


def _secret(name: str) -> tuple[str, str]:
    what = f"something that looks like a secret ({name})"
    return what, "remove it and have it revoked; settings say where secrets are kept, the boundary only names them"


def _texts(value: Any, steps: Steps) -> Iterator[tuple[Steps, str]]:
    """Every text of the document; it is never deeper than tree.py allows."""
    if isinstance(value, str):
        yield steps, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*steps, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _texts(inner, (*steps, place))
