"""B01, B02, B03, B04, B06, B07: the ways in which a git directory starts programs start none for the worker.

Each way is first taken by the work stage, and then, as proof that it is a way, by git on the host in the same tree.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gitsite import GitSite, git_site
from ringfence.domain.events import CommandRan, PatchProduced, SandboxDestroyed

#: The agent's identity, as git wants one to commit.
WHO = "export GIT_AUTHOR_NAME=a GIT_COMMITTER_NAME=a EMAIL=a@example.internal GIT_CONFIG_GLOBAL=/dev/null\n"
ATTRIBUTES = "echo '* filter=x diff=x merge=x' > .gitattributes\n"
NESTED = f"{WHO}mkdir sub; cd sub; git init -q; echo 1 > f; git add f; git commit -qm x\n"
LINKED = "echo 1 > f; cd ..; git add sub 2>/dev/null; cd sub; touch -d '1 hour ago' f\n"


@dataclass(frozen=True)
class Way:
    """How a planted command would be started; `PLANTED` in `plant` is the command."""

    plant: str
    naive: tuple[str, ...]  # the git command line that starts it on the host
    taken: frozenset[str] = frozenset({"value.txt"})  # paths of the patch that is taken in
    rule: str = ""  # or the rule that refuses it
    stdin: str = ""


def extra(*paths: str) -> frozenset[str]:
    return frozenset({"value.txt", *paths})


HOOK = "printf '#!/bin/sh\\nPLANTED\\n' > {0}; chmod +x {0}"
WAYS = {
    "b01-hook": Way(HOOK.format(".git/hooks/pre-commit"), ("commit", "-qam", "x")),
    "b02-hookspath-tracked": Way(
        "mkdir h; " + HOOK.format("h/pre-commit") + "; git config core.hooksPath h", ("commit", "-qam", "x"),
        taken=extra("h/pre-commit"),
    ),
    "b02-hookspath-in-git": Way(
        "mkdir .git/h; " + HOOK.format(".git/h/post-index-change") + "; git config core.hooksPath .git/h",
        ("add", "-A"),
    ),
    "b03-fsmonitor": Way("git config core.fsmonitor 'PLANTED; :'", ("status",)),
    "b04-filter": Way(
        ATTRIBUTES + "git config filter.x.clean 'PLANTED; cat'", ("add", "-A"), taken=extra(".gitattributes")
    ),
    "b04-filter-process": Way(
        ATTRIBUTES + "git config filter.x.process 'PLANTED'", ("add", "-A"), taken=extra(".gitattributes")
    ),
    "b04-external-diff": Way("git config diff.external 'PLANTED; :'", ("diff",)),
    "b04-diff-driver": Way(
        ATTRIBUTES + "git config diff.x.command 'PLANTED; :'", ("diff",), taken=extra(".gitattributes")
    ),
    "b04-textconv": Way(
        ATTRIBUTES + "git config diff.x.textconv 'PLANTED; cat'", ("diff",), taken=extra(".gitattributes")
    ),
    "b06-merge-driver": Way(
        WHO + ATTRIBUTES + "git config merge.x.driver 'PLANTED'; git checkout -qb other; echo 5 > value.txt;"
        "git commit -qam x; git checkout -q work; echo 6 > value.txt; git commit -qam y; echo 2 > value.txt;"
        "git commit -qam z",
        ("merge", "other"),
        taken=extra(".gitattributes"),
    ),
    "b06-credential-helper": Way(
        "git config credential.helper '!PLANTED; :'", ("credential", "fill"),
        stdin="protocol=https\nhost=git.example.internal\n\n",
    ),
    "b06-alias": Way("git config alias.x '!PLANTED'", ("x",)),
    "b06-ssh-command": Way(
        "git config core.sshCommand 'PLANTED; false'; git config remote.origin.url ssh://localhost/x",
        ("fetch", "origin"),
    ),
    "b06-uploadpack": Way(
        "git config remote.origin.uploadpack 'PLANTED; false'; git config remote.origin.url .", ("fetch", "origin")
    ),
    "b06-pack-objects-hook": Way("git config uploadpack.packObjectsHook 'PLANTED; exec \"$@\"'", ()),
    "b06-gpg-program": Way(
        HOOK.format(".git/gpg") + "; git config gpg.program {tree}/.git/gpg; git config commit.gpgSign true",
        ("commit", "-qam", "x"),
    ),
    "b07-include": Way(
        "printf '[core]\\n fsmonitor = PLANTED; :\\n' > .git/more; git config include.path more", ("status",)
    ),
    "b07-include-if": Way(
        "printf '[core]\\n fsmonitor = \"PLANTED; :\"\\n' > more; git config includeIf.gitdir:/.path ../more",
        ("status",),
        taken=extra("more"),
    ),
    "embedded-bare": Way(
        "git init -q --bare --template= bare; git -C bare config core.bare false; cp .git/index bare/index;"
        "git -C bare config core.fsmonitor 'PLANTED; :'; rm -rf .git; echo 'gitdir: bare' > .git",
        ("status",),
        # Plain files: what they do in a reviewer's clone is for the reviewer to see.
        taken=extra("bare/HEAD", "bare/config", "bare/index"),
    ),
    "submodule-update": Way(
        NESTED + "git commit -q --allow-empty -m y; cd ..;"
        "git update-index --add --cacheinfo 160000,$(git -C sub rev-parse HEAD^),sub;"
        "printf '[submodule \"sub\"]\\n path = sub\\n url = ./x\\n' > .gitmodules;"
        "git config submodule.sub.update '!PLANTED; :'; git config submodule.sub.url ./x",
        ("submodule", "update"),
        rule="branches.protected_paths",
    ),
    "nested-filter": Way(
        NESTED + "echo '* filter=x' > .gitattributes; git config filter.x.clean 'PLANTED; cat';" + LINKED + "cd ..",
        ("status",),
        rule="patch.mode",
    ),
    "nested-fsmonitor": Way(
        NESTED + "git config core.fsmonitor 'PLANTED; :';" + LINKED + "cd ..", ("status",), rule="patch.mode"
    ),
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GitSite]:
    with git_site(tmp_path / "site") as made:
        yield made


def plant(site: GitSite, way: Way) -> str:
    script = way.plant.replace("{tree}", str(site.tree())).replace("PLANTED", site.planted)
    return f"set -e\n{script}\necho 2 > value.txt\n"


@pytest.mark.parametrize("name", WAYS)
def test_no_program_of_the_agent_s_git_directory_is_started(site: GitSite, name: str) -> None:
    way = WAYS[name]
    ran = []

    def careless(room: object) -> None:
        site.assert_nothing_ran()
        site.naive(site.tree(), *way.naive, stdin=way.stdin)
        ran.append(site.ran.exists())
        site.ran.unlink(missing_ok=True)

    if way.naive:
        site.rooms.before_removal = careless
    if way.rule:
        assert site.refused(plant(site, way)).rule == way.rule
    else:
        patch = site.attempt(plant(site, way))
        assert set(site.changes(patch.commit)) == way.taken
        assert site.last(PatchProduced).commit == patch.commit
    assert ran == [True] * bool(way.naive), "the way is none: git on the host did not start it either"
    assert not site.ran.exists()
    assert site.last(SandboxDestroyed).processes_left == 0
    site.assert_no_canary()


def test_b08_a_repository_in_the_place_of_a_submodule_starts_nothing(tmp_path: Path) -> None:
    """With a commit that the index names, `git add` starts a git of its own there, with the configuration it finds."""
    with git_site(tmp_path / "site", submodule="sub") as site:
        filled = (
            f"cd sub; git init -q; echo 1 > f; git add f; echo {'1' * 40} > .git/HEAD;"
            f"git config core.fsmonitor '{site.planted}; :'; cd ..; echo 2 > value.txt"
        )
        ran = []

        def careless(_room: object) -> None:
            site.assert_nothing_ran()
            site.naive(site.tree(), "add", "-A")
            ran.append(site.ran.exists())
            site.ran.unlink(missing_ok=True)

        site.rooms.before_removal = careless
        stop = site.stopped(filled)
        assert (stop.reason, "./sub/.git" in stop.where) == ("collect_failed", True)
        assert ran == [True]
        site.assert_no_canary()


@pytest.mark.parametrize("deed", ["rmdir sub", "rmdir sub; echo x > sub", "rmdir sub; ln -s . sub"])
def test_b08_a_submodule_is_neither_removed_nor_replaced(tmp_path: Path, deed: str) -> None:
    with git_site(tmp_path / "site", submodule="sub") as site:
        assert set(site.changes(site.attempt("echo 2 > value.txt").commit)) == {"value.txt"}
        refusal = site.refused(f"echo 2 > value.txt; {deed}")
        assert (refusal.rule, refusal.reason) == ("patch.mode", "protected")


def test_the_agent_s_own_script_ended_well(site: GitSite) -> None:
    """A plant that fails half way would prove nothing; every script runs with `set -e` and this looks at its end."""
    site.attempt(plant(site, WAYS["b03-fsmonitor"]))
    ended = [event for event in site.events if isinstance(event, CommandRan) and event.role == "agent"]
    assert [(event.exit_code, event.stopped) for event in ended] == [(0, None)]
