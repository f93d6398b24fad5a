"""An attempt passes for a declared command, so that what the boundary lets that command alone do can be tried."""

from ringfence.domain.boundary import Boundary, RepositoryCommands


def acting_as(boundary: Boundary, command: str, argv: tuple[str, ...]) -> tuple[Boundary, str]:
    """The boundary with `argv` in the place of a command as network rules call it; and a repository that has it.

    Errors: `LookupError` when no repository has it.
    """
    repositories, words = boundary.commands.repositories, " ".join(argv)
    having = next((name for name, mine in repositories.items() if command in _names(mine)), None)
    if having is None:
        raise LookupError(f"no repository has the command {command!r}")
    changed = {name: _with(mine, command, argv) for name, mine in repositories.items()}
    # Set-up commands are called by their words, and so have a new name; a check keeps its own.
    setup = tuple(
        rule.model_copy(update={"commands": tuple(words if name == command else name for name in rule.commands)})
        for rule in boundary.network.setup
    )
    return boundary.model_copy(
        update={
            "commands": boundary.commands.model_copy(update={"repositories": changed}),
            "network": boundary.network.model_copy(update={"setup": setup}),
        }
    ), having


def _names(commands: RepositoryCommands) -> set[str]:
    return {" ".join(argv) for argv in commands.setup} | {check.name for check in commands.checks}


def _with(commands: RepositoryCommands, command: str, argv: tuple[str, ...]) -> RepositoryCommands:
    setup = tuple(argv if " ".join(one) == command else one for one in commands.setup)
    checks = tuple(
        check.model_copy(update={"run": argv}) if check.name == command else check for check in commands.checks
    )
    return commands.model_copy(update={"setup": setup, "checks": checks})
