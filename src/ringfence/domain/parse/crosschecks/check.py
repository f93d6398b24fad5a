"""One look across sections, and the small questions that several of them ask."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ringfence.domain.boundary import Boundary
from ringfence.domain.parse.problem import Finding, Steps

NOT_ENFORCED = "not enforced by this version"


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """A check, and the sections that must be sound before it can look."""

    needs: tuple[str, ...]
    find: Callable[[Boundary], Iterator[Finding]]


def repeated(names: Sequence[str], steps: Steps, *, last: Steps = ()) -> Iterator[Finding]:
    """Names that stand in a list twice, also when only their case differs."""
    seen: dict[str, int] = {}
    for place, name in enumerate(names):
        first = seen.setdefault(name.casefold(), place)
        if first != place:
            what = f"`{name}` is listed twice, first as number {first + 1}"
            yield Finding((*steps, place, *last), what, "keep one of them; names that differ only in case count as one")


def path_fault(path: str) -> str | None:
    """Why an absolute path is not written as it should be."""
    if not path.startswith("/"):
        return "it must be absolute"
    if path != "/" and any(part in ("", ".", "..") for part in path[1:].split("/")):
        return "it must be written without `.`, `..`, double slashes or a slash at the end"
    if any(character in path for character in "*?:\n\t"):
        return "it must name one place, without patterns, colons or line ends"
    return None


def lies_in(path: str, places: Iterable[str]) -> str | None:
    """The first of these directories that is the path or lies above it."""
    return next((place for place in places if path == place or path.startswith(place.rstrip("/") + "/")), None)


def quoted(names: Iterable[str]) -> str:
    """Names in a sentence."""
    return ", ".join(f"`{name}`" for name in names)
