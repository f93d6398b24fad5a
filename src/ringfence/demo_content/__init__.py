"""The samples that `ringfence demo` works on: a repository with a bug, a handbook, tickets, a boundary, a replay.

The files of the sample end in `.txt` here (and a leading dot is written `dot-`), so that no tool takes
them for this project's own code or configuration. Nothing here runs; the demo writes the files out.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

_SUFFIX = ".txt"
_DOT = "dot-"


def write_tree(name: str, destination: Path) -> None:
    """Write the sample tree `inventory`, `handbook` or `tickets` into a directory, under its real file names."""
    _write(files(__name__).joinpath(name), destination)


def text(name: str) -> str:
    """One single file of the sample, for example `boundary.yaml` or `replay.json`."""
    return files(__name__).joinpath(name + _SUFFIX).read_text(encoding="utf-8")


def boundary_text(document: str = "boundary.yaml", /, **values: str) -> str:
    """A sample boundary with its placeholders filled in; one that is missing or unknown is a `KeyError`."""
    filled = text(document)
    for name, value in values.items():
        if f"{{{{{name}}}}}" not in filled:
            raise KeyError(f"the sample boundary has no placeholder {name}")
        filled = filled.replace(f"{{{{{name}}}}}", value)
    if "{{" in filled:
        raise KeyError(f"no value for the placeholder {filled.partition('{{')[2].partition('}}')[0]}")
    return filled


def _write(source: Traversable, destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.is_dir():
            _write(entry, destination / entry.name)
        elif entry.name.endswith(_SUFFIX):
            name = entry.name.removesuffix(_SUFFIX)
            name = "." + name.removeprefix(_DOT) if name.startswith(_DOT) else name
            (destination / name).write_bytes(entry.read_bytes())
