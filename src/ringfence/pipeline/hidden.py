"""What an agent's tree leaves out: configuration of the repository that this agent would obey.

The files are taken away right before the agent starts, after set-up, which may make some too. When the tree is taken
in, those that git knows and that are not there count as unchanged; one that is there, because the agent wrote it, is
part of the patch like any other.
"""

from dataclasses import dataclass

from ringfence.domain.errors import RunStopped

#: Of each kind, so many are named; all are counted.
MOST_NAMED = 50
_LIST = b"hidden files\0"

#: The patterns inside the sandbox, as a file of gitignore.
HIDDEN = "/ringfence/hidden"

#: In the agent's tree, by an index and a git directory of the worker's; and so that the agent's own git does not
#: speak of files that are missing, its index is told as far as it takes it.
HIDE = rf"""set -e
git init -q
cp /ringfence/index "$GIT_INDEX_FILE"
git ls-files -z -c -i --exclude-from={HIDDEN} > /tmp/known
git ls-files -z -o -i --exclude-from={HIDDEN} > /tmp/others
cat /tmp/known /tmp/others | xargs -0r rm -f --
cat /tmp/known /tmp/others | xargs -0r dirname -z -- | sort -zu |
    xargs -0r rmdir -p --ignore-fail-on-non-empty -- 2> /dev/null || true
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
git -c core.hooksPath=/dev/null -c core.fsmonitor=false update-index -z --skip-worktree --stdin < /tmp/known || true
printf 'hidden files\0'
for list in known others; do
    tr -cd '\0' < /tmp/$list | wc -c
    head -z -n {MOST_NAMED} /tmp/$list
    printf '\0'
done
"""

#: Before a tree is compared with the index.
AT_COLLECTION = rf"""if [ -s {HIDDEN} ]; then
    git ls-files -z -c -i --exclude-from={HIDDEN} |
        xargs -0r sh -c 'for path; do [ -e "$path" ] || [ -L "$path" ] || printf "%s\0" "$path"; done' sh |
        git update-index -z --skip-worktree --stdin
fi
"""


@dataclass(frozen=True, slots=True)
class Hidden:
    """What was taken away: what git knows, and what set-up had made. The first of each, and how many there are."""

    files: tuple[str, ...] = ()
    count: int = 0
    made: tuple[str, ...] = ()
    made_count: int = 0


def told(output: bytes) -> Hidden:
    """What `HIDE` printed last: of each kind the count and a line's end, names, and an empty name.

    Errors: `RunStopped` when it is not there.
    """
    _, _, rest = output.partition(_LIST)  # the first: what git said before has no NUL, and names come after
    lists = []
    for _ in range(2):
        written, _, rest = rest.partition(b"\n")
        if not written.strip().isdigit():
            raise RunStopped("checkout_failed", "nothing says which files were hidden from the agent")
        names = []
        while rest and not rest.startswith(b"\0"):
            name, _, rest = rest.partition(b"\0")
            names.append(name.decode("utf-8", "surrogateescape"))
        rest = rest[1:]
        lists.append((tuple(names), int(written)))
    (files, count), (made, made_count) = lists
    return Hidden(files, count, made, made_count)
