"""What an agent's tree leaves out: configuration of the repository that this agent would obey.

The files are taken away right before the agent starts, after set-up, which may make some too. When the tree is taken
in, those that git knows and that are not there count as unchanged; one that is there, because the agent wrote it, is
part of the patch like any other.
"""

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
"""

#: Before a tree is compared with the index.
AT_COLLECTION = rf"""if [ -s {HIDDEN} ]; then
    git ls-files -z -c -i --exclude-from={HIDDEN} |
        xargs -0r sh -c 'for path; do [ -e "$path" ] || [ -L "$path" ] || printf "%s\0" "$path"; done' sh |
        git update-index -z --skip-worktree --stdin
fi
"""
