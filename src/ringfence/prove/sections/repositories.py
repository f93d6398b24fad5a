"""Claims of the section `repositories`: what is not listed is neither read nor written nor sent anywhere."""

from collections.abc import Iterator
from functools import partial

from ringfence.adapters.clock import SystemClock
from ringfence.adapters.token_minters.local import LocalTokenMinter
from ringfence.broker.grants import BoundaryBroker, Keys
from ringfence.broker.sources import SecretSources
from ringfence.domain.boundary import Repository
from ringfence.domain.errors import ControlMissing
from ringfence.domain.rules import may_call_model, may_read, may_write_ref
from ringfence.ports.sandbox import Mount
from ringfence.prove import inside
from ringfence.prove.claim import Claim, Result, all_allowed, all_denied, broken, holds, judged
from ringfence.prove.ground import RUN, Ground, How


def claims(ground: Ground) -> Iterator[Claim]:
    """The claims, in the order in which people ask."""
    listed = [repository.name for repository in ground.boundary.repositories]
    shown = ", ".join(listed)
    yield Claim("repositories", f"nothing but {shown} is read", lambda: _unlisted(ground, listed))
    yield Claim("repositories", "no secret is opened for an unlisted repository", lambda: _no_grant(ground))
    for one in ground.boundary.repositories:
        if one.access == "read":
            yield Claim("repositories", f"{one.name} is read-only", partial(_read_only, ground, one))
        if one.access == "write" and one.stage == "observe":
            yield Claim("repositories", f"{one.name} is only observed", partial(_observed, ground, one))
    if any(one.access == "read" for one in ground.boundary.repositories):
        yield Claim("repositories", "context cannot be written inside a sandbox", lambda: _context(ground))
    yield Claim(
        "repositories",
        f"{shown} may be read",
        lambda: all_allowed({name: may_read(ground.boundary, name) for name in listed}),
        benign=True,
    )


def _unlisted(ground: Ground, listed: list[str]) -> Result:
    name = listed[0] if listed else "a/b"
    owner, _, short = name.partition("/")
    tries = ["stranger/repository", f"{name}.git", f"{owner}/{short}-2", f"{owner}/../{name}", name.swapcase(),
             f"{name}/", f" {name}", "*", ""]  # fmt: skip
    return all_denied({repr(one): may_read(ground.boundary, one) for one in tries if one not in listed})


def _no_grant(ground: Ground) -> Result:
    # No code host is asked: the rules say no before.
    keys = Keys(SecretSources([]), LocalTokenMinter(ground.settings.code_host.url), ground.redactor.learn)
    broker = BoundaryBroker(ground.boundary, keys, ground.log, SystemClock())
    before = len(ground.log.records(RUN))
    for purpose in ("checkout", "publish", "model", "anything"):
        try:
            with broker.grant(RUN, purpose, "stranger/repository"):
                return broken(f"the broker gave a grant for {purpose}")
        except ControlMissing:
            continue
    minted = len(ground.log.records(RUN)) - before
    return judged(minted == 0, f"four purposes asked of the broker, none granted, {minted} grants on the log")


def _read_only(ground: Ground, one: Repository) -> Result:
    ref = f"refs/heads/{ground.boundary.branches.prefix}X-1-y"
    return all_denied({ref: may_write_ref(ground.boundary, one.name, ref)})


def _observed(ground: Ground, one: Repository) -> Result:
    ref = f"refs/heads/{ground.boundary.branches.prefix}X-1-y"
    asked = {ref: may_write_ref(ground.boundary, one.name, ref)}
    for route in ground.boundary.models.routes:
        asked |= {f"model {model}": may_call_model(ground.boundary, one.name, model) for model in route.models}
    return all_denied(asked)


def _context(ground: Ground) -> Result:
    other = ground.rooms().make("context", ground.source)
    target = "/context/prove/context"
    given = {"trees": [target], "programs": []}
    answer = ground.attack(inside.look, given, how=How(mounts=(Mount(other.path, target),)))
    ground.rooms().remove(other)
    if answer.came is None or target not in answer.came["mounts"]:
        return broken(f"the tree was not seen inside: {answer.end}")
    written = answer.came["written"]
    return broken(f"wrote {written}") if written else holds("a tree mounted as context was seen and refused writing")
