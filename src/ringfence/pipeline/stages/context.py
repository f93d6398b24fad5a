"""Context: gathers what an agent is given from the ticket, the boundary and the base commit, without any model.

It reads objects of trusted bare repositories only: no checkout, no file of the worker, no link that a
text names. Symbolic links are not followed, and nested or look-alike instruction files count only
when the boundary lists them. Composing and fencing are in domain/brief.py.
"""

from dataclasses import dataclass
from pathlib import Path

from ringfence.domain import codemap
from ringfence.domain.boundary import Boundary
from ringfence.domain.brief import BYTES_A_TOKEN, Brief, Briefed, Part, Trust, compose
from ringfence.domain.checks import CheckResult
from ringfence.domain.framing import checks_part, context_target, task_part
from ringfence.domain.ticket import Ticket
from ringfence.ports.objects import Objects, TreeEntry

__all__ = ["Briefed", "ContextSources", "assemble"]

_INSTRUCTION_BYTES = 16_384
_FILE_BYTES = 24_576
_NAMED_FILES = 5
_SEARCHED_ROWS = 2_000
_SHOWN_HITS = 25
_OUTLINED_FILES = 60
_OUTLINED_BYTES = 200_000
_TAIL_CHARACTERS = 6_000
_LINE_CHARACTERS = 300
#: Of the whole brief, how much a map may take.
_MAP_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class ContextSources:
    """Everything that a brief is made from. `repo` is a bare repository that holds `commit`, the base commit."""

    ticket: Ticket
    boundary: Boundary
    repository: str
    commit: str
    repo: Path
    objects: Objects
    context: tuple[tuple[str, str, Path], ...] = ()  # read-only repositories: name, commit, bare repository
    attempt: int = 1
    failing: tuple[CheckResult, ...] = ()
    previous_diff_stat: str = ""


def assemble(sources: ContextSources) -> Brief:
    """The brief of one attempt. The same sources give the same text, byte for byte."""
    entries = sources.objects.entries(sources.repo, sources.commit)
    files = {entry.path: entry for entry in entries if _is_file(entry)}
    sizes = {path: entry.size for path, entry in files.items()}
    wording = f"{sources.ticket.title}\n{sources.ticket.body}"
    # Links count when names are looked up: the name of a link must not find another file of that name.
    named = tuple(path for path in codemap.mentioned(wording, [entry.path for entry in entries]) if path in files)
    hits = _search(sources, wording)
    parts = [
        task_part(
            sources.boundary,
            repository=sources.repository,
            commit=sources.commit,
            context=tuple((name, commit) for name, commit, _ in sources.context),
        ),
        checks_part(sources.boundary, sources.repository),
        _ticket(sources.ticket),
        *_repair(sources),
        *_instructions(sources, sizes),
        *_named_files(sources, named, sizes),
        _hits(sources, hits),
        _map(sources, files, named, hits),
        *_context_maps(sources),
    ]
    present = [part for part in parts if part is not None]
    return compose(present, sources.boundary.limits.brief_tokens, sources.attempt)


def _ticket(ticket: Ticket) -> Part:
    """The whole ticket, its title too, as quoted text."""
    text = f"Title: {ticket.title}\n\n{ticket.body}"
    provenance = f"ticket {ticket.id} {ticket.digest}"
    return Part("ticket", f"Ticket {ticket.id}", text, provenance, Trust.UNTRUSTED, 0)


def _repair(sources: ContextSources) -> list[Part]:
    """What the last attempt changed and which checks did not pass, the end of their output quoted."""
    parts = []
    last = sources.attempt - 1
    for result in sources.failing:
        why = result.stopped or f"exit code {result.exit_code}"
        title = f"Repair: attempt {last} did not pass the check {result.name} ({why})"
        text = result.tail[-_TAIL_CHARACTERS:] or "(no output)"
        parts.append(Part("repair", title, text, f"check {result.name} {result.output}", Trust.UNTRUSTED, 0))
    if sources.previous_diff_stat:
        title = f"What attempt {last} changed"
        provenance = f"patch of attempt {last}"
        parts.append(Part("repair", title, sources.previous_diff_stat, provenance, Trust.UNTRUSTED, 1))
    return parts


def _instructions(sources: ContextSources, sizes: dict[str, int]) -> list[Part]:
    """The instruction files that the boundary lists, of the base commit, and no others."""
    listed = sources.boundary.repository(sources.repository)
    parts = []
    for path in listed.instructions if listed else ():
        text = _read(sources, path, sizes, _INSTRUCTION_BYTES)
        if text is not None:
            parts.append(Part("instructions", f"Instructions: {path}", text, _at(sources, path), Trust.BASE, 1))
    return parts


def _named_files(sources: ContextSources, named: tuple[str, ...], sizes: dict[str, int]) -> list[Part]:
    listed = sources.boundary.repository(sources.repository)
    given = listed.instructions if listed else ()
    parts = []
    for path in [path for path in named if path not in given][:_NAMED_FILES]:
        text = _read(sources, path, sizes, _FILE_BYTES)
        if text is not None:
            parts.append(Part("file", f"File named in the ticket: {path}", text, _at(sources, path), Trust.BASE, 2))
    return parts


def _search(sources: ContextSources, wording: str) -> tuple[tuple[str, int, str], ...]:
    words = codemap.search_words(wording)
    if not words:
        return ()
    found = sources.objects.search(sources.repo, sources.commit, words, _SEARCHED_ROWS)
    return codemap.rank_hits(found, words, _SHOWN_HITS)


def _hits(sources: ContextSources, hits: tuple[tuple[str, int, str], ...]) -> Part | None:
    if not hits:
        return None
    text = "\n".join(f"{path}:{number}: {line.strip()[:_LINE_CHARACTERS]}" for path, number, line in hits)
    return Part("search", "Where the ticket's words occur", text, _at(sources, "(search)"), Trust.BASE, 3)


def _map(
    sources: ContextSources, files: dict[str, TreeEntry], named: tuple[str, ...], hits: tuple[tuple[str, int, str], ...]
) -> Part | None:
    """Paths and sizes of the repository, with definitions for the files that matter most."""
    if not files:
        return None
    sizes = {path: entry.size for path, entry in files.items()}
    ranked = codemap.rank_paths(sizes, named, (path for path, _, _ in hits))
    outlined = [path for path in ranked if path.endswith(".py") and sizes[path] <= _OUTLINED_BYTES][:_OUTLINED_FILES]
    contents = sources.objects.blobs(sources.repo, [files[path].blob for path in outlined])
    pairs = zip(outlined, contents, strict=True)
    outlines = {path: codemap.outline(path, content.decode("utf-8", "replace")) for path, content in pairs}
    text = codemap.draw(ranked, sizes, outlines, _map_bytes(sources))
    return Part("map", "Map of the repository", text, _at(sources, "(map)"), Trust.BASE, 4)


def _context_maps(sources: ContextSources) -> list[Part]:
    parts = []
    for name, commit, repo in sources.context:
        sizes = {entry.path: entry.size for entry in sources.objects.entries(repo, commit) if _is_file(entry)}
        text = codemap.draw(codemap.rank_paths(sizes, (), ()), sizes, {}, _map_bytes(sources) // 2)
        title = f"Files of {name}, read-only at {context_target(name)}"
        parts.append(Part("map", title, text, f"{name}@{commit}:(map)", Trust.BASE, 4))
    return parts


def _is_file(entry: TreeEntry) -> bool:
    """Whether it is a regular file: no symbolic link and no submodule."""
    return entry.mode in ("100644", "100755")


def _map_bytes(sources: ContextSources) -> int:
    return int(sources.boundary.limits.brief_tokens * BYTES_A_TOKEN * _MAP_SHARE)


def _read(sources: ContextSources, path: str, sizes: dict[str, int], limit: int) -> str | None:
    """The start of a regular text file of the base commit; None for anything else."""
    raw = sources.objects.read(sources.repo, sources.commit, path, limit) if path in sizes else None
    if raw is None or b"\0" in raw:
        return None
    text = raw.decode("utf-8", "replace")
    return text if sizes[path] <= limit else f"{text}\n[cut: the file has {sizes[path]} bytes]"


def _at(sources: ContextSources, path: str) -> str:
    return f"{sources.repository}@{sources.commit}:{path}"
