"""Strangers' text made safe and honest for a page: escaped, and nothing in it that cannot be seen.

Terminal escapes, bidirectional controls, zero-width and tag characters are shown by name. Markdown keeps
its meaning but for what reaches out or hides: no HTML, no images, no links but to the web.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

#: Letters by their class, but drawn as nothing.
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_BODY_LIMIT = 70_000


def is_unseen(char: str) -> bool:
    """The character draws nothing, or changes how others are drawn."""
    if char in "\n\t ":
        return False
    kind = unicodedata.category(char)
    return (
        kind in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") or char in _BLANK_LETTERS or (kind == "Zs" and char != " ")
    )


def mark_of(char: str) -> str:
    """The name that stands in its place."""
    return "ESC" if char == "\x1b" else f"U+{ord(char):04X}"


def plain(text: str) -> str:
    """Text for places that take no elements: the unseen in angle brackets."""
    return "".join(f"⟨{mark_of(char)}⟩" if is_unseen(char) else char for char in text.replace("\r\n", "\n"))


def shown(text: object) -> Markup:
    """Text as HTML: escaped, the unseen as marked names."""
    out: list[str] = []
    for char in str(text).replace("\r\n", "\n"):
        if is_unseen(char):
            name = unicodedata.name(char, "control character").lower()
            out.append(f'<span class="unseen" title="{escape(name)}">{mark_of(char)}</span>')
        else:
            out.append(str(escape(char)))
    return Markup("".join(out))  # noqa: S704 - every part is escaped or ours


def markdown(text: str) -> Markup:
    """A description or a comment. Mentions and closing keywords are only words here."""
    source = text if len(text) <= _BODY_LIMIT else text[:_BODY_LIMIT] + "\n\n*(cut here)*"
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 20})
    parser.enable(["table", "strikethrough"])
    parser.validateLink = _is_web  # type: ignore[method-assign]
    tokens = parser.parse(plain(source))
    for token in tokens:
        token.info = ""  # the language of a code block would become a class of ours
        token.children = list(_tamed(token.children)) if token.children is not None else None
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 - html=False, and links are tamed


def ago(then: float, now: float) -> str:
    """How long ago, in one word or two."""
    seconds = max(0, int(now - then))
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"


def stamp(then: float) -> str:
    """A time in full."""
    return datetime.fromtimestamp(int(then), UTC).strftime("%Y-%m-%d %H:%M UTC")


def _is_web(url: str) -> bool:
    return re.match(r"(?:https?://|#)", url.strip(), re.IGNORECASE) is not None


def _tamed(tokens: Sequence[Token]) -> Iterator[Token]:
    """Images named, never fetched: fetching would tell their owner who reads. Links followed by where they go."""
    hosts: list[str] = []
    for token in tokens:
        if token.type == "image":
            yield from _words("[image not loaded: ", f"{token.content} ", str(token.attrGet("src") or ""), "]")
            continue
        if token.type == "link_open":
            address = str(token.attrGet("href") or "")
            hosts.append(urlsplit(address).netloc)
            token.attrs = {"href": address, "rel": "noopener noreferrer nofollow"}
        yield token
        if token.type == "link_close" and (host := hosts.pop()):
            yield from _words(f" ↗ {host}")


def _words(*texts: str) -> Iterator[Token]:
    for text in texts:
        yield Token("text", "", 0, content=text)
