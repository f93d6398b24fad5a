"""Reading the fields of a request or an answer that is being translated. Errors: ValueError that names the field."""

import json
from typing import Any

from ringfence.gateway.protocols.shape import shown


def only(value: object, where: str, *names: str) -> dict[str, Any]:
    """An object that has none but these fields; one that is null is not there."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} is no object")
    other = next((name for name, field in value.items() if name not in names and field is not None), None)
    if other is not None:
        raise ValueError(f"{where} has {shown(other)}")
    return value


def text(value: dict[str, Any], name: str, where: str) -> str:
    """A field that must be a text."""
    found = value.get(name)
    if not isinstance(found, str):
        raise ValueError(f"{where} has no text in {shown(name)}")
    return found


def name_of(value: dict[str, Any], name: str, where: str) -> str:
    """A field that must be a text with something in it."""
    found = text(value, name, where)
    if not found:
        raise ValueError(f"{where} has nothing in {shown(name)}")
    return found


def listed(value: object, where: str) -> list[Any]:
    """A list; an absent one is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{where} is no list")
    return value


def arguments(written: str) -> dict[str, Any]:
    """The arguments of a call for a protocol that has them as an object; none at all are an empty one."""
    try:
        value = json.loads(written) if written.strip() else {}
    except RecursionError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("the arguments of a call are no JSON object")
    return value
