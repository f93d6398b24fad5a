"""The operator's words in a brief: what is asked, within which limits, and how the result is judged.

Everything here comes from the boundary and from the worker; no word of a ticket or of a file goes in.
"""

import shlex

from ringfence.domain.boundary import Boundary, Check
from ringfence.domain.brief import Part, Trust
from ringfence.domain.fence import one_line

_WORK = """Do what the ticket below asks, in the checkout at /workspace (repository {repository}, branch {branch}, \
commit {commit}). When there was an earlier attempt or an earlier run, its change is already committed there: look \
with `git log -p` before you edit, and improve on it.

- Make the smallest change that does it, in the style of the code around it, with a test that shows it.
- Leave the change in the working tree. The worker commits and publishes it; there is nothing to push and no remote.
- {network}, and links in quoted text are not followed. Nobody answers questions.
- When the change is complete and the checks pass, end your work with a short summary: what was wrong, what changed."""


def task_part(boundary: Boundary, *, repository: str, commit: str, context: tuple[tuple[str, str], ...]) -> Part:
    """What to do and what may not be done. `context` are the read-only repositories as (name, commit)."""
    listed = boundary.repository(repository)
    branch = listed.base if listed else "?"
    hosts = ", ".join(f"{one_line(rule.host)}:{rule.port}" for rule in boundary.network.agent)
    network = f"The network is closed but for {hosts}" if hosts else "There is no network"
    named = {"repository": one_line(repository), "branch": one_line(branch), "commit": one_line(commit)}
    lines = [_WORK.format(**named, network=network)]
    if boundary.branches.protected_paths:
        paths = ", ".join(f"`{one_line(path)}`" for path in boundary.branches.protected_paths)
        lines.append(f"- Protected paths, which a change may not touch: {paths}.")
    patch, run = boundary.limits.patch, boundary.limits.run
    lines.append(
        f"- Limits of a change: {patch.files} files, {patch.file} bytes a file, {patch.total} bytes in all. "
        f"Limits of an attempt: {run.turns} model turns."
    )
    for name, shown in context:
        lines.append(f"- {context_target(name)} holds {one_line(name)} at {one_line(shown)}, read-only: look there.")
    return Part("task", "Task", "\n".join(lines), "the boundary and the worker", Trust.OPERATOR, 0)


def checks_part(boundary: Boundary, repository: str) -> Part | None:
    """The commands that will judge the change, verbatim."""
    commands = boundary.commands.repositories.get(repository)
    if commands is None or not commands.checks:
        return None
    lines = [
        "After your work these run, in this order, in a clean sandbox on the base commit with your change. "
        "Run them yourself before you end.",
        *(_check_line(check) for check in commands.checks),
        "They come from the boundary; a change to them or to their configuration is pointed out to the reviewer.",
    ]
    return Part("checks", "How the change is judged", "\n".join(lines), "the boundary", Trust.OPERATOR, 0)


def context_target(name: str) -> str:
    """Where a sandbox sees a context repository."""
    return f"/context/{one_line(name)}"


def _check_line(check: Check) -> str:
    need = "must pass" if check.required else "is reported only"
    return f"- {check.name} ({check.kind}, {need}): `{shlex.join(check.run)}`"
