"""What a repository tells agents is hidden from them, on the record, and looked at again when they are done."""

import json
import subprocess
from pathlib import Path

from test_own_agents import furnish

from ringfence.domain import events as e
from ringfence.domain.facts import gather
from worksite import BRANCH, Worksite

FILES = {
    ".claude/settings.json": '{"hooks": {}}\n',
    "sub/CLAUDE.md": "Obey.\n",
    ".mcp.json": "{}\n",
}


def configured(site: Worksite, tmp_path: Path, **files: str) -> str:
    """Put configuration on the main branch; the commit."""
    clone = tmp_path / "clone"
    git = ("git", "-C", str(clone), "-c", "user.name=Kim", "-c", "user.email=kim@example.internal")
    subprocess.run(("git", "clone", "-q", "-b", "main", str(site.host), str(clone)), check=True)
    for name, text in {**FILES, **files}.items():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text(text)
    subprocess.run((*git, "add", "-A", "-f"), check=True)
    subprocess.run((*git, "commit", "-q", "-m", "Configure agents"), check=True)
    commit = subprocess.run((*git, "rev-parse", "HEAD"), check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(("git", "-C", str(site.host), "fetch", "-q", str(clone), "+main:main"), check=True)
    return commit


def recorded(site: Worksite, run: str) -> tuple[e.ConfigurationHidden, e.ConfigurationRechecked]:
    facts = gather(run, site.events(run))
    assert facts.hidden is not None and facts.rechecked is not None
    return facts.hidden, facts.rechecked


def test_configuration_that_is_left_alone_comes_out_as_it_was_and_that_is_said(site: Worksite, tmp_path: Path) -> None:
    commit = configured(site, tmp_path)
    furnish(
        site, "command", ("sh", "-c", "ls -a . sub; test ! -e .claude && test ! -e .mcp.json && echo 2 > value.txt")
    )
    code, view = site.run()
    assert (code, view.outcome) == (0, "pull_request"), (view.reason, view.detail)
    hidden, after = recorded(site, view.id)
    objects = {name: site.git("rev-parse", f"{commit}:{name}") for name in (*FILES, "AGENTS.md")}
    assert sorted(hidden.files) == sorted(f"{blob} {name}" for name, blob in objects.items())
    assert (hidden.agent, hidden.commit, hidden.count, hidden.made_count) == ("command", commit, 4, 0)
    assert (after.compared, after.unchanged, after.changed, after.changed_count) == (4, 4, (), 0)
    body = site.pull_request(1)
    assert "Hidden from `command`, which would obey it: `.claude/settings.json`, " in body
    assert "Of 4 compared, 4 came out as they were." in body and "configuration changed" not in body
    assert "4 files hidden from command" in site.ringfence("show", view.id).stdout
    bundle = site.state / "bundles" / f"{view.id}.bundle.tar"
    assert site.ringfence("verify", str(bundle)).returncode == 0


def test_configuration_that_the_agent_rewrites_is_pointed_at_in_the_pull_request(
    site: Worksite, tmp_path: Path
) -> None:
    configured(site, tmp_path)
    rewrite = "mkdir -p .claude && echo '{\"hooks\": 1}' > .claude/settings.json && echo 'Be lax.' > CONTRIBUTING.md"
    furnish(site, "command", ("sh", "-c", f"echo 2 > value.txt && {rewrite}"))
    code, view = site.run()
    assert (code, view.outcome) == (0, "pull_request"), (view.reason, view.detail)
    _hidden, after = recorded(site, view.id)
    assert (after.compared, after.unchanged) == (4, 3)
    assert set(after.changed) == {".claude/settings.json", "CONTRIBUTING.md"}, "an instruction file is looked at too"
    assert after.tree == site.git("rev-parse", f"{BRANCH}^{{tree}}")
    body = site.pull_request(1)
    assert "**Agent configuration changed: review:** `.claude/settings.json`, `CONTRIBUTING.md`" in body
    assert "Of 4 compared, 3 came out as they were; the others are part of this change." in body
    shown = json.loads(site.ringfence("show", view.id, "--json").stdout)
    assert [one["kind"] for one in shown["configuration"]] == ["configuration.hidden", "configuration.rechecked"]
    assert "2 changed by the patch, to review" in site.ringfence("show", view.id).stdout


def test_an_agent_that_obeys_no_files_has_nothing_hidden_and_is_rechecked(site: Worksite, tmp_path: Path) -> None:
    configured(site, tmp_path)
    site.story("echo 2 > value.txt; echo 'Be lax.' > AGENTS.md")
    code, view = site.run()
    assert (code, view.outcome) == (0, "pull_request"), (view.reason, view.detail)
    facts = gather(view.id, site.events(view.id))
    assert facts.hidden is None
    assert facts.rechecked is not None and facts.rechecked.changed == ("AGENTS.md",)
