"""Refs and paths: a narrow prefix, protected branches, and files that decide about the change itself."""

from collections.abc import Iterator

from ringfence.domain.boundary import Boundary
from ringfence.domain.globs import covers, fault, is_broad, matches_branch, reaches_below
from ringfence.domain.parse.crosschecks.check import CrossCheck, quoted, repeated
from ringfence.domain.parse.problem import Finding
from ringfence.domain.paths import ref_fault

#: Who can change these can change what judges the change: pipelines run with secrets, owners decide who reviews.
#: Each is a path that must be protected, and a glob that does it.
CONTROL_FILES = (
    (".github/workflows/build.yml", ".github/**"),
    (".gitlab/ci/build.yml", ".gitlab/**"),
    (".gitlab-ci.yml", ".gitlab-ci.yml"),
    (".gitea/workflows/build.yml", ".gitea/**"),
    (".forgejo/workflows/build.yml", ".forgejo/**"),
    (".circleci/config.yml", ".circleci/**"),
    (".buildkite/pipeline.yml", ".buildkite/**"),
    ("azure-pipelines.yml", "azure-pipelines.yml"),
    ("bitbucket-pipelines.yml", "bitbucket-pipelines.yml"),
    ("Jenkinsfile", "Jenkinsfile"),
    ("docs/CODEOWNERS", "CODEOWNERS"),
    (".gitmodules", ".gitmodules"),
)


def _prefix(boundary: Boundary) -> Iterator[Finding]:
    prefix = boundary.branches.prefix
    steps = ("branches", "prefix")
    mend = "write a directory of the worker's own with a slash at the end, for example ringfence/"
    if prefix in ("", "/") or "*" in prefix:
        yield Finding(steps, f"{prefix!a} is over-broad: the worker could write every branch", mend)
        return
    if not prefix.endswith("/"):
        what = f"{prefix!a} is over-broad: without a slash at the end it also takes in names of others"
        yield Finding(steps, what, mend)
    body = prefix.rstrip("/")
    found = ref_fault(body) or ("it is too long" if len(body) > 80 else None)
    if found:
        yield Finding(steps, f"{prefix!a} begins no branch name: {found}", mend)
    elif body.casefold().split("/")[0] in ("refs", "heads"):
        yield Finding(steps, f"{prefix!a} is a ref, not the beginning of a branch name", mend)


def _protected_branches(boundary: Boundary) -> Iterator[Finding]:
    patterns = boundary.branches.protected
    prefix = boundary.branches.prefix.rstrip("/")
    for place, pattern in enumerate(patterns):
        found = fault(pattern)
        if found:
            yield Finding(("branches", "protected", place), f"{pattern!a} is no glob: {found}", "mend the pattern")
        elif prefix and (reaches_below(pattern, prefix) or matches_branch(pattern, prefix)):
            what = f"{pattern!a} protects branches below the worker's own prefix {prefix + '/'!a}"
            yield Finding(("branches", "protected", place), what, "choose another prefix, or a narrower pattern")
    yield from repeated(patterns, ("branches", "protected"))


def _bases(boundary: Boundary) -> Iterator[Finding]:
    prefix = boundary.branches.prefix
    for place, repository in enumerate(boundary.repositories):
        base = repository.base
        if prefix.rstrip("/") and (base.startswith(prefix) or prefix.casefold().startswith(f"{base.casefold()}/")):
            what = f"`base` {base!a} of {repository.name} and the prefix {prefix!a} overlap"
            yield Finding(("repositories", place, "base"), what, "choose a prefix that shares no directory with it")
        protected = any(matches_branch(pattern, base) for pattern in boundary.branches.protected)
        if repository.access == "write" and not protected:
            what = f"{base!a}, the base branch of {repository.name}, is not protected"
            yield Finding(("branches", "protected"), what, f"add `{base}`")


def _protected_paths(boundary: Boundary) -> Iterator[Finding]:
    patterns = boundary.branches.protected_paths
    sound = []
    for place, pattern in enumerate(patterns):
        found = fault(pattern)
        if found:
            what = f"{pattern!a} is no glob: {found}"
            yield Finding(("branches", "protected_paths", place), what, "mend the pattern; `*` and `**` are known")
        elif is_broad(pattern):
            what = f"{pattern!a} is over-broad: every patch would be refused"
            yield Finding(("branches", "protected_paths", place), what, "name the paths that nobody may change")
        else:
            sound.append(pattern)
    yield from repeated(patterns, ("branches", "protected_paths"))
    lacking = [add for path, add in CONTROL_FILES if not any(covers(pattern, path) for pattern in sound)]
    if lacking:
        what = "files that decide how a change is built or who reviews it are not protected"
        yield Finding(("branches", "protected_paths"), what, f"add {quoted(lacking)}")


def _tests(boundary: Boundary) -> Iterator[Finding]:
    for name, commands in boundary.commands.repositories.items():
        for place, pattern in enumerate(commands.tests):
            steps = ("commands", "repositories", name, "tests", place)
            found = fault(pattern)
            if found:
                yield Finding(steps, f"{pattern!a} is no glob: {found}", "mend the pattern")
            elif is_broad(pattern):
                what = f"{pattern!a} is over-broad: every file would be a test"
                yield Finding(steps, what, "name where the tests are, for example tests/**")


CHECKS = (
    CrossCheck(("branches",), _prefix),
    CrossCheck(("branches",), _protected_branches),
    CrossCheck(("branches", "repositories"), _bases),
    CrossCheck(("branches",), _protected_paths),
    CrossCheck(("commands",), _tests),
)
