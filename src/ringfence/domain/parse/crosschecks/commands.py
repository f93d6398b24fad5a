"""Commands: every writable repository is judged by something, with the tools that it names."""

from collections.abc import Iterator

from ringfence.domain.boundary import Boundary, RepositoryCommands
from ringfence.domain.globs import fault, is_broad
from ringfence.domain.parse.crosschecks.check import CrossCheck, lies_in, path_fault, quoted, repeated
from ringfence.domain.parse.crosschecks.environment import variables
from ringfence.domain.parse.problem import Finding, Steps

_JUDGING = ("test", "lint", "types", "build")


def _listed(boundary: Boundary) -> Iterator[Finding]:
    for repository in boundary.repositories:
        if repository.access == "write" and repository.name not in boundary.commands.repositories:
            what = f"{repository.name} can be changed, but nothing judges the change"
            yield Finding(("commands", "repositories"), what, f"write `{repository.name}:` with its checks")
    for name in boundary.commands.repositories:
        repository_listed = boundary.repository(name)
        steps = ("commands", "repositories", name)
        if repository_listed is None:
            yield Finding(steps, f"{name!a} is not listed in `repositories`", "list it, or remove this", at_key=True)
        elif repository_listed.access == "read":
            what = f"{name} is read-only context: no command ever runs for it"
            yield Finding(steps, what, "remove this, or give it `access: write`", at_key=True)


def _commands(boundary: Boundary) -> Iterator[Finding]:
    for name, commands in boundary.commands.repositories.items():
        steps: Steps = ("commands", "repositories", name)
        yield from _tools(boundary, commands, steps)
        yield from _checks(commands, steps)
        yield from variables(commands.environment, (*steps, "environment"))
        for place, words in enumerate(commands.setup):
            yield from _words(words, (*steps, "setup", place))
        yield from _inputs(commands, (*steps, "setup_inputs"))


def _tools(boundary: Boundary, commands: RepositoryCommands, steps: Steps) -> Iterator[Finding]:
    known = boundary.commands.toolchains
    yield from repeated(commands.toolchains, (*steps, "toolchains"))
    for place, name in enumerate(commands.toolchains):
        if name not in known:
            what = f"toolchain {name!a} does not exist"
            mend = f"known: {quoted(known)}" if known else "describe it under `commands.toolchains`"
            yield Finding((*steps, "toolchains", place), what, mend)
    targets = {name: known[name].target for name in commands.toolchains if name in known}
    for name, target in targets.items():
        above = next((other for other in targets if other != name and lies_in(target, (targets[other],))), None)
        if above:
            what = f"toolchains `{name}` and `{above}` are seen at overlapping places"
            yield Finding((*steps, "toolchains"), what, "give each a `target` of its own")
    if not commands.path:
        yield Finding(
            (*steps, "path"), "PATH is empty: no command can be found", "list the toolchains' bin directories"
        )
    for place, entry in enumerate(commands.path):
        fault = path_fault(entry)
        if fault or not lies_in(entry, targets.values()):
            what = f"PATH entry {entry!a} {f'cannot be used: {fault}' if fault else 'lies in none of its toolchains'}"
            yield Finding((*steps, "path", place), what, f"write a directory below {quoted(targets.values()) or 'one'}")


def _inputs(commands: RepositoryCommands, steps: Steps) -> Iterator[Finding]:
    """What set-up is declared to be made from is something, and there is a set-up."""
    if commands.setup_inputs and not commands.setup:
        yield Finding(steps, "there are inputs of set-up and no set-up", "write `setup`, or remove this", at_key=True)
    yield from repeated(commands.setup_inputs, steps)
    for place, pattern in enumerate(commands.setup_inputs):
        if wrong := fault(pattern):
            yield Finding((*steps, place), f"glob {pattern!a} cannot be used: {wrong}", "write for example *.lock")
        elif is_broad(pattern):
            mend = "leave `setup_inputs` away: then every file of the tree is one"
            yield Finding((*steps, place), f"glob {pattern!a} is every file", mend)


def _checks(commands: RepositoryCommands, steps: Steps) -> Iterator[Finding]:
    checks = commands.checks
    steps = (*steps, "checks")
    yield from repeated([check.name for check in checks], steps, last=("name",))
    if not any(check.required for check in checks):
        what = "no check is required: a patch that fails everything would be published"
        yield Finding(steps, what, "let at least one check be `required: true`")
    if not any(check.kind in _JUDGING for check in checks):
        what = "nothing tests, lints, types or builds the patch"
        yield Finding(steps, what, "add a check of kind test, lint, types or build")
    for place, check in enumerate(checks):
        yield from _words(check.run, (*steps, place, "run"))
        if check.timeout == 0:
            yield Finding((*steps, place, "timeout"), "a check with no time fails", "write for example 10m")


def _words(words: tuple[str, ...], steps: Steps) -> Iterator[Finding]:
    if not words[0].strip() or words[0].startswith("-") or any(character.isspace() for character in words[0]):
        what = f"{words[0]!a} is no command"
        mend = 'write the command as a list of words; a shell line is ["sh", "-c", "…"]'
        yield Finding((*steps, 0), what, mend)


CHECKS = (
    CrossCheck(("commands", "repositories"), _listed),
    CrossCheck(("commands",), _commands),
)
