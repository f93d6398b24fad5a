"""The complaints of the models, in the words of someone who has to mend a document."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ringfence.domain.boundary import Section
from ringfence.domain.parse.problem import Finding, Steps, written
from ringfence.domain.parse.shape import field_at, form_of_field, section_at
from ringfence.domain.parse.tree import Tree

_KINDS = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
#: Types of complaint for which the form that the field wants says more than pydantic's sentence.
_WRONG_FORM = ("model_type", "tuple_type", "dict_type", "string_type", "int_type", "float_type", "bool_type")
_TEXT_LIKE = ("date_type", "date_from_datetime_parsing", "literal_error", "string_unicode")


def explain(error: ValidationError, tree: Tree, above: Steps) -> Iterator[Finding]:
    """Each complaint as a finding; those that say the same of one place only once."""
    seen: set[Steps] = set()
    for detail in error.errors(include_url=False):
        steps = _in_tree((*above, *detail["loc"]), tree, missing=detail["type"] == "missing")
        if steps in seen or tree.is_unread(steps):
            continue
        seen.add(steps)
        yield _explained(detail, steps)


def _in_tree(location: Steps, tree: Tree, *, missing: bool) -> Steps:
    """The location without what pydantic adds for the branches of a union."""
    steps: Steps = ()
    for place, step in enumerate(location):
        last = missing and place == len(location) - 1
        if (*steps, step) in tree.values or last:
            steps = (*steps, step)
    return steps


def _explained(detail: ErrorDetails, steps: Steps) -> Finding:
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return _unknown(steps)
    if kind == "missing":
        return _missing(steps)
    if kind == "value_error":
        reason = str(detail.get("ctx", {}).get("error", detail["msg"]))
        return Finding(steps, f"{_name(steps)} is {_written_value(value)}", reason)
    if kind in _WRONG_FORM or kind in _TEXT_LIKE:
        return Finding(steps, f"{_name(steps)} is {_written_value(value)}", _wanted(steps))
    if kind in ("too_short", "string_too_short"):
        return Finding(steps, f"{_name(steps)} is {'too short' if value else 'empty'}", _wanted(steps))
    message = detail["msg"].removeprefix("String ").removeprefix("Input ").removeprefix("should ")
    return Finding(steps, f"{_name(steps)} is {_written_value(value)}, but must {message}", _wanted(steps))


def _unknown(steps: Steps) -> Finding:
    section = section_at(steps[:-1])
    allowed = list(section.model_fields) if section is not None else []
    near = get_close_matches(str(steps[-1]), allowed, n=1, cutoff=0.6)
    mend = f"did you mean `{near[0]}`?" if near else f"remove it; known here: {', '.join(allowed)}"
    return Finding(steps, f"unknown key `{steps[-1]}`", mend, at_key=True)


def _missing(steps: Steps) -> Finding:
    field = field_at(steps)
    shown = _shape_to_write(steps)
    sentence = f" ({field.description})" if field is not None and field.description else ""
    where = f" in `{written(steps[:-1])}`" if len(steps) > 1 else ""
    return Finding(steps, f"`{steps[-1]}` is missing{where}", f"write {shown}{sentence}", at_key=True)


def _shape_to_write(steps: Steps) -> str:
    section = section_at(steps)
    field = field_at(steps)
    if section is not None:
        return f"`{steps[-1]}:` with {', '.join(_required(section))}"
    if field is None:
        return f"`{steps[-1]}: …`"
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return f"`{steps[-1]}: {' | '.join(map(str, get_args(annotation)))}`"
    return f"`{steps[-1]}:` {form_of_field(field)}"


def _required(section: type[Section]) -> list[str]:
    return [f"`{name}`" for name, field in section.model_fields.items() if field.is_required()]


def _wanted(steps: Steps) -> str:
    """What to write at a place: its form, and the sentence of its field."""
    section = section_at(steps)
    if section is not None:
        return f"write a mapping with {', '.join(_required(section))}"
    field = field_at(steps)
    if field is None:
        return "see `ringfence boundary schema`"
    in_list = bool(steps) and isinstance(steps[-1], int)
    form = form_of_field(field)
    if in_list and form.startswith("a list; each "):
        form = form.removeprefix("a list; each ")
    return f"write {form}: {field.description}"


def _name(steps: Steps) -> str:
    return f"`{written(steps)}`" if steps else "the document"


def _written_value(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return _KINDS[type(value)]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value if len(value) <= 60 else value[:60] + '…'!a}"
    return f"the {'number' if isinstance(value, int | float) else 'day'} {value}"
