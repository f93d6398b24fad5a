"""What the models say of a place in the document: which keys it has, and the sentence that describes each.

The one reader of the models' annotations, for messages and for the reference page.
"""

from collections.abc import Iterable
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from ringfence.domain.boundary import Boundary, Section
from ringfence.domain.parse.problem import Steps


def field_at(steps: Steps) -> FieldInfo | None:
    """The field that these steps lead to, or the one whose list or mapping they lead into."""
    here: Any = Boundary
    found: FieldInfo | None = None
    for step in steps:
        section = _section_of(here)
        if section is not None and isinstance(step, str):
            if step not in section.model_fields:
                return found
            found = section.model_fields[step]
            here = found.annotation
        else:
            here = _inside(here)
    return found


def section_at(steps: Steps) -> type[Section] | None:
    """The model of the mapping that these steps lead to; None for anything else."""
    here: Any = Boundary
    for step in steps:
        section = _section_of(here)
        if section is None:
            here = _inside(here)
        elif isinstance(step, str) and step in section.model_fields:
            here = section.model_fields[step].annotation
        else:
            return None
    return _section_of(here)


def form_of_field(field: FieldInfo) -> str:
    """The form of a field, by its marks first: sizes and durations are numbers that are written as text."""
    return _example(field.metadata) or form_of(field.annotation)


def form_of(annotation: Any) -> str:
    """The form of a value, in the words of the reference page."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    section = _section_of(annotation)
    if section is not None:
        return "a mapping"
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in (Union, UnionType):
        return " or ".join(form_of(argument) for argument in arguments if argument is not type(None))
    if origin is tuple:
        return f"a list; each {form_of(arguments[0])}"
    if origin is dict:
        return f"a mapping of names; each {form_of(arguments[1])}"
    if hasattr(annotation, "__metadata__"):
        return _example(annotation.__metadata__) or form_of(annotation.__origin__)
    names = {"str": "text", "int": "a number", "float": "a number", "bool": "true or false", "date": "a day"}
    return names.get(getattr(annotation, "__name__", ""), "text")


def _example(marks: Iterable[Any]) -> str | None:
    for mark in marks:
        schema = getattr(mark, "json_schema", None)
        if isinstance(schema, dict) and schema.get("examples"):
            return f"text such as `{schema['examples'][0]}`"
    return None


def _section_of(annotation: Any) -> type[Section] | None:
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _inside(annotation: Any) -> Any:
    """What the elements of a list or the values of a mapping are."""
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return arguments[0]
    if origin is dict:
        return arguments[1]
    return None
