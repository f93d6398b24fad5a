"""docs/boundary.md: the reference of the document, made from the models, so that it cannot say anything else."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic.fields import FieldInfo

from ringfence.domain.boundary import Boundary, Section
from ringfence.domain.parse.shape import form_of_field

_HEAD = """\
# The boundary document

One reviewed file that says what a worker may do. This page is made from the models that read it
(`ringfence boundary schema --markdown`); a test keeps it in step.

- Every key that is not marked *optional* must be there: a question without an answer is an error.
- A key that is not listed here is an error, and so are anchors, aliases, tags and characters that cannot be seen.
- Sizes are written as `512MiB` (B, KiB, MiB, GiB), durations as `10m` (s, m, h, d).
- Paths and branches are matched by globs in which `*` is anything within one component and `**` any number of
  components. A path pattern with a slash in it is anchored at the root, another one matches at any depth; both
  cover what lies below. Case is ignored.
- `ringfence boundary check FILE` prints every problem as `file:line:column: what — what to write instead`.
  What a section says wrongly in itself is always shown; what it says of other sections (a name that is listed
  nowhere, a class that a route may not see) once those sections are right in themselves.
- What this version cannot enforce is refused as "not enforced by this version": `inspect` in a rule under `network`,
  and secrets with purpose `registry`.

Two documents that pass: [minimal](../examples/boundaries/minimal.yaml), [team](../examples/boundaries/team.yaml).
For editors: `ringfence boundary schema > boundary.schema.json`.
"""


def reference() -> str:
    """The whole page."""
    return _HEAD + "".join(_sections(Boundary, ()))


def _sections(section: type[Section], places: tuple[str, ...]) -> Iterator[str]:
    """A table of a section's keys, then the sections inside it; one that stands in several places once."""
    heading = ", ".join(f"`{place}`" for place in places) or "Top level"
    yield f"\n## {heading}\n\n{(section.__doc__ or '').strip()}\n\n| key | form | meaning |\n| --- | --- | --- |\n"
    inner: dict[type[Section], tuple[str, ...]] = {}
    above = f"{places[0]}." if places else ""
    for key, field in section.model_fields.items():
        form, meaning = form_of_field(field), field.description or ""
        yield f"| `{key}`{_optional(field)} | {_escaped(form)} | {_escaped(meaning)} |\n"
        found = _section_inside(field.annotation)
        if found is not None:
            inner[found[0]] = (*inner.get(found[0], ()), f"{above}{key}{found[1]}")
    for model, where in inner.items():
        yield from _sections(model, where)


def _optional(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    extra = field.json_schema_extra
    default: Any = extra.get("default") if isinstance(extra, dict) else field.default
    if default is None or default == () or default == {} or isinstance(field.default, Section):
        return " *optional*"
    shown = ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f" *optional*, else `{shown.lower() if isinstance(default, bool) else shown}`"


def _section_inside(annotation: Any) -> tuple[type[Section], str] | None:
    """The model that a field holds, and how its place is written: itself, in a list, or by name."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, ""
    for argument in get_args(annotation):
        found = _section_inside(argument)
        if found is not None:
            return found[0], "[]" if getattr(annotation, "__origin__", None) is tuple else ".NAME"
    return None


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*.", "\\*.")
