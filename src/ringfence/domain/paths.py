"""Paths, links and refs as they come out of an untrusted repository: why one of them is not taken.

Pure text, nothing is looked up on a disk. A path is judged by what *any* file system could make of it: case,
Windows short names, names that HFS+ or NTFS fold, so that a clean tree here is no trap elsewhere.
"""

import re
import unicodedata

from ringfence.domain.globs import fold

_LONGEST_PATH = 4096
_LONGEST_LINK = 1024
_SHORT_NAME = re.compile(r"gi[a-z0-9]{0,4}~[0-9]+")
#: Plain ASCII only: a name that reaches a shell, a URL or a page means the same everywhere.
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_LONGEST_REF = 200


def path_fault(path: str) -> str | None:
    """Why this path may not stand in a patch; None when it may."""
    if not path or len(path) > _LONGEST_PATH:
        return f"a path has 1 to {_LONGEST_PATH} characters"
    if path.startswith("/") or "\\" in path:
        return "absolute paths and backslashes are not taken"
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for character in path):
        return "control, invisible and undecodable characters are not taken"
    for component in path.split("/"):
        found = _component_fault(component)
        if found:
            return found
    return None


def _component_fault(component: str) -> str | None:
    if component in ("", ".", ".."):
        return "empty components, `.` and `..` are not taken"
    folded = fold(component)
    if component.endswith((".", " ")) or folded.endswith((".", " ")):
        return "names that end in a dot or a space are another name on some file systems"
    if any(mark in folded for mark in ("/", "\\")):
        return "characters that fold into a separator are not taken"
    # NTFS takes `.git:stream` and `.git::$INDEX_ALLOCATION` for `.git`.
    if folded.split(":")[0].rstrip(". ") == ".git":
        return "a component is git's own directory"
    if _SHORT_NAME.match(folded):
        return "a Windows short name can stand for git's own files"
    return None


def link_fault(path: str, target: str | None) -> str | None:
    """Why a symbolic link at `path` may not point to `target`; None when it stays inside the tree.

    A `..` behind a name is refused even where it looks harmless: that name can be a link to a shallower
    place, and then the climb ends outside.
    """
    if target is None or not target or len(target) > _LONGEST_LINK:
        return f"a link points to 1 to {_LONGEST_LINK} characters"
    if target.startswith("/"):
        return "it points to an absolute path"
    words = target.rstrip("/").split("/")
    climbs = 0
    while climbs < len(words) and words[climbs] == "..":
        climbs += 1
    if climbs > path.count("/"):
        return "it climbs out of the tree"
    rest = [word for word in words[climbs:] if word not in ("", ".")]
    if ".." in rest:
        return "it has `..` behind a name, which can climb out by way of another link"
    return path_fault("/".join(rest)) if rest else None


def ref_fault(name: str) -> str | None:
    """Why this is no branch name that we write; None when it is one that git and every shell take as it stands."""
    if len(name) > _LONGEST_REF:
        return f"it is longer than {_LONGEST_REF} characters"
    if not _REF.fullmatch(name):
        return "it holds more than letters, digits and . _ - between single slashes"
    if ".." in name or any(part.endswith((".lock", ".")) for part in fold(name).split("/")):
        return "git takes no `..`, no `.lock` and no dot at the end of a component"
    if name.casefold() == "head":
        return "HEAD is no branch"
    return None
