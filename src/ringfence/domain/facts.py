"""What a run's events add up to, for everybody who has to say it: the statement and the pull request.

One fold, so that evidence and pull request cannot disagree. Facts only: no wording, no judgement.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from ringfence.domain import events as e
from ringfence.domain.checks import BASE_TESTS
from ringfence.domain.money import shown

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """One check before and after; the last result of each side, and how often it was run on the final tree."""

    name: str
    before: e.CheckEnded | None
    after: e.CheckEnded | None
    times: int = 1
    passes: int = 0
    #: The same check on the patch, but with its tests as the base commit has them; only when the patch touches tests.
    old_tests: e.CheckEnded | None = None

    @property
    def flaky(self) -> bool:
        """The same check on the same tree came out both ways: a pass among them proves little."""
        return 0 < self.passes < self.times


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What went to one model by one route."""

    route: str
    provider: str
    model: str
    replayed: bool
    requests: int = 0
    denied: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    cost: int = 0  # billionths of the currency
    currency: str = ""
    as_of: str = ""
    translated: tuple[str, ...] = ()  # as "messages to chat"

    @property
    def money(self) -> str:
        """What it cost, for a person; empty where the boundary has no table of prices, or no model was called."""
        if self.replayed or not self.requests:
            return ""
        if not self.currency:
            return f"cost unknown: the prices of {self.as_of} do not name it" if self.as_of else ""
        return f"about {shown(self.cost)} {self.currency}, an estimate by the prices of {self.as_of}"


#: Of what was asked of one destination, so many are named in reports, and so long.
_MOST_ASKED, _LONGEST_ASKED = 4, 120


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What went to one destination in one phase, or tried to."""

    phase: str
    destination: str
    decision: str
    rule: str
    tunnel: bool  # what was inside is not known, or stands in rows of its own where it was inspected
    credential: str = ""  # the secret that was put on, by name
    times: int = 0
    sent: int = 0
    received: int = 0
    asked: tuple[str, ...] = ()  # methods and paths where they are known, the first few
    unfinished: int = 0  # let out, and nothing is known of the end: the worker or the proxy died


@dataclass(frozen=True, slots=True)
class Facts:
    """A run so far."""

    run: str
    admitted: e.TicketAdmitted | None = None
    started: tuple[e.RunStarted, ...] = ()
    checkout: e.CheckoutReady | None = None
    briefs: tuple[e.BriefAssembled, ...] = ()
    sandboxes: tuple[e.SandboxStarted, ...] = ()
    egress: tuple[e.EgressDecided, ...] = ()
    network: tuple[NetworkFacts, ...] = ()
    models: tuple[ModelFacts, ...] = ()
    agents: tuple[e.AgentEnded, ...] = ()
    patch: e.PatchProduced | None = None
    refused: tuple[e.PatchRefused, ...] = ()
    #: That the patch touches tests, and what came of running them in their old version.
    replaced: e.TestsReplaced | None = None
    repairs: tuple[e.RepairRequested, ...] = ()
    #: What of the repository its agent was not shown in the attempt that made the patch, and how that came out.
    hidden: e.ConfigurationHidden | None = None
    rechecked: e.ConfigurationRechecked | None = None
    #: What set-up left: made in this run, or kept by an earlier one.
    layers: tuple[e.LayerMade | e.LayerUsed, ...] = ()
    checks: tuple[CheckFacts, ...] = ()
    sealed: e.EvidenceSealed | None = None
    pushed: e.BranchPushed | None = None
    stopped: e.RunStopped | None = None
    ended: e.RunEnded | None = None
    #: `sha256:` digests of everything in the content store that an event names.
    artifacts: tuple[str, ...] = ()
    #: Those of them that are of model exchanges and of nothing else: they may be kept for less time, or not at all.
    bodies: frozenset[str] = frozenset()

    @property
    def levels(self) -> tuple[str, ...]:
        """The sandbox levels that really ran, each once."""
        return tuple(dict.fromkeys(one.level for one in self.sandboxes))

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls that every sandbox of the run had."""
        common = set(self.sandboxes[0].controls) if self.sandboxes else set()
        for one in self.sandboxes:
            common &= set(one.controls)
        return tuple(sorted(common))

    @property
    def passed(self) -> bool:
        """Every required check passed on the tree of the patch, the last time it was run; and there was one."""
        required = [one.after for one in self.checks if one.after is not None and one.after.required]
        expected = {one.name for one in self.checks if one.before is not None and one.before.required}
        return bool(required) and all(one.passed for one in required) and expected <= {one.name for one in required}


def gather(run: str, history: Iterable[e.Event]) -> Facts:
    """The facts of a history."""
    kept = _History(tuple(history))
    patch = kept.last(e.PatchProduced)
    replaced = [one for one in kept.all(e.TestsReplaced) if patch is not None and one.tree == patch.tree]
    old = replaced[-1] if replaced else None
    others, exchanged = _artifacts(kept.events), _exchanged(kept.all(e.ModelCalled))
    return Facts(
        run=run,
        admitted=kept.last(e.TicketAdmitted),
        started=kept.all(e.RunStarted),
        checkout=kept.last(e.CheckoutReady),
        briefs=kept.all(e.BriefAssembled),
        sandboxes=kept.all(e.SandboxStarted),
        egress=kept.all(e.EgressDecided),
        network=_network(kept.all(e.EgressAsked), kept.all(e.EgressDecided)),
        models=_models(kept.all(e.ModelCalled)),
        agents=kept.all(e.AgentEnded),
        patch=patch,
        refused=kept.all(e.PatchRefused),
        repairs=kept.all(e.RepairRequested),
        layers=tuple(event for event in kept.events if isinstance(event, e.LayerMade | e.LayerUsed)),
        replaced=old,
        hidden=_of_attempt(kept.all(e.ConfigurationHidden), patch),
        rechecked=_of_attempt(kept.all(e.ConfigurationRechecked), patch),
        checks=_checks(kept.all(e.CheckEnded), patch.tree if patch else "", old),
        sealed=kept.last(e.EvidenceSealed),
        pushed=kept.last(e.BranchPushed),
        stopped=kept.last(e.RunStopped),
        ended=kept.last(e.RunEnded),
        artifacts=tuple(dict.fromkeys((*others, *exchanged))),
        bodies=frozenset(exchanged) - frozenset(others),
    )


Steered = TypeVar("Steered", e.ConfigurationHidden, e.ConfigurationRechecked)


def _of_attempt(events: tuple[Steered, ...], patch: e.PatchProduced | None) -> Steered | None:
    """The last that the attempt of the patch wrote; an attempt that was cut off is made again."""
    mine = [event for event in events if patch is not None and event.attempt == patch.attempt]
    return mine[-1] if mine else None


@dataclass(frozen=True, slots=True)
class _History:
    """Events, to be asked for by their class."""

    events: tuple[e.Event, ...]

    def all(self, kind: type[T]) -> tuple[T, ...]:
        return tuple(event for event in self.events if isinstance(event, kind))

    def last(self, kind: type[T]) -> T | None:
        found = self.all(kind)
        return found[-1] if found else None


def _checks(ended: tuple[e.CheckEnded, ...], tree: str, replaced: e.TestsReplaced | None) -> tuple[CheckFacts, ...]:
    """Results on the tree of the patch only: what an earlier attempt passed says nothing about this one."""
    before = {one.name: one for one in ended if one.side == "base"}
    after = [one for one in ended if one.side == "patch" and one.tree == tree]
    theirs = (BASE_TESTS, replaced.attempt, replaced.replaced) if replaced is not None else None
    old = {one.name: one for one in ended if (one.side, one.attempt, one.tree) == theirs}
    rows = []
    for name in dict.fromkeys([*before, *(one.name for one in after)]):
        mine = [one for one in after if one.name == name]
        passes = sum(one.passed for one in mine)
        rows.append(CheckFacts(name, before.get(name), mine[-1] if mine else None, len(mine), passes, old.get(name)))
    return tuple(rows)


def _models(calls: tuple[e.ModelCalled, ...]) -> tuple[ModelFacts, ...]:
    used: dict[tuple[str, str, str, bool], ModelFacts] = {}
    for call in calls:
        key = (call.route, call.provider, call.model, call.replayed)
        seen = used.get(key, ModelFacts(*key))
        if call.decision != "allow":
            used[key] = replace(seen, denied=seen.denied + 1)
            continue
        way = f"{call.protocol} to {call.translated}" if call.translated else ""
        used[key] = replace(
            seen,
            requests=seen.requests + 1,
            input_tokens=seen.input_tokens + call.input_tokens,
            output_tokens=seen.output_tokens + call.output_tokens,
            estimated=seen.estimated or call.tokens_estimated,
            cost=seen.cost + call.cost,
            currency=call.currency or seen.currency,
            as_of=call.as_of or seen.as_of,
            translated=seen.translated if way in ("", *seen.translated) else (*seen.translated, way),
        )
    return tuple(used.values())


def _network(asked: tuple[e.EgressAsked, ...], decided: tuple[e.EgressDecided, ...]) -> tuple[NetworkFacts, ...]:
    """One row for each destination, phase and outcome; an attempt that was let out and never ended counts too."""
    rows: dict[tuple[str, str, str, str, bool, str], NetworkFacts] = {}
    for one in decided:
        tunnel = one.method in ("CONNECT", "TCP")
        key = (one.phase, one.destination, one.decision, one.rule, tunnel, one.credential)
        row = rows.get(key, NetworkFacts(*key))
        named = row.asked if tunnel or not one.path else (*row.asked, f"{one.method} {one.path}"[:_LONGEST_ASKED])
        named = tuple(dict.fromkeys(named))[:_MOST_ASKED]
        sent, received = row.sent + one.sent, row.received + one.received
        rows[key] = replace(row, times=row.times + 1, sent=sent, received=received, asked=named)
    ended = {one.attempt for one in decided}
    for start in asked:
        if start.attempt not in ended:
            key = (start.phase, start.destination, "allow", start.rule, True, "")
            row = rows.get(key, NetworkFacts(*key))
            rows[key] = replace(row, times=row.times + 1, unfinished=row.unfinished + 1)
    return tuple(rows.values())


def _artifacts(history: tuple[e.Event, ...]) -> tuple[str, ...]:
    named: list[str] = []
    for event in history:
        match event:
            case e.BriefAssembled():
                named.append(event.digest)
            case e.CommandRan() | e.CheckEnded():
                named.append(event.output)
            case e.PatchProduced():
                named.append(event.diff)
            case e.AgentEnded():
                named.append(event.transcript)
            case _:
                pass
    return _digests(named)


def _exchanged(calls: tuple[e.ModelCalled, ...]) -> tuple[str, ...]:
    return _digests(digest for call in calls for digest in (call.request, call.response))


def _digests(named: Iterable[str]) -> tuple[str, ...]:
    return tuple(digest for digest in named if digest.startswith("sha256:"))
