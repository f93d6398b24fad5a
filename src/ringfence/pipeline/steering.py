"""A repository's agent configuration, put on record: what of it was hidden, and how it came out of an attempt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringfence.domain.errors import EvidenceBroken
from ringfence.domain.patch import FileChange
from ringfence.domain.steering import ConfigurationHidden, ConfigurationRechecked, what_steers_agents
from ringfence.pipeline.hidden import MOST_NAMED, Hidden
from ringfence.ports.agent import Agent
from ringfence.ports.audit_log import AuditLog
from ringfence.ports.objects import Objects


@dataclass(frozen=True, slots=True)
class Steering:
    """What steers agents in one attempt of a run."""

    run: str
    attempt: int
    agent: Agent
    instructions: tuple[str, ...]  # paths that the boundary gives to agents as the repository's instructions
    intake: Path
    objects: Objects
    log: AuditLog

    def record(self, commit: str, hidden: Hidden) -> None:
        """Write down what was taken out of a tree of this commit. Nothing when the agent obeys no files."""
        if not self.agent.hidden:
            return
        there = self._objects(commit, hidden.files)
        named = tuple(f"{there.get(path, ('', '?'))[1]} {_shown(path)}" for path in hidden.files)
        event = ConfigurationHidden(
            attempt=self.attempt,
            agent=self.agent.name,
            commit=commit,
            files=named,
            count=hidden.count,
            made=tuple(map(_shown, hidden.made)),
            made_count=hidden.made_count,
        )
        self.log.append(self.run, event)

    def recheck(self, start: str, tree: str, changes: Sequence[FileChange], hidden: Hidden) -> None:
        """Compare what was hidden with the candidate's tree; what differs must be among the changes that go to review.

        Errors: `EvidenceBroken` when something differs that the patch does not show.
        """
        before, after = self._objects(start, hidden.files), self._objects(tree, hidden.files)
        differing = [path for path in hidden.files if before.get(path) != after.get(path)]
        paths = [change.path for change in changes]
        unseen = sorted(set(differing) - set(paths))
        if unseen:
            raise EvidenceBroken(
                f"{_shown(unseen[0])} was hidden from the agent and differs, but is no part of the patch",
                where=f"run {self.run}, attempt {self.attempt}, tree {tree}",
                mend="nothing was published; keep the run's log and report this",
            )
        rooted = tuple(f"/{path}" for path in self.instructions)
        changed = dict.fromkeys((*differing, *what_steers_agents(paths, (*self.agent.hidden, *rooted))))
        event = ConfigurationRechecked(
            attempt=self.attempt,
            tree=tree,
            compared=len(hidden.files),
            unchanged=len(hidden.files) - len(differing),
            changed=tuple(map(_shown, list(changed)[:MOST_NAMED])),
            changed_count=len(changed),
        )
        self.log.append(self.run, event, once=f"configuration.rechecked/{self.attempt}/{tree}")

    def _objects(self, commit: str, wanted: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Mode and object of those of these paths that a commit or a tree has."""
        names = frozenset(wanted)
        if not names:
            return {}
        entries = self.objects.entries(self.intake, commit)
        return {entry.path: (entry.mode, entry.blob) for entry in entries if entry.path in names}


def _shown(path: str) -> str:
    """A path as events hold it: git's names are bytes, and an event is text."""
    return path.encode("utf-8", "backslashreplace").decode()
