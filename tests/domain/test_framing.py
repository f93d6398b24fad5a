"""The operator's words in a brief."""

from ruamel.yaml import YAML

from ringfence.demo_content import boundary_text
from ringfence.domain.boundary import Boundary
from ringfence.domain.brief import Trust
from ringfence.domain.framing import checks_part, context_target, task_part


def boundary() -> Boundary:
    text = boundary_text(
        location="/srv/ringfence", toolchain="/srv/toolchain", replay="/srv/replay.json", registry="[]", packages="{}"
    )
    return Boundary.model_validate(YAML(typ="safe", pure=True).load(text))


def test_the_task_names_repository_commit_limits_and_what_is_protected() -> None:
    document = boundary()
    branches = document.branches.model_copy(update={"protected_paths": ("pyproject.toml", "ci/**")})
    document = document.model_copy(update={"branches": branches})
    part = task_part(document, repository="demo/inventory", commit="c0ffee", context=(("demo/handbook", "beef"),))
    assert (part.kind, part.trust, part.priority) == ("task", Trust.OPERATOR, 0)
    assert part.text.startswith(
        "Do what the ticket below asks, in the checkout at /workspace (repository demo/inventory, branch main, "
    )
    patch, run = document.limits.patch, document.limits.run
    assert part.text.endswith(
        f"""
- Protected paths, which a change may not touch: `pyproject.toml`, `ci/**`.
- Limits of a change: {patch.files} files, {patch.file} bytes a file, {patch.total} bytes in all. \
Limits of an attempt: {run.turns} model turns.
- /context/demo/handbook holds demo/handbook at beef, read-only: look there."""
    )


def test_a_boundary_without_protected_paths_says_nothing_about_them() -> None:
    document = boundary()
    branches = document.branches.model_copy(update={"protected_paths": ()})
    part = task_part(
        document.model_copy(update={"branches": branches}), repository="demo/unlisted", commit="c0ffee", context=()
    )
    assert "Protected" not in part.text
    assert "branch ?," in part.text


def test_checks_are_given_verbatim_and_in_order() -> None:
    document = boundary()
    commands = document.commands.repositories["demo/inventory"]
    lint, types, test = commands.checks
    odd = lint.model_copy(update={"run": ("sh", "-c", "echo 'a b' | cat"), "required": False})
    changed = commands.model_copy(update={"checks": (odd, types, test)})
    document = document.model_copy(
        update={"commands": document.commands.model_copy(update={"repositories": {"demo/inventory": changed}})}
    )
    part = checks_part(document, "demo/inventory")
    assert part is not None and part.trust is Trust.OPERATOR
    assert part.text.split("\n")[1:4] == [
        """- lint (lint, is reported only): `sh -c 'echo '"'"'a b'"'"' | cat'`""",
        "- types (types, must pass): `python3 -m mypy src`",
        "- test (test, must pass): `python3 -m pytest -q`",
    ]


def test_a_repository_without_commands_has_no_checks_part() -> None:
    assert checks_part(boundary(), "demo/handbook") is None


def test_a_context_repository_stays_below_its_directory_by_name() -> None:
    assert context_target("demo/handbook") == "/context/demo/handbook"
