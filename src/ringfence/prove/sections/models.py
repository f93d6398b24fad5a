"""Claims of the section `models`: which models answer a sandbox through the real gateway, and what is on record.

Behind the gateway is a recorded script of ours; nothing is said here about a provider.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from ringfence import points
from ringfence.broker.sources import SecretSources
from ringfence.domain.events import ModelCalled, from_json
from ringfence.domain.rules import may_call_model
from ringfence.pipeline.stages.work import DOOR
from ringfence.ports.gateway import DoorPolicy
from ringfence.ports.sandbox import HeldSandbox
from ringfence.prove import inside
from ringfence.prove.claim import Claim, Result, all_denied, broken, judged, untestable
from ringfence.prove.ground import RUN, Answer, Ground, How

_STRANGER = "unapproved-model"


def claims(ground: Ground) -> Iterator[Claim]:
    """The claims, in the order in which people ask."""
    model = _default(ground)[1]
    nothing = untestable("this boundary gives agents no model")
    shown = model or "no model"
    yield Claim("models", f"agents are answered by {shown} and no other", lambda: _other(ground) if model else nothing)
    yield Claim("models", "no call is made beyond the run's budget", lambda: _budget(ground) if model else nothing)
    yield Claim("models", "without a record there is no call", lambda: _unrecorded(ground) if model else nothing)
    yield Claim("models", "content goes to no route that does not list its repository", lambda: _routes(ground))
    yield Claim("models", "prompts and answers are kept without secrets", lambda: _clean(ground) if model else nothing)
    why = "what a provider keeps is the provider's word; prove calls none"
    yield Claim("models", "providers keep what the boundary says", partial(untestable, why))
    yield Claim("models", f"{shown} answers a sandbox", lambda: _answers(ground) if model else nothing, benign=True)


def _default(ground: Ground) -> tuple[str, str]:
    route, _, model = (ground.boundary.models.default or "").partition("/")
    return route, model


def _ask(
    ground: Ground,
    models: list[str],
    *,
    requests: int = 10,
    words: str = "hello",
    record: Callable[[Any], None] | None = None,
) -> tuple[Answer, list[ModelCalled]]:
    """Ask from a sandbox through the gateway's own process; what was answered, and what is on the log."""
    route, model = _default(ground)
    before = len(ground.log.records(RUN))
    writes = points.call_recorder(ground.boundary, ground.log, ground.artifacts, ground.redactor)
    policy = DoorPolicy(RUN, f"agent/{before}", model, route, requests, 100_000, 100_000, 20.0, 20.0)
    with ExitStack() as stack:
        running = stack.enter_context(
            points.gateway(ground.boundary, (SecretSources([]), ground.redactor), ground.settings, record or writes)
        )

        def open_door(sandbox: HeldSandbox) -> Callable[[], str | None]:
            stack.enter_context(running.open(sandbox.doors[DOOR], policy))
            return lambda: None  # a run would be ended by the first final no; here the rest is asked too

        given = {"port": DOOR, "models": models, "words": words[::-1]}
        answer = ground.attack(inside.ask, given, how=How(doors=(DOOR,), held=open_door))
    events = [from_json(record.event) for record in ground.log.records(RUN)[before:]]
    return answer, [event for event in events if isinstance(event, ModelCalled)]


def _statuses(answer: Answer) -> list[int]:
    return [one["status"] for one in answer.came or []]


def _answers(ground: Ground) -> Result:
    model = _default(ground)[1]
    answer, calls = _ask(ground, [model])
    good = _statuses(answer) == [200] and [call.decision for call in calls] == ["allow"]
    return judged(good, f"status {_statuses(answer)}, {len(calls)} calls on the log; upstream was a recorded script")


def _other(ground: Ground) -> Result:
    model = _default(ground)[1]
    answer, calls = _ask(ground, [_STRANGER, model])
    denied = [call for call in calls if call.decision == "deny"]
    good = _statuses(answer) == [403, 403] and bool(denied) and not any(call.decision == "allow" for call in calls)
    codes = [one["code"] for one in answer.came or []]
    return judged(good, f"{_STRANGER}: {codes}, {len(denied)} denials on the log; after it the door stayed shut")


def _budget(ground: Ground) -> Result:
    model = _default(ground)[1]
    answer, calls = _ask(ground, [model, model], requests=1)
    allowed = sum(call.decision == "allow" for call in calls)
    good = _statuses(answer) == [200, 403] and allowed == 1
    limit = ground.boundary.limits.run.requests
    return judged(good, f"of 2 calls with 1 left: {_statuses(answer)}, {allowed} allowed (a run has {limit})")


def _unrecorded(ground: Ground) -> Result:
    def refuse(_call: Any) -> None:
        raise OSError("prove lets nothing be written")

    answer, calls = _ask(ground, [_default(ground)[1]], record=refuse)
    return judged(_statuses(answer) == [403] and not calls, f"with a log that cannot be written: {answer.came}")


def _clean(ground: Ground) -> Result:
    answer, calls = _ask(ground, [_default(ground)[1]], words=f"my key is {ground.canary}")
    if _statuses(answer) != [200] or not calls:
        return broken(f"the canary was not sent: {answer.came}, {answer.end}")
    found = [name for name, content in ground.kept() if ground.canary.encode() in content]
    how = ground.boundary.logs.exchanges
    return judged(not found, f"a prompt with the canary was sent, kept as {how}: found in {found or 'nothing'}")


def _routes(ground: Ground) -> Result:
    boundary = ground.boundary
    asked = {"an unlisted repository": may_call_model(boundary, "stranger/x", _default(ground)[1])}
    asked |= {
        f"{one.name} to {route.name}": may_call_model(boundary, one.name, model)
        for one in boundary.repositories
        for route in boundary.models.routes
        for model in route.models
        if one.name not in route.repositories or one.data_class not in route.data_classes
    }
    return all_denied(asked)
