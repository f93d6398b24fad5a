"""What a ticket points at in a tree, and a short map of that tree: pure text work, the same result every time.

It reads lines, not programs: nothing is parsed or executed, so hostile source can at worst look odd in a map.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

_PATHLIKE = re.compile(r"[\w@+-][\w./@+-]{0,300}|\.[\w][\w./@+-]{0,300}")
_QUOTED = re.compile(r"`([^`\n]{2,80})`|\"([^\"\n]{3,80})\"")
_IDENTIFIER = re.compile(r"\b(?:[A-Za-z]\w{0,60}_\w{1,60}|[A-Za-z]?[a-z]{1,40}[A-Z]\w{0,60}|[A-Za-z_]\w{1,60}(?=\())")
_DEFINITION = re.compile(r"^( {4})?(?:async )?(def|class) (\w{1,80})")
_WORDS = 20


def mentioned(text: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Paths of the tree that a text names: exactly, or by a file name that only one path has."""
    known = list(paths)
    whole = frozenset(known)
    names = Counter(path.rsplit("/", 1)[-1] for path in known)
    unique = {name: path for path in known if names[name := path.rsplit("/", 1)[-1]] == 1 and "." in name}
    found: dict[str, None] = {}
    for match in _PATHLIKE.finditer(text):
        word = match[0].rstrip(".").removeprefix("./")
        path = word if word in whole else unique.get(word)
        if path is not None:
            found[path] = None
    return tuple(found)


def search_words(text: str) -> tuple[str, ...]:
    """What is worth searching for: quoted strings and what looks like an identifier, in order of appearance."""
    spans = [(match.start(), match[1] or match[2]) for match in _QUOTED.finditer(text)]
    spans += [(match.start(), match[0]) for match in _IDENTIFIER.finditer(text)]
    words: dict[str, None] = {}
    for _, word in sorted(spans):
        clean = word.strip().removesuffix("()")
        if len(clean) >= 3 and clean.isprintable():
            words[clean] = None
    return tuple(words)[:_WORDS]


def rank_hits(
    hits: Iterable[tuple[str, int, str]], words: tuple[str, ...], limit: int
) -> tuple[tuple[str, int, str], ...]:
    """The hits that say most: a line with rare words comes before a line with common ones."""
    rows = list(hits)
    holding = {row: tuple(word for word in words if word in row[2]) for row in rows}
    common = Counter(word for found in holding.values() for word in found)
    worth = {row: sum(1 / common[word] for word in found) for row, found in holding.items()}
    best = sorted(holding, key=lambda row: (-worth[row], row))[:limit]
    return tuple(sorted(best))


def rank_paths(sizes: Mapping[str, int], named: Iterable[str], hits: Iterable[str]) -> tuple[str, ...]:
    """All paths, the ones that the ticket points at first, then by depth and name."""
    first, found = frozenset(named), Counter(hits)
    return tuple(sorted(sizes, key=lambda path: (path not in first, -min(found[path], 5), path.count("/"), path)))


def outline(path: str, source: str) -> str:
    """The top-level definitions and methods of a Python file in one line; empty for anything else."""
    if not path.endswith(".py"):
        return ""
    found: list[str] = []
    for line in source.split("\n"):
        match = _DEFINITION.match(line)
        if match is None:
            continue
        inner, kind, name = match[1], match[2], match[3]
        if not inner:
            found.append(f"{kind} {name}")
        elif found and found[-1].startswith("class ") and kind == "def" and not name.startswith("_"):
            found[-1] += f".{name}" if "." not in found[-1] else f",{name}"
    return "; ".join(found)


def draw(ranked: Iterable[str], sizes: Mapping[str, int], outlines: Mapping[str, str], limit: int) -> str:
    """The map: a line a file, in rank order, as many as fit into `limit` bytes; the rest is counted."""
    lines: list[str] = []
    size, missing = 0, 0
    for path in ranked:
        line = f"{path} ({sizes[path]} bytes)"
        if outlines.get(path):
            line += f": {outlines[path]}"
        size += len(line.encode("utf-8", "replace")) + 1
        if missing or size > limit:
            missing += 1
        else:
            lines.append(line)
    if missing:
        lines.append(f"... and {missing} more files")
    return "\n".join(lines)
