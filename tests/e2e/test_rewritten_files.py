"""Agents rewrite files without changing them: formatters do, and so does going to another branch and back."""

import random
from pathlib import Path

from worksite import BRANCH, FILES, Worksite, worksite

#: Together far more than the sandbox's temporary space, also when compressed.
COUNT, SIZE = 24, 600_000


def test_a_tree_that_was_touched_everywhere_is_taken_in_within_the_limits(tmp_path: Path) -> None:
    chooser = random.Random(1)
    large = {f"large/{number}.txt": chooser.randbytes(SIZE // 2).hex() + "\n" for number in range(COUNT)}
    with worksite(tmp_path / "site", {**FILES, **large}) as site:
        site.boundary({"limits.sandbox.temporary": "4MiB"})
        site.story("echo 2 > value.txt; find large -type f -exec touch {} +")
        code, view = site.run()
        assert (code, view.outcome, view.reason) == (0, "pull_request", ""), view.detail
        assert _changed(site) == ["value.txt"]


def test_a_change_that_keeps_size_and_time_is_taken_in(tmp_path: Path) -> None:
    with worksite(tmp_path / "site", {**FILES, "other.txt": "old\n"}) as site:
        site.story(
            "echo 2 > value.txt; touch -r other.txt kept; echo new > other.txt; touch -r kept other.txt; rm kept"
        )
        code, view = site.run()
        assert (code, view.outcome, view.reason) == (0, "pull_request", ""), view.detail
        assert _changed(site) == ["other.txt", "value.txt"]


def _changed(site: Worksite) -> list[str]:
    return site.git("diff", "--name-only", f"main..{BRANCH}").splitlines()
