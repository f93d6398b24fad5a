"""Which files of a change say what is installed: manifests, lock files, and where package clients look.

Pure. By name alone, as people know them; what is installed in the end is what the boundary's set-up commands do,
with the network of their phase.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

_NAMES = (
    # Python
    "requirements*.txt", "requirements*.in", "constraints*.txt", "pyproject.toml", "setup.py", "setup.cfg", "pipfile",
    "pylock*.toml", "environment.yml", "environment.yaml", "pip.conf", "uv.toml", ".pypirc",
    # JavaScript
    "package.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", "bun.lockb", ".npmrc", ".yarnrc*",
    "package-lock.json", "deno.json", "deno.jsonc",
    # Others
    "go.mod", "go.sum", "go.work", "cargo.toml", "gemfile", "*.gemspec", "composer.json", "pom.xml", "build.gradle*",
    "settings.gradle*", "gradle-wrapper.properties", "libs.versions.toml", "packages.lock.json", "packages.config",
    "*.csproj", "directory.packages.props", "nuget.config", "mix.exs", "pubspec.yaml", "podfile", "cartfile*",
    "package.swift", "package.resolved", "flake.nix", "conanfile.*", "vcpkg.json", "dockerfile*", "containerfile*",
    "*.dockerfile", ".tool-versions", ".python-version", ".nvmrc", "mise.toml",
    # Lock files of all kinds: poetry.lock, uv.lock, yarn.lock, Cargo.lock, Gemfile.lock, …
    "*.lock", "*.lockfile", "*-lock.json",
)  # fmt: skip


def what_is_installed(paths: Iterable[str]) -> tuple[str, ...]:
    """The paths of a change that have a say in what is installed, in their order."""
    return tuple(path for path in paths if any(fnmatchcase(path.rpartition("/")[2].lower(), name) for name in _NAMES))
