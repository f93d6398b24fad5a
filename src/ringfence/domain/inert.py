"""Untrusted words in places that act on words: titles, commit subjects and Markdown at a code host.

Hosts turn `@name` into a message, `fixes #1` into a closed issue and `![](…)` into a request. In Markdown such
text goes into code spans, where nothing acts; elsewhere the characters that start an action are replaced by
wide ones that look alike. It does not judge text, and does not hide that something was replaced.
"""

import re2  # type: ignore[import-untyped]

from ringfence.domain.fence import one_line

_WIDE = str.maketrans({"@": "＠", "#": "＃", "!": "！", "<": "＜", ">": "＞", "`": "ˋ", "[": "［", "]": "］"})
#: GitHub's GH-1, and addresses, which close issues too when a closing word stands before them.
_REFERENCE = re2.compile(r"(?i)\b(gh)-([0-9])")
_TICKS = re2.compile("`+")


def title_words(text: str, limit: int = 72) -> str:
    """One line that is only words, for titles and commit subjects."""
    line = one_line(text, limit).translate(_WIDE).replace("://", ":／／")
    return str(_REFERENCE.sub(r"\1 \2", line))


def code(text: str, limit: int = 200, *, in_table: bool = False) -> str:
    """One line as a Markdown code span."""
    line = one_line(text, limit) or "(empty)"
    ticks = "`" * (1 + max((len(found) for found in _TICKS.findall(line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    span = f"{ticks}{pad}{line}{pad}{ticks}"
    return span.replace("|", "\\|") if in_table else span
