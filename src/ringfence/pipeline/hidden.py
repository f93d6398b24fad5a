"""What an agent's tree leaves out: configuration of the repository that this agent would obey.

The files stay in git's index with the mark "not in this tree" (a sparse checkout), so that taking the tree in does not
see them as removed. Where an agent writes such a file of its own, the mark goes and the file is part of the patch.
"""

HIDDEN = "/ringfence/hidden"

#: Before the checkout.
LEAVE_OUT = f"""if [ -s {HIDDEN} ]; then
    mkdir -p .git/info
    cp {HIDDEN} .git/info/sparse-checkout
    git config core.sparseCheckout true
    git config core.sparseCheckoutCone false
fi
"""

#: Before the tree is compared with the index, in the worker's own git directory.
TAKE_BACK = r"""git ls-files -z -t | sed -zn 's/^S //p' |
    xargs -0r sh -c 'for path; do [ ! -e "$path" ] && [ ! -L "$path" ] || printf "%s\0" "$path"; done' sh |
    git update-index -z --no-skip-worktree --stdin
"""


def patterns(hidden: tuple[str, ...]) -> bytes:
    """Everything but these, as git's sparse checkout writes it. `hidden` are gitignore patterns."""
    return "".join(f"{line}\n" for line in ("/*", *(f"!{pattern}" for pattern in hidden))).encode()
