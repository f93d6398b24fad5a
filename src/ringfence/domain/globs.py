"""Globs over slash-separated names, as the boundary writes them for paths and branches.

`*` is anything within one component, `**` as a component is any number of components. Matching walks two
positions through the name and never backtracks further than the last star, so hostile names cannot hold it
up; Python's `re` is not used. What it deliberately does not know: `?`, `[…]`, `{…}`, `!` and escapes, which
`fault` names so that a document with them is refused.
"""

import unicodedata
from collections.abc import Callable, Sequence

_UNSUPPORTED = "?[]{}!\\"
_LONGEST = 500


def fault(pattern: str) -> str | None:
    """Why a pattern cannot be used, in words; None when it can."""
    odd = sorted({character for character in pattern if character in _UNSUPPORTED})
    parts = pattern.strip("/").split("/")
    if odd:
        return f"{' '.join(odd)} has no meaning in these globs"
    if not pattern.strip("/") or len(pattern) > _LONGEST:
        return f"a glob has 1 to {_LONGEST} characters and names something"
    if any(part in ("", ".", "..") for part in parts):
        return "empty components, `.` and `..` never match"
    if any("**" in part and part != "**" for part in parts):
        return "`**` stands for whole components: write a/**/b"
    if pattern != pattern.strip() or any(unicodedata.category(character)[0] == "C" for character in pattern):
        return "white space at the ends and invisible characters never match what people mean"
    return None


def is_broad(pattern: str) -> bool:
    """It matches everything or nearly: nothing but stars."""
    return not pattern.strip("*/")


def fold(name: str) -> str:
    """A form in which names that some file system takes for the same are the same."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def matches_branch(pattern: str, branch: str) -> bool:
    """The whole name matches, whatever its case; `release/*` is one level, `release/**` is all."""
    return _match(_components(pattern), _components(branch))


def protects(pattern: str, path: str) -> bool:
    """The pattern matches the path, a directory above it, or something that would lie below it.

    Gitignore-like: anchored at the root if it holds a slash before its end, else at any depth. The last
    case is a file or a link put in the place of a protected directory.
    """
    name = _components(path)
    shape = _anchored(pattern)
    above = any(_match(shape, name[:count]) for count in range(1, len(name) + 1))
    # Only what the pattern spells out: a star in front would make every path one that something lies below.
    spelled = len(name) < len(shape) and shape[: len(name)] == name and not any("*" in part for part in name)
    return above or spelled


def matches_exactly(pattern: str, path: str) -> bool:
    """The whole path matches, letter by letter: what a pattern allows, it allows in one spelling."""
    return _match(pattern.split("/"), path.split("/"))


def covers(pattern: str, path: str) -> bool:
    """The pattern matches the path or a directory above it: what `protects` says, without what lies below."""
    name = _components(path)
    shape = _anchored(pattern)
    return any(_match(shape, name[:count]) for count in range(1, len(name) + 1))


def reaches_below(pattern: str, prefix: str) -> bool:
    """Some name that begins with `prefix` (components, ending in a slash) could match the branch pattern."""
    return _begins(_components(pattern), _components(prefix))


def _components(name: str) -> list[str]:
    return fold(name).split("/") if name else []


def _anchored(pattern: str) -> list[str]:
    """The components of a path pattern. `x/**` guards x itself too, as x could be made a link."""
    body = pattern.rstrip("/")
    shape = _components(body.removeprefix("/")) if "/" in body else ["**", *_components(body)]
    while len(shape) > 1 and shape[-1] == "**":
        shape.pop()
    return shape


def _begins(shape: list[str], name: list[str]) -> bool:
    """The shape goes on after matching the whole of `name`."""
    for place, part in enumerate(name):
        if place < len(shape) and shape[place] == "**":
            return True
        if place >= len(shape) or not _match_part(shape[place], part):
            return False
    return len(shape) > len(name)


def _match(shape: list[str], name: list[str]) -> bool:
    return _walk(shape, name, star="**", same=_match_part)


def _match_part(pattern: str, part: str) -> bool:
    return _walk(pattern, part, star="*", same=str.__eq__)


def _walk(shape: Sequence[str], name: Sequence[str], *, star: str, same: Callable[[str, str], bool]) -> bool:
    """The classic two-pointer match: on a mismatch, the last star takes one more and nothing before it is retried."""
    at = here = 0
    last_star, resume = -1, 0
    while here < len(name):
        if at < len(shape) and shape[at] == star:
            last_star, resume = at, here
            at += 1
        elif at < len(shape) and same(shape[at], name[here]):
            at, here = at + 1, here + 1
        elif last_star >= 0:
            resume += 1
            at, here = last_star + 1, resume
        else:
            return False
    return all(part == star for part in shape[at:])
